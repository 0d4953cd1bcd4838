"""Columns of projected trials say exactly what projecting every trial says."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from engine.devices import projected
from engine.devices.cost import find_scenario, read_scenarios, under
from engine.devices.profiles import all_profiles
from engine.devices.projected import Projector, under_scenario, unread
from engine.devices.projection import with_projections
from engine.devices.published import reference_demands
from engine.figures.frontier_info import frontier_info
from engine.frontier.columns import Trials
from engine.frontier.recommendation import View
from engine.graph.demand import in_integers
from engine.metrics import DEVICE_METRICS
from engine.trials.evidence import Interval
from engine.trials.measurements import Projection
from engine.trials.metric_values import metric_interval
from engine.trials.text import is_estimated
from engine.trials.trial import Trial
from tests.helpers.columns import BOARD, random_trials, stored

DEVICES = ("host", BOARD, "raspberry-pi-5", "ndp120")
NETWORKS = list(reference_demands().values())


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    """Of every state, some of them silent about what they ask, with networks of several kinds and precisions."""
    asked = [None, *NETWORKS, *(in_integers(n) for n in NETWORKS)]
    made = [replace(t, demand=asked[i % len(asked)], artifact=None) for i, t in enumerate(random_trials(5))]
    barred = Projection(None, None, fits=False, reason="too large")
    return [*made[:-1], replace(made[-1], demand=None, projections={"ndp120": barred})]


def same(table: Trials, expected: list[Trial]) -> None:
    assert list(table) == expected
    for device in (*DEVICES, "a device that nobody has"):
        for key in (*DEVICE_METRICS, "accuracy", "size_bytes"):
            found = table.numbers(key, device)
            told = [metric_interval(t, key, device) for t in expected]
            rows = [(n.value, n.low, n.high) if isinstance(n, Interval) else (n, None, None) for n in told]
            numbers = np.array(rows, np.float64).reshape(-1, 3)
            np.testing.assert_allclose(np.stack([found.value, found.low, found.high], axis=1), numbers, rtol=1e-12)
            assert found.estimated.tolist() == [is_estimated(t, key, device) for t in expected]
        assert table.fits(device).tolist() == [
            t.projections[device].fits if device in t.projections else True for t in expected
        ]


def on(trials: Trials, devices=DEVICES, artifacts=None) -> Trials:
    return Projector(artifacts).on(trials, [all_profiles()[d] for d in devices])


@pytest.mark.parametrize("made", [Trials.of, stored], ids=["at hand", "stored"])
def test_many_at_once_are_what_each_is_alone(trials, made) -> None:
    same(on(made(trials)), list(with_projections(trials, DEVICES)))


def test_what_is_asked_later_is_added_to_what_was_asked_before(trials) -> None:
    projector, boards = Projector(None), [all_profiles()[d] for d in DEVICES[1:]]
    for count in (0, 7, 30, len(trials)):
        same(projector.on(Trials.of(trials[:count]), boards), list(with_projections(trials[:count], DEVICES)))


def test_each_demand_is_projected_once_per_device(trials, monkeypatch) -> None:
    calls, said_of = [], projected.said_of
    monkeypatch.setattr(projected, "said_of", lambda p, asked: calls.extend(asked.records) or said_of(p, asked))
    projector, board = Projector(None), all_profiles()[BOARD]
    for _ in range(2):
        projector.on(stored(trials), [board]).numbers("latency_ms", BOARD)
    assert len(calls) == len({t.demand for t in trials if t.demand})


@pytest.mark.parametrize("name", read_scenarios())
def test_a_scenario_costs_many_what_it_costs_each(trials, name) -> None:
    scenario, expected = find_scenario(name), with_projections(trials, DEVICES)
    for device in DEVICES:
        expected = under(replace(scenario, device=device), expected)
    same(under_scenario(on(stored(trials)), DEVICES, scenario), list(expected))
    assert under_scenario(expected, DEVICES, None)[3] is expected[3]


def test_the_frontier_of_those_that_fit_is_that_of_a_loop(trials) -> None:
    each = [t for t in with_projections(trials, DEVICES) if BOARD not in t.projections or t.projections[BOARD].fits]
    view = View(device=BOARD, limits={"accuracy": 0.85})
    table = on(stored(trials))
    assert frontier_info(table.take(table.fits(BOARD)), view) == frontier_info(each, view)


def test_files_say_what_records_do_not_up_to_a_number(monkeypatch, trials) -> None:
    silent = [replace(t, demand=None, artifact=f"{i:064x}.onnx", state="done") for i, t in enumerate(trials[:8])]
    opened: list[str] = []

    def read(name: str, _: object) -> object:
        opened.append(name)
        return None if name == silent[1].artifact else NETWORKS[0]

    monkeypatch.setattr(projected, "demand_of_file", read)
    monkeypatch.setattr(projected, "MOST_FILES", 3)
    table, projector = Trials.of(silent), Projector(SimpleNamespace())
    for _ in range(2):
        found = projector.on(table, [all_profiles()["raspberry-pi-5"]])
        assert [r for r, t in enumerate(found) if "raspberry-pi-5" in t.projections] == [0, 2]
    assert opened == [t.artifact for t in silent[:3]]
    assert (unread(table), unread(table.take(np.arange(3)))) == (5, 0)
