"""Rounding is learned in graphs with operators that torch has not: ONNX Runtime computes those."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from engine.compress.qat import start_scheme
from engine.compress.quantization.rounding import learn_rounding
from engine.compress.quantization.torch_graph import as_call
from engine.compress.quantization.write import write
from engine.compress.quantize import make_scheme, prepare, quantized
from engine.errors import StepError
from engine.spec.steps import Quantize
from tests.helpers.quantize_cases import run

RNG = np.random.default_rng(3)
IMAGES = RNG.normal(size=(96, 3, 8, 8)).astype(np.float32)
UNSEEN = RNG.normal(size=(64, 3, 8, 8)).astype(np.float32)
BETWEEN = {
    "Resize": [helper.make_node("Resize", ["a", "", "scales"], ["big"], mode="linear", name="larger")],
    "Upsample": [helper.make_node("Upsample", ["a", "scales"], ["big"], mode="nearest", name="larger")],
    # Three of six outputs that a layer may leave unnamed, and inputs that it does without.
    "LSTM": [
        helper.make_node("Reshape", ["a", "series"], ["s"]),
        helper.make_node("Transpose", ["s"], ["t"], perm=[2, 0, 1]),
        helper.make_node("LSTM", ["t", "W", "R", "B"], ["l", "", "state"], hidden_size=6, name="remembers"),
        helper.make_node("Transpose", ["l"], ["u"], perm=[2, 1, 3, 0]),
        helper.make_node("Reshape", ["u", "image"], ["big"]),
    ],
    "GRU": [
        helper.make_node("Reshape", ["a", "series"], ["s"]),
        helper.make_node("Transpose", ["s"], ["t"], perm=[2, 0, 1]),
        helper.make_node("GRU", ["t", "V", "S"], ["l"], hidden_size=6, name="remembers"),
        helper.make_node("Transpose", ["l"], ["u"], perm=[2, 1, 3, 0]),
        helper.make_node("Reshape", ["u", "image"], ["big"]),
    ],
}  # fmt: skip


def network(between: str) -> onnx.ModelProto:
    """Two convolutions, something between them, and a product behind."""
    channels = 6
    arrays = {
        "w": RNG.normal(size=(channels, 3, 3, 3)), "b": RNG.normal(size=channels), "v": RNG.normal(size=(8, 6, 3, 3)),
        "scales": np.array([1, 1, 2, 2]), "W": RNG.normal(size=(1, 24, 6)), "R": RNG.normal(size=(1, 24, 6)) / 3,
        "B": RNG.normal(size=(1, 48)), "V": RNG.normal(size=(1, 18, 6)), "S": RNG.normal(size=(1, 18, 6)) / 3,
        "m": RNG.normal(size=(8, 5)),
    }  # fmt: skip
    stored = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in arrays.items()]
    stored += [
        numpy_helper.from_array(np.array([0, 6, 64]), "series"),
        numpy_helper.from_array(np.array([0, 6, 8, 8]), "image"),
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1] * 4), helper.make_node("Relu", ["c"], ["a"]),
        *BETWEEN[between],
        helper.make_node("Conv", ["big", "v"], ["d"], pads=[1] * 4), helper.make_node("GlobalAveragePool", ["d"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]), helper.make_node("MatMul", ["f", "m"], ["y"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 5])], stored,
    )  # fmt: skip
    opset = 9 if between == "Upsample" else 17
    used = {name for node in nodes for name in node.input}
    for tensor in [t for t in graph.initializer if t.name not in used]:
        graph.initializer.remove(tensor)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("between", list(BETWEEN))
def test_rounding_is_learned_before_and_behind(between: str) -> None:
    """In three bits, where it matters, against the float network in ONNX Runtime on images that were not seen; and codes differ from the
    nearest in every layer.
    """
    model = network(between)
    step = Quantize(weight_bits=3, activation_bits=8, ends_8bit=False)
    nearest = make_scheme(step, prepare(model), IMAGES)
    learned = learn_rounding(nearest, IMAGES)
    assert len(learned.weights) == 3
    for name, codes in learned.weights.items():
        assert not np.array_equal(codes.codes, nearest.weights[name].codes)
    wanted = run(model, UNSEEN)
    before, after = (float(np.square(run(write(s), UNSEEN) - wanted).mean()) for s in (nearest, learned))
    assert after < 0.6 * before
    done = quantized(step, model, IMAGES)
    assert "nearest rounding" not in done.chosen
    assert done.note is None or "not as learned" not in done.note


def test_training_refuses_before_it_learns_anything() -> None:
    step = Quantize(weight_bits=4, activation_bits=8, method="qat", epochs=1)
    with pytest.raises(StepError, match=r"^operator Resize \(node '[^']*'\) cannot be trained; use method ptq$"):
        start_scheme(step, prepare(network("Resize")), _Data())


class _Data:
    """As much of a dataset as is asked for."""

    def preprocessing(self, images: np.ndarray) -> np.ndarray:
        return images

    def calibrating(self, count: int) -> _Data:
        return self

    inputs = IMAGES


def test_what_the_runtime_computes_of_one_number_is_one_number() -> None:
    """Not a row of one: an index of no axes takes an axis away."""
    node = helper.make_node("Celu", ["a"], ["b"])
    model = helper.make_model(
        helper.make_graph([], "g", [], []), opset_imports=[helper.make_opsetid("", 21)], ir_version=10
    )
    found = as_call(node, model).run(torch.tensor(-1.0))
    assert [value.shape for value in found] == [()]
    assert float(found[0]) == pytest.approx(np.expm1(-1))
