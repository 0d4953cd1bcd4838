"""What a file's accuracy is on CPUs of either kind."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engine.errors import StepError
from engine.measure.emulation import Emulator, runtime_sums
from engine.measure.portability import measure_portability
from tests.helpers.integer_nets import qdq_net


def test_the_report_tells_what_saturation_does_to_the_classes():
    """Two features: the larger of them is a pair that saturates to half of itself, and so to less than the other."""
    weights = np.zeros((2, 2, 1, 2), int)
    weights[0, :, 0, 0] = 127  # neighbours: 255 · 127 twice is 64770, held at 32767
    weights[1, 0, 0, :] = 95  # not neighbours: 48450
    head = np.eye(5, 2, dtype=int) * 100
    bright, dark = np.full((12, 2, 6, 6), 5.5, np.float32), np.full((8, 2, 6, 6), 0.1, np.float32)
    model = qdq_net(weights, pads=0, scale=0.001, head=head)
    report = measure_portability(model, bright, np.concatenate([bright, dark]), np.zeros(20, np.int64))
    assert report.here == runtime_sums()
    assert (report.images, report.accuracy, report.saturated_accuracy) == (20, 1.0, 0.4)
    assert (report.flips, report.harmed, report.helped) == (12, 12, 0)
    assert report.risk == "harmful"
    assert report.p_value == pytest.approx(0.5**12)  # mid-p of twelve to nothing
    conv, last = report.layers
    assert (conv.name, conv.possible, conv.saturated, conv.outputs_changed) == ("conv", True, 0.25, 0.5)
    assert (last.name, last.possible) == ("head", False)

    unseen = measure_portability(model, dark, dark, np.zeros(8, np.int64))
    assert (unseen.risk, unseen.flips, unseen.accuracy) == ("unseen", 0, 1.0)
    safe = measure_portability(
        qdq_net(weights // 2, pads=0, scale=0.002, head=head), bright, bright, np.zeros(12, np.int64)
    )
    assert (safe.risk, safe.flips, safe.saturated_accuracy, safe.p_value) == ("none", 0, 1.0, 1.0)


def test_values_are_held_against_each_other_not_against_classes():
    weights = np.zeros((2, 2, 1, 2), int)
    weights[0, :, 0, 0] = 127
    weights[1, 0, 0, :] = 95
    model = qdq_net(weights, pads=0, scale=0.001, head=np.eye(5, 2, dtype=int) * 100)
    bright, dark = np.full((12, 2, 6, 6), 5.5, np.float32), np.full((8, 2, 6, 6), 0.1, np.float32)
    x, unknown = np.concatenate([bright, dark]), np.full(20, -1)
    emulator = Emulator(model)
    exact, found = emulator.exact(x).astype(np.float64), emulator.saturating(x).astype(np.float64)
    off = np.linalg.norm(found - exact) / np.linalg.norm(exact - exact.mean(0))
    report = measure_portability(model, bright, x, unknown, classes=False)
    assert report.relative_error == pytest.approx(off)
    assert off > 0.1
    assert (report.risk, report.accuracy, report.flips, report.p_value) == ("harmful", None, None, None)
    named = measure_portability(model, bright, x, unknown)
    assert (named.risk, named.accuracy, named.flips) == ("harmful", None, 12)
    unseen = measure_portability(model, dark, dark, unknown[:8], classes=False)
    assert (unseen.risk, unseen.relative_error) == ("unseen", 0)


def test_a_float_file_is_told_so():
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["input"], ["p"]), helper.make_node("Flatten", ["p"], ["logits"])], "f",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 2, 4, 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 2])],
    )  # fmt: skip
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    with pytest.raises(StepError, match="no integer layers"):
        measure_portability(model, *[np.zeros((1, 2, 4, 4), np.float32)] * 2, np.zeros(1, np.int64))
