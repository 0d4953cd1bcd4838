"""Lists of many trials are what a loop over them says: limits, order, pages; and they read the records of their page alone."""

from __future__ import annotations

import random
from dataclasses import replace
from decimal import Decimal

import pytest

from engine.errors import SpecError
from engine.frontier.listing import list_trials
from engine.metrics import METRICS
from engine.spec.sweep import parse_sweep
from engine.store.store import Store
from engine.trials.metric_values import metric_value
from engine.trials.trial import Trial
from tests.helpers.columns import BOARD, random_trials, stored
from tests.helpers.command_line import paretoscope, refused
from tests.helpers.trial_factory import INT8, MACHINE, sweep_trials, trial

KEYS = ("accuracy", "size_bytes", "latency_ms", "macs", "nll", "worst_class_drop", "energy_mj")


def by_loop(trials: list[Trial], limits: dict[str, float], sort: str | None, device: str) -> list[str]:
    def keeps(t: Trial) -> bool:
        found = ((metric_value(t, k, device), limit, METRICS[k].maximise) for k, limit in limits.items())
        return all(v is not None and (v >= limit if up else v <= limit) for v, limit, up in found)

    def place(t: Trial) -> tuple[bool, float]:
        value = metric_value(t, sort or "", device)
        return value is None, 0.0 if value is None else -value if METRICS[sort or ""].maximise else value

    kept = [t for t in trials if keeps(t)]
    return [t.id for t in (sorted(kept, key=place) if sort else kept)]


def in_words(key: str, limit: float) -> str:
    shown = METRICS[key].unit
    unit, base = {"%": ("%", "0.01"), "points": ("points", "0.01"), "kB": ("B", "1"), "M": ("k", "1e3")}.get(
        shown, (shown, "1")
    )
    return f"{key} {'>=' if METRICS[key].maximise else '<='} {Decimal(repr(limit)) / Decimal(base):f} {unit}"


@pytest.mark.parametrize("device", ["host", BOARD])
@pytest.mark.parametrize("seed", range(3))
def test_a_page_is_that_of_a_loop_over_trials(seed: int, device: str):
    trials, draw = random_trials(seed), random.Random(seed)
    for table in (trials, stored(trials)):
        for _ in range(12):
            found = {k: [v for t in trials if (v := metric_value(t, k, device)) is not None] for k in KEYS}
            keys = draw.sample([k for k in KEYS if found[k]], draw.randrange(3))
            limits = {k: draw.choice(found[k]) for k in keys}
            sort = draw.choice([None, *KEYS])
            expected = by_loop(trials, limits, sort, device)
            first, count = draw.randrange(5), draw.choice([None, 1, 7, 1000])
            asked = [in_words(k, v) for k, v in limits.items()]
            listing = list_trials(table, " and ".join(asked) or None, sort, device, first, count)
            assert (listing.total, listing.matched, listing.first) == (len(trials), len(expected), first)
            assert list(listing.trials.ids) == expected[first:][: count or None]
            assert [t.id for t in listing.trials] == list(listing.trials.ids)


def test_filters_and_pages_that_are_none_are_refused():
    trials = [trial(), trial(INT8)]
    for first, count in ((-1, None), (0, 0), (0, -3)):
        with pytest.raises(SpecError, match="a page of"):
            list_trials(trials, first=first, count=count)
    other = replace(trials[1], machine=replace(MACHINE, fingerprint="e" * 64, cpu="Other CPU"))
    for asked in ({"sort": "latency_ms"}, {"where": "latency < 1 ms"}):
        with pytest.raises(SpecError, match="2 machines"):
            list_trials([trials[0], other], **asked)
    assert list_trials([], "accuracy > 50", "accuracy", count=3).trials.ids == ()


def test_the_command_lists_a_part(home):
    store, sweep = Store.open(), parse_sweep({"name": "part", "model": {"source": "resnet8"}})
    trials = sweep_trials(failed=2)
    store.begin(sweep, trials, 1, 1)
    store.end(sweep.id, "done")
    within, part = (
        by_loop(trials, {"accuracy": 0.9}, "size_bytes", "host"),
        ("--where", "accuracy >= 90", "--sort", "size_bytes"),
    )
    out = paretoscope("trials", "part", *part, "--top", "3", "--skip", "1", home=home).stdout
    assert f"Listed: 2 to 4 of {len(within)} that match, of 24 recipes." in out
    assert [line.split()[0] for line in out.splitlines() if line[:6].strip() and line.split()[0] in within] == within[
        1:4
    ]
    # A device that the sweep was not projected onto, and its records as whole trials have them.
    import json

    args = ("trials", "part", "--json", "--device", "raspberry-pi-5")
    everything = json.loads(paretoscope(*args, home=home).stdout)
    some = json.loads(paretoscope(*args, "--top", "5", home=home).stdout)
    assert some == everything[:5]
    nothing = paretoscope("trials", "part", "--where", "size < 1 B", home=home).stdout
    assert nothing.strip() == "Listed: none of 0 that match, of 24 recipes."
    refused(paretoscope("trials", "part", "--sort", "accuracy,size_bytes", home=home), "several metrics")
    refused(paretoscope("trials", "part", "--top", "0", home=home), "a page of 0")
