"""Which device torch computes on: what is asked for, what is there, which nodes it changes, and that nobody loads torch to know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import SetupError
from engine.measure.machine import machine
from engine.run import training_device as module
from engine.run.cluster import Cluster
from engine.run.plan import Plan
from engine.run.planner import make_plan
from engine.run.task import Task
from engine.run.training_device import Gpu, gpus, training_device
from engine.run.worker import run_node
from engine.spec.sections import Data
from engine.spec.sweep import parse_sweep
from engine.store.artifacts import Artifacts
from tests.helpers.places import ROOT

TWO = (Gpu("cuda:0", "one"), Gpu("cuda:1", "other"))


@pytest.mark.parametrize(
    ("wanted", "there", "found"),
    [
        ("auto", (), "cpu"),
        ("auto", TWO, "cuda:0"),
        ("", TWO, "cuda:0"),
        ("cpu", TWO, "cpu"),
        ("cuda", TWO, "cuda:0"),
        ("cuda:1", TWO, "cuda:1"),
        ("mps", (Gpu("mps", "Apple GPU"),), "mps"),
    ],
)
def test_the_device_is_the_one_asked_for_or_the_gpu_that_is_there(
    monkeypatch: pytest.MonkeyPatch, wanted: str, there: tuple[Gpu, ...], found: str
):
    monkeypatch.setenv("PARETOSCOPE_DEVICE", wanted)
    monkeypatch.setattr(module, "gpus", lambda: there)
    assert training_device() == found


@pytest.mark.parametrize(
    ("wanted", "words"),
    [("gpu", "'gpu'; give auto, cpu"), ("cuda:2", "finds cuda:0, cuda:1 here"), ("mps", "finds cuda:0, cuda:1 here")],
)
def test_a_device_that_is_not_here_is_one_line(monkeypatch: pytest.MonkeyPatch, wanted: str, words: str):
    monkeypatch.setenv("PARETOSCOPE_DEVICE", wanted)
    monkeypatch.setattr(module, "gpus", lambda: TWO)
    with pytest.raises(SetupError, match=words) as caught:
        training_device()
    assert "\n" not in str(caught.value)


def test_what_is_there_is_asked_in_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch):
    """A page plans, and must not load torch for that."""
    code = (
        "import sys\nfrom engine.run import training_device as m\nm._may_be_there = lambda: True\n"
        "print(m.gpus(), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    gpus.cache_clear()
    monkeypatch.setattr(module, "_may_be_there", lambda: True)
    try:
        assert done.stdout.strip() == f"{gpus()} False"
    finally:
        gpus.cache_clear()


SPACE = {
    "distill": [None, {"student": "ds_cnn", "epochs": 1}],
    "prune": [
        None,
        {"method": "channel", "ratio": 0.5, "finetune_epochs": 1},
        {"method": "channel", "ratio": 0.5, "importance": "taylor"},
    ],
    "quantize": [
        None,
        {"weight_bits": 8, "activation_bits": 8, "rounding": "nearest"},
        {"weight_bits": 4, "activation_bits": 8, "rounding": "learned"},
        {"weight_bits": 4, "activation_bits": 8, "method": "qat"},
    ],
}


def plan_for(device: str | None) -> Plan:
    spec = {"model": {"source": "resnet8"}, "space": SPACE, "measure": {"latency": None}}
    return make_plan(parse_sweep(spec), machine(), device=device)


def trained(plan: Plan) -> set[str]:
    return {n.kind for n in plan.nodes.values() if n.device != "cpu"}


def test_keys_hold_the_kind_of_device_where_results_differ_and_nowhere_else():
    cpu, cuda, mps = (plan_for(device) for device in ("cpu", "cuda", "mps"))
    assert plan_for(None).nodes.keys() == cpu.nodes.keys()
    assert trained(cpu) == set()
    assert trained(cuda) == {"teacher", "distill", "prune", "finetune", "sensitivity", "quantize", "qat"}
    assert trained(mps) == {"teacher", "distill", "prune", "finetune"}
    for plan in (cuda, mps):
        for key, node in plan.nodes.items():
            touched = {key, *plan.ancestors[key]} & {k for k, n in plan.nodes.items() if n.device != "cpu"}
            assert (key in cpu.nodes) == (not touched), node
    plain = [n for n in cuda.nodes.values() if n.kind == "quantize" and n.options["rounding"] == "nearest"]
    assert {n.device for n in plain} == {"cpu"}
    l2 = [n for n in cuda.nodes.values() if n.kind == "prune" and n.options["importance"] == "l2"]
    assert {n.device for n in l2} == {"cpu"}


def test_what_computes_on_a_gpu_takes_a_place_on_one():
    cluster = Cluster(None, machine(), 8, 8, True, device="cuda")  # type: ignore[arg-type]
    plan = plan_for("cuda")
    taken = {n.kind: cluster.resources(n) for n in plan.nodes.values()}
    assert taken["distill"] == {"cpu": 1, "gpu": 1}
    assert taken["facts"] == taken["export"] == {"cpu": 1}
    assert {str(Cluster.resources(cluster, n)) for n in plan_for("cpu").nodes.values()} == {"{'cpu': 1}"}


def test_a_worker_without_the_gpu_that_was_planned_for_says_so(tmp_path: Path):
    node = next(n for n in plan_for("cuda").nodes.values() if n.kind == "distill")
    task = Task(node, (), Data(), 0, Artifacts(str(tmp_path), tmp_path))
    with pytest.raises(SetupError, match=r"distill: planned for a worker with cuda, but this one has cpu"):
        run_node(task)
