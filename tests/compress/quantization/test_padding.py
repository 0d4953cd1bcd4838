"""Padding and masks of hugely negative values in front of max pooling, which are no part of a range."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from engine.compress.quantization.qdq_placement import place
from engine.compress.quantization.simulate import Simulation
from engine.compress.quantization.write import write
from engine.compress.quantize import apply, make_scheme, prepare
from engine.spec.steps import Quantize
from tests.helpers.quantize_cases import pictures, relative_error, run

torch.set_num_threads(1)
INT8 = {"weight_bits": 8, "activation_bits": 8, "format": "u8u8"}
SHAPE = (1, 12, 12)


def padded(value: float, relu: bool, opset: int, form: str) -> onnx.ModelProto:
    """Convolution, padding behind it, pooling, and so on; `form`: how the values come in front of the pooling."""
    rng = np.random.default_rng(1)
    constants = {
        "w1": rng.normal(0, 0.4, (8, 1, 3, 3)), "b1": rng.normal(0, 0.2, 8), "w2": rng.normal(0, 0.2, (12, 8, 3, 3)),
        "b2": rng.normal(0, 0.1, 12), "w3": rng.normal(0, 0.4, (12, 5)), "value": np.array(value),
    }  # fmt: skip
    tensors = {k: v.astype(np.float32) for k, v in constants.items()}
    tensors["seen"] = rng.random((1, 8, 12, 12)) < 0.8
    tensors["seen"][..., ::2, ::2] = True
    before = "r1" if relu else "c1"
    pads, pool = [0, 0, 0, 0, 0, 0, 1, 1], {"kernel_shape": [3, 3], "strides": [2, 2]}
    if form == "pad":
        tensors["pads"] = np.array(pads)
        filled = [helper.make_node("Pad", [before, "pads", "value"], ["p"])]
    elif form == "pad of old":
        filled = [helper.make_node("Pad", [before], ["p"], pads=pads, value=value, mode="constant")]
    elif form == "average first":
        # Padding by zeros that are averaged, and a second pooling, whose filling is the value.
        tensors["pads"] = np.array(pads)
        filled = [
            helper.make_node("AveragePool", [before], ["a"], kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1),
            helper.make_node("Pad", ["a", "pads", "value"], ["p"]),
        ]
    else:
        filled = [helper.make_node("Where", ["seen", before, "value"], ["p"])]
    nodes = [
        helper.make_node("Conv", ["input", "w1", "b1"], ["c1"], pads=[1] * 4),
        *([helper.make_node("Relu", ["c1"], ["r1"])] if relu else []),
        *filled,
        helper.make_node("MaxPool", ["p"], ["m"], **pool),
        helper.make_node("Conv", ["m", "w2", "b2"], ["c2"], pads=[1] * 4),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "w3"], ["logits"]),
    ]
    read = {name for n in nodes for name in n.input}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", *SHAPE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(v, k) for k, v in tensors.items() if k in read],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    onnx.checker.check_model(model)
    return model


CASES = [
    *((value, True, 17, "pad") for value in (0.0, -1e4, -1e9, float(np.finfo(np.float32).min), -np.inf)),
    (-np.inf, False, 13, "pad"),
    (-1e9, False, 10, "pad of old"),
    (-np.inf, True, 10, "pad of old"),
    (-1e9, False, 17, "average first"),
    (-1e9, True, 17, "where"),
    (-np.inf, False, 17, "where"),
]


@pytest.mark.parametrize(("value", "relu", "opset", "form"), CASES)
@pytest.mark.parametrize("calibration", ["minmax", "percentile", "mse", "entropy"])
def test_what_is_filled_in_is_no_part_of_a_range(value: float, relu: bool, opset: int, form: str, calibration: str):
    model, images = padded(value, relu, opset, form), pictures(48, SHAPE, 2)
    found = apply(Quantize(**INT8, calibration=calibration), model, images)
    expected = run(model, images, optimize=False)
    # As without any padding but for 8 bits; entropy clips a good deal more than the others.
    assert relative_error(run(found, images), expected) < (0.35 if calibration == "entropy" else 0.06)


@pytest.mark.parametrize(("value", "relu", "opset", "form"), CASES)
def test_it_can_be_trained(value: float, relu: bool, opset: int, form: str):
    """The simulation computes what the file does, and no step size gets a gradient that is no number."""
    model, images = padded(value, relu, opset, form), pictures(16, SHAPE, 2)
    scheme = make_scheme(Quantize(**INT8), prepare(model), images)
    simulation = Simulation(scheme)
    found = simulation(torch.from_numpy(images))
    assert relative_error(found.detach().numpy(), run(write(scheme), images)) < 1e-4
    found.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in simulation.parameters())


@pytest.mark.parametrize(
    ("readers", "expected"),
    [
        ([("MaxPool", "c", "m")], {"c": "m"}),
        ([("MaxPool", "c", "k"), ("MaxPool", "k", "m")], {"c": "m"}),
        ([("Transpose", "c", "k"), ("MaxPool", "k", "m")], {"c": "m"}),
        ([("MaxPool", "c", "k"), ("Conv", "c", "s"), ("Add", "k s", "m")], {}),
        ([("AveragePool", "c", "m")], {}),
    ],
)
def test_only_what_nobody_but_pooling_reads_is_seen_after_it(
    readers: list[tuple[str, str, str]], expected: dict[str, str]
):
    window = {"kernel_shape": [3, 3], "pads": [1] * 4}
    nodes = [helper.make_node("Conv", ["input", "w"], ["c"], pads=[1] * 4)]
    for op, inputs, output in readers:
        names = [*inputs.split(), *(["w"] if op == "Conv" else [])]
        nodes.append(helper.make_node(op, names, [output], **(window if op.endswith(("Pool", "Conv")) else {})))
    nodes += [
        helper.make_node("Conv", ["m", "w"], ["d"]),
        helper.make_node("ReduceMean", ["d"], ["logits"], keepdims=0),
    ]
    value = helper.make_tensor_value_info
    weight = numpy_helper.from_array(np.full((4, 4, 3, 3), 0.1, np.float32), "w")
    graph = helper.make_graph(nodes, "g", [value("input", 1, ["N", 4, 8, 8])], [value("logits", 1, ["N"])], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    assert place(model).seen_as == expected
