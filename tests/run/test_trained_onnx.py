"""A sweep of an ONNX file with torch steps: trained and pruned as a torch network, and held against the file itself."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from engine.check.report import check
from engine.cli.check import print_report
from engine.datasets.load import load_dataset
from engine.errors import ModelError, SpecError
from engine.graph.graph import load_onnx
from engine.measure.machine import machine
from engine.models import convertible
from engine.models.files import load_file
from engine.run.planner import make_plan
from engine.spec.read import read_sweep
from engine.store.artifacts import Artifacts
from tests.helpers.exported_nets import exported, network
from tests.helpers.run_here import swept
from tests.helpers.tiny import write_problem

PRUNE = "prune: [null, {method: channel, ratio: 0.5, round_to: 1, finetune_epochs: 3}]"
QUANTIZE = "quantize: [null, {weight_bits: 8, activation_bits: 8, calibration_samples: 32}]"
DISTIL = "[{step: distill, student: current, epochs: 1, learning_rate: 0.05}]"
WHOLE = (f"space={{{PRUNE}, {QUANTIZE}}}", f"recipes=[{DISTIL}]")


@pytest.fixture
def spec(place: Path) -> Path:
    """The tiny problem, its network trained and brought as an ONNX file alone."""
    spec = write_problem(place)
    data = load_dataset(read_sweep(spec).data)
    net = network(16).train()
    optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
    x, y = torch.from_numpy(data.preprocessing(data.train.inputs)), torch.from_numpy(data.train.labels)
    for _ in range(6):
        for i in range(0, len(x), 50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[i : i + 50]), y[i : i + 50]).backward()
            optimizer.step()
    exported(place / "net.onnx", net.eval(), opset_version=17)
    spec.write_text(spec.read_text().replace('"net.py:build"', "net.onnx"))
    return spec


def test_an_onnx_file_is_pruned_trained_and_quantized_and_stays_the_baseline(spec: Path):
    sweep, trials, plan = swept(spec, *WHOLE)
    assert [t.state for t in trials] == ["done"] * 5, [t.error for t in trials]
    by_steps = {tuple(s.step for s in t.recipe.steps): t for t in trials}
    baseline, pruned = by_steps[()], by_steps["prune", "finetune"]
    both = by_steps["prune", "finetune", "quantize"]
    assert 0.45 < pruned.params / baseline.params < 0.55
    assert both.size_bytes < pruned.size_bytes < baseline.size_bytes
    # Training works on it: half of the channels answer as well as all, within what chance makes of 300 images.
    assert min(t.accuracy.value for t in trials) > baseline.accuracy.value - 0.05 > 0.8
    assert any("turned into a torch network by onnx2torch" in note for note in pruned.notes)
    # What is measured as the baseline, and quantized alone, is the file, not what it was turned into.
    files = Artifacts.open()
    own = load_file(sweep.model, load_dataset(sweep.data))[0]
    assert load_onnx(files.local(baseline.artifact)).SerializeToString() == own.SerializeToString()
    int8 = next(c for c in plan.chains if [s.step for s in c.recipe.steps] == ["quantize"])
    assert plan.nodes[int8.model].inputs == (plan.chains[0].model,)
    assert [n.kind for n in plan.nodes.values()].count("convert") == 1
    # Batch norms that were put back are folded away again, and the shape that the file computes is a Flatten.
    kinds = {n.op_type for n in onnx.load(files.local(pruned.artifact)).graph.node}
    assert kinds == {"Conv", "Relu", "Clip", "Add", "MaxPool", "Flatten", "Gemm"}


def test_nodes_of_onnx_steps_have_the_keys_that_they_have_without_torch_steps(spec: Path):
    alone = make_plan(read_sweep(spec, (f"space={{{QUANTIZE}}}",)), machine())
    both = make_plan(read_sweep(spec, WHOLE), machine())
    assert alone.nodes.keys() <= both.nodes.keys()


def test_a_plan_says_what_is_missing_and_needs_nothing_for_onnx_steps_and_built_in_students(
    spec: Path, monkeypatch, capsys
):
    monkeypatch.setattr(convertible, "known_operators", lambda: frozenset())
    make_plan(read_sweep(spec, (f"space={{{QUANTIZE}}}",)), machine())
    make_plan(read_sweep(spec, ("space={distill: {student: ds_cnn, epochs: 1}}",)), machine())
    sweep = read_sweep(spec, WHOLE)
    with pytest.raises(
        ModelError, match=r"not installed; run pip install 'paretoscope\[onnx2torch\]' .*or keep to what works"
    ):
        make_plan(sweep, machine())
    found = check(sweep)
    assert [f.level for f in found.findings if "onnx2torch" in f.what] == ["error"]
    print_report(found)
    # Brackets are no markup.
    assert "pip install 'paretoscope[onnx2torch]' (or pip install onnx2torch), or keep to" in capsys.readouterr().out


def test_no_other_size_can_be_made_of_a_graph_nor_anything_trained_of_a_program(spec: Path):
    with pytest.raises(
        SpecError,
        match=r"student self builds the network anew, .*; use student: current, .*prune, or a built-in student",
    ):
        read_sweep(spec, ("space={distill: {student: self, width: 0.5, epochs: 1}}",))
    program = f"model.source={spec.parent / 'net.pt2'}"
    with pytest.raises(SpecError, match=r"prune needs a torch network, but .*net.pt2 is an exported program"):
        read_sweep(spec, (program, f"space={{{PRUNE}}}"))
