"""Nodes on their host: all cores busy, by simulation of the real policy on 1 to 16; a run that waits for another says so; answers do not
depend on the cores."""

from __future__ import annotations

import json
import statistics
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.compress.finetune import Schedule, train
from engine.compress.teacher import teacher_outputs
from engine.cores import Pool, max_cores, width
from engine.errors import SetupError
from engine.measure.accuracy import predict
from engine.measure.machine import machine
from engine.models.zoo import BUILDERS
from engine.paths import EXAMPLE
from engine.run.forecast import forecast_s
from engine.run.host_lock import host_held
from engine.run.outcome import Progress
from engine.run.plan import EXCLUSIVE, Plan
from engine.run.planner import make_plan
from engine.run.run import execute
from engine.run.waits import Waits
from engine.spec.read import read_sweep
from engine.spec.sweep import parse_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from tests.helpers.scheduling import simulate
from tests.helpers.tiny import write_problem
from tests.helpers.tiny_trained import tiny_data, tiny_graph


@pytest.fixture(autouse=True)
def all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PARETOSCOPE_CORES")


def example() -> Plan:
    return make_plan(read_sweep(EXAMPLE / "spec.yaml"), machine())


def seconds_of(plan: Plan) -> dict[str, float]:
    """What nodes of their kinds took when the example was made; of latencies, which do not ship as nodes, a guess."""
    taken: dict[str, list[float]] = {"latency": [4.0]}
    for node in json.loads((EXAMPLE / "nodes.json").read_text())["nodes"]:
        taken.setdefault(node["kind"], []).append(node["seconds"])
    return {key: statistics.median(taken[node.kind]) for key, node in plan.nodes.items()}


@pytest.mark.parametrize("cores", range(1, 17))
def test_the_default_sweep_keeps_the_cores_busy(cores: int):
    plan = example()
    seconds = seconds_of(plan)
    found = simulate(plan, seconds, cores, serial=0.05)
    assert found.utilization >= 0.85
    alone = sum(s for k, s in seconds.items() if plan.nodes[k].kind in EXCLUSIVE)
    assert found.wall_s >= alone + (sum(seconds.values()) - alone) / cores


def test_nodes_of_one_core_each_left_half_of_sixteen_idle(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PARETOSCOPE_CORES", "1")
    assert simulate(example(), seconds_of(example()), 16).utilization < 0.6


@pytest.mark.parametrize(("cores", "speedup"), [(1, 1.0), (2, 1.8), (4, 3.2), (8, 5.3), (16, 7.5)])
def test_a_lone_training_is_faster_with_every_core(cores: int, speedup: float):
    spec = {"model": {"source": "resnet8"}, "space": {"distill": {"student": "ds_cnn", "epochs": 1}}}
    plan = make_plan(parse_sweep(spec), machine())
    seconds = {key: 600.0 for key, node in plan.nodes.items() if node.kind == "distill"}
    assert len(seconds) == 1
    assert simulate(plan, seconds, 1, 0.05).wall_s / simulate(plan, seconds, cores, 0.05).wall_s >= speedup


@pytest.mark.parametrize("cores", [1, 2, 4, 8, 16])
def test_forecasts_follow(cores: int):
    plan = example()
    taken = seconds_of(plan)
    rates = {node.kind: taken[key] / node.work for key, node in plan.nodes.items()}
    seconds = {key: rates[node.kind] * node.work for key, node in plan.nodes.items()}
    assert forecast_s(plan, plan.nodes.keys(), rates, cores) == pytest.approx(
        simulate(plan, seconds, cores).wall_s, rel=0.15
    )


def test_a_way_through_narrow_nodes_takes_its_time_on_any_number_of_cores():
    plan = make_plan(parse_sweep({"model": {"source": "resnet8"}, "measure": {"latency": None}}), machine())
    rates = {"source": 10.0, "export": 20.0, "facts": 30.0, "accuracy": 0.0}
    assert forecast_s(plan, plan.nodes.keys(), rates, 16) == 60.0


@pytest.mark.parametrize("text", ["0", "-1", "all", "1.5"])
def test_a_number_of_cores_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.setenv("PARETOSCOPE_CORES", text)
    with pytest.raises(SetupError, match=f"PARETOSCOPE_CORES is '{text}'"):
        max_cores()


def test_answers_are_the_same_to_the_bit_on_any_number_of_cores(tmp_path: Path):
    model, data = tiny_graph(), tiny_data()
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    found = []
    for cores in (1, 3):
        with Pool(cores).task(16):
            assert width() == cores
            said = teacher_outputs(model, data.train, data.preprocessing, mirrored=True, features=True)
            found.append((said, predict(path, data.test, data.preprocessing, 3)))
    (one, few), (three, many) = found
    assert one.logits.shape == (2, len(data.train), 3)
    np.testing.assert_array_equal(one.logits, three.logits)
    np.testing.assert_array_equal(one.features, three.features)
    np.testing.assert_array_equal(few.log_probability, many.log_probability)


def test_a_training_that_gets_and_gives_cores_on_its_way_learns_the_same():
    one, widths = losses_on(1)
    assert set(widths) == {1}
    two, widths = losses_on(2)
    assert set(widths) == {1, 2}
    assert one == pytest.approx(two, rel=0.05)


def losses_on(cores: int) -> tuple[list[float], list[int]]:
    """The loss of every epoch and the threads of every step of a training that has all cores for four steps, one for four, and so on."""
    torch.manual_seed(0)
    network, data = BUILDERS["resnet8"](num_classes=3, width=0.5), tiny_data()
    losses: list[float] = []
    widths: list[int] = []
    with Pool(cores).task(16) as task:

        def after_step() -> None:
            widths.append(torch.get_num_threads())
            task.width = cores if len(widths) % 8 < 4 else 1

        train(
            network,
            data.train,
            data.preprocessing,
            Schedule(epochs=2, batch_size=64, dropout=False),
            seed=0,
            on_epoch=lambda _, loss: losses.append(loss),
            after_step=after_step,
        )
    return losses, widths


def test_a_run_waits_for_what_another_times_on_the_host_and_says_for_how_long(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PARETOSCOPE_HOST_LOCK", str(place))
    quick = "space={quantize: [null, {weight_bits: 8, activation_bits: 32}]}"
    sweep = read_sweep(write_problem(place), (quick, "measure.latency=null", "measure.test_samples=60"))
    let_go, timing = threading.Event(), threading.Event()
    seen: list[Progress] = []

    def other_run() -> None:
        with host_held(alone=True):
            timing.set()
            let_go.wait(120)

    def on_progress(progress: Progress) -> None:
        seen.append(progress)
        if progress.waiting:
            assert progress.nodes_done == 0
            let_go.set()

    other = threading.Thread(target=other_run)
    other.start()
    timing.wait()
    outcome = execute(sweep, Store.open(), Artifacts.open(), on_progress=on_progress)
    other.join()
    assert let_go.is_set()
    assert (outcome.state, outcome.trials_done) == ("done", 2)
    assert 0 < outcome.waited_s < outcome.seconds
    assert seen[-1].waiting == 0


def test_time_in_which_several_wait_counts_once():
    now = 0.0
    waits = Waits(lambda: now)
    for at, node, begins in (
        (1.0, "a", True),
        (2.0, "b", True),
        (5.0, "a", False),
        (7.0, "b", False),
        (9.0, "c", True),
    ):
        now = at
        waits.hear({"node": node, "waits": begins, "worker": "tcp://one"})
    now = 10.0
    assert (waits.seconds(), waits.now()) == (7.0, 1)
