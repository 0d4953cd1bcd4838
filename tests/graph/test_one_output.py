"""A graph of several outputs as one, and back: what steps make of it gives the outputs under their names."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.compress.quantize import quantized
from engine.errors import ModelError, StepError
from engine.graph.one_output import as_one, as_several
from engine.graph.outputs import Layout, levelled, side_by_side
from engine.models.interface import Interface, shape_interface
from engine.spec.steps import Quantize
from tests.helpers.several_outputs import OUTPUTS, several_inputs, several_net, unoptimised


def counting(names: tuple[str, ...] = OUTPUTS) -> onnx.ModelProto:
    model = several_net()
    shape_interface(model, "net.onnx", Interface(outputs=names))
    return model


def test_each_output_weighs_the_same_and_comes_back_as_it_was() -> None:
    model, x = counting(), several_inputs(80, 1)
    one = as_one(model, x)
    assert len(one.graph.output) == 1
    said = unoptimised(one, x, (one.graph.output[0].name,))[one.graph.output[0].name].astype(np.float64)
    assert said.shape == (80, 4 + 5 + 1)
    for part in np.split(said, [4, 9], axis=1):
        assert np.square(part - part.mean(0)).sum() / 80 == pytest.approx(1, rel=1e-4)
    back = as_several(one, list(model.graph.output))
    assert back.graph.output == model.graph.output
    for name, array in unoptimised(back, x).items():
        assert np.array_equal(array, unoptimised(several_net(), x)[name])
        assert array.dtype == (np.int64 if name == "kind" else np.float32)


@pytest.mark.parametrize(
    "options",
    [
        {"weight_bits": 8, "activation_bits": 8},
        {"weight_bits": 4, "activation_bits": 32},
        {"weight_bits": 8, "method": "dynamic"},
        {"weight_bits": 8, "activation_bits": 8, "rounding": "nearest", "per_channel": False},
        {"weight_bits": 16, "activation_bits": 32, "compute": "float16"},
    ],
)
def test_quantized_files_give_each_output_close_to_the_float_network(options: dict) -> None:
    model, x = counting(("scores", "boxes")), several_inputs(200, 2)
    made = as_several(quantized(Quantize(**options), as_one(model, x), x).model, list(model.graph.output))
    onnx.checker.check_model(made)
    assert [o.name for o in made.graph.output] == ["scores", "boxes"]
    # None of what stood behind the outputs is left, and nothing that only the others read.
    assert not {n.op_type for n in made.graph.node} & {"ArgMax", "Div"}
    assert "wr" not in {t.name for t in made.graph.initializer}
    expected, found = (unoptimised(m, x, ("scores", "boxes")) for m in (several_net(), made))
    limit = 0.25 if options["weight_bits"] == 4 else 0.06
    for name, wanted in expected.items():
        off = np.linalg.norm(found[name] - wanted) / np.linalg.norm(wanted - wanted.mean(0))
        assert 0 < off < limit, name


def test_outputs_side_by_side_are_taken_apart_again() -> None:
    arrays = [np.arange(6, dtype=np.float32).reshape(3, 2), np.array([2**40, 5, -7]), np.zeros((3, 2, 2), np.float16)]
    together = side_by_side(arrays, ("a", "b", "c"))
    assert together.dtype == np.float64
    apart = Layout.of(("a", "b", "c"), arrays).apart(together)
    for array, back in zip(arrays, apart.values(), strict=True):
        assert np.array_equal(array, back)
        assert array.dtype == back.dtype
    with pytest.raises(StepError, match=r"one row for each sample, but these are a \(3, 2\), b \(2,\)"):
        side_by_side([arrays[0], np.zeros(2)], ("a", "b"))


def test_an_output_that_never_varies_has_a_unit_still() -> None:
    reference = np.array([[1.0, 5, 0], [3.0, 5, 0]])
    assert levelled(reference, (("moves", 1), ("fixed", 1), ("none", 1))).tolist() == [1.0, 5.0, 1.0]


@pytest.mark.parametrize(
    "options",
    [
        {"weight_bits": 8, "activation_bits": 8},
        {"weight_bits": 16, "activation_bits": 32},
        {"weight_bits": 16, "activation_bits": 32, "compute": "float16"},
        {"weight_bits": 8, "method": "dynamic"},
    ],
)
def test_an_output_of_zeros_on_the_samples_is_still_that_output(options: dict) -> None:
    """Its unit is 1, and by 1 ONNX Runtime's optimizer does not divide; another division of the same tensor's stands before it."""
    rng = np.random.default_rng(0)
    stored = {"a": rng.normal(size=(8, 6)), "b": rng.normal(size=(6, 6)), "k": np.float64(3), "far": np.float64(-100)}
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("Relu", ["h"], ["scores"]),
        helper.make_node("Div", ["scores", "k"], ["d"]), helper.make_node("MatMul", ["d", "b"], ["e"]),
        helper.make_node("Add", ["e", "far"], ["f"]), helper.make_node("Relu", ["f"], ["alarm"]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 6]) for name in ("scores", "alarm")],
        [numpy_helper.from_array(np.asarray(v, np.float32), name) for name, v in stored.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    x = rng.normal(size=(100, 8)).astype(np.float32)
    step = Quantize(**options)
    made = as_several(quantized(step, as_one(model, x), x).model, list(model.graph.output))
    assert not unoptimised(model, x, ("alarm",))["alarm"].any()
    assert not unoptimised(made, x, ("alarm",))["alarm"].any()


def test_outputs_are_named_or_numbered_once() -> None:
    model = several_net()
    shape_interface(model, "net.onnx", Interface(outputs=("kind", 0)))
    assert [o.name for o in model.graph.output] == ["kind", "boxes"]
    with pytest.raises(
        ModelError, match=r"has no output 'labels' \(it gives boxes, scores, kind, spare\); correct model.outputs"
    ):
        shape_interface(several_net(), "net.onnx", Interface(outputs=("boxes", "labels")))
    with pytest.raises(ModelError, match=r"'boxes' is under model\.outputs twice"):
        shape_interface(several_net(), "net.onnx", Interface(outputs=("boxes", 0)))


def test_a_weight_that_a_step_gave_an_outputs_name_makes_room_for_it() -> None:
    """Steps name tensors by a letter or two; an output may be called so."""
    model, x = several_net(), several_inputs(5, 1)
    outputs = list(model.graph.output)
    one = as_one(model, x)
    names = {"boxes": "q", "a": "boxes"}
    for node in one.graph.node:
        for side in (node.input, node.output):
            side[:] = [names.get(name, name) for name in side]
    for tensor in one.graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
    found = as_several(one, outputs)
    onnx.checker.check_model(found)
    before, after = unoptimised(model, x), unoptimised(found, x)
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)
