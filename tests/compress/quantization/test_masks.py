"""Masks far out of range, and what follows the last layer with weights: neither is part of what is calibrated or rounded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, inliner, numpy_helper

from engine.compress.quantization.calibrate import squared_distance
from engine.compress.quantization.sensitivity import measure_sensitivity
from engine.compress.quantize import quantized
from engine.datasets.splits import Split
from engine.graph.inputs import NamedArrays
from engine.spec.steps import Quantize
from tests.helpers.quantize_cases import pictures, relative_error, run
from tests.helpers.tiny_trained import tiny_data

torch.set_num_threads(1)
LEAST = float(np.finfo(np.float32).min)
WIDTH, PLACES = 16, 12


def graph_of(
    nodes: list[onnx.NodeProto], tensors: dict[str, np.ndarray], inputs: dict[str, list], outputs: dict[str, list]
) -> onnx.ModelProto:
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in some.items()]
        for some in (inputs, outputs)
    ]
    stored = [numpy_helper.from_array(value, name) for name, value in tensors.items()]
    graph = helper.make_graph(nodes, "tiny", *values, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def attention(form: str, norm: bool) -> onnx.ModelProto:
    """One head of attention over places that a second input lets through; `form`: how the others are masked."""
    rng = np.random.default_rng(3)
    square = {f"w{part}": rng.normal(0, 0.3, (WIDTH, WIDTH)) for part in "qkvo"}
    tensors = {name: value.astype(np.float32) for name, value in square.items()}
    tensors |= {"one": np.float32(1), "axis": np.array([1]), "gain": np.ones(WIDTH, np.float32)}
    tensors |= {"far": np.float32({"-1e9": -1e9, "least": LEAST, "-inf": -np.inf, "where": -np.inf}[form])}
    nodes = [helper.make_node("LayerNormalization", ["x", "gain"], ["n"])] if norm else []
    data = "n" if norm else "x"
    nodes += [helper.make_node("MatMul", [data, f"w{part}"], [part]) for part in "qkv"]
    nodes += [
        helper.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["scores"]),
        helper.make_node("Sub", ["one", "mask"], ["hidden"]),
        helper.make_node("Unsqueeze", ["hidden", "axis"], ["hidden3"]),
        helper.make_node("Cast", ["hidden3"], ["is_hidden"], to=TensorProto.BOOL),
    ]
    if form == "-1e9":
        nodes += [
            helper.make_node("Mul", ["hidden3", "far"], ["added"]),
            helper.make_node("Add", ["scores", "added"], ["m"]),
        ]
    elif form in ("least", "-inf"):
        tensors["zero"] = np.float32(0)
        nodes += [
            helper.make_node("Where", ["is_hidden", "far", "zero"], ["added"]),
            helper.make_node("Add", ["scores", "added"], ["m"]),
        ]
    else:
        nodes += [helper.make_node("Where", ["is_hidden", "far", "scores"], ["m"])]
    nodes += [
        helper.make_node("Softmax", ["m"], ["shares"], axis=-1),
        helper.make_node("MatMul", ["shares", "v"], ["seen"]),
        helper.make_node("MatMul", ["seen", "wo"], ["y"]),
    ]
    shapes = {"x": ["N", PLACES, WIDTH], "mask": ["N", PLACES]}
    return graph_of(nodes, tensors, shapes, {"y": ["N", PLACES, WIDTH]})


def places(n: int, seed: int) -> NamedArrays:
    rng = np.random.default_rng(seed)
    mask = (rng.random((n, PLACES)) < 0.6).astype(np.float32)
    mask[:, 0] = 1
    return NamedArrays({"x": rng.normal(size=(n, PLACES, WIDTH)).astype(np.float32), "mask": mask})


def answers(model: onnx.ModelProto, feeds: NamedArrays) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(feeds.arrays))[0]


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("form", ["-1e9", "least", "-inf", "where"])
@pytest.mark.parametrize(
    "options",
    [{"activation_bits": 8}, {"activation_bits": 8, "rounding": "nearest"}, {"activation_bits": 16}],
)
def test_masks_of_attention_are_no_part_of_a_range(form: str, norm: bool, options: dict) -> None:
    model = attention(form, norm)
    step = Quantize(weight_bits=8, format="u8u8" if options["activation_bits"] == 8 else "u8s8", **options)
    done = quantized(step, model, places(48, 1))
    test = places(24, 2)
    assert relative_error(answers(done.model, test), answers(model, test)) < 0.08


def masked_classes(value: float) -> onnx.ModelProto:
    """A picture's classes, of which the network itself rules out the last."""
    rng = np.random.default_rng(5)
    tensors = {
        "w1": rng.normal(0, 0.4, (8, 1, 3, 3)).astype(np.float32),
        "w2": rng.normal(0, 0.6, (8, 4)).astype(np.float32),
        "ruled": np.array([[0, 0, 0, value]], np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input", "w1"], ["c"], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("MatMul", ["f", "w2"], ["said"]),
        helper.make_node("Add", ["said", "ruled"], ["logits"]),
    ]
    return graph_of(nodes, tensors, {"input": ["N", 1, 8, 8]}, {"logits": ["N", 4]})


@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize("value", [-1e9, LEAST, -np.inf])
def test_outputs_far_out_of_range_decide_nothing(value: float, classes: bool) -> None:
    """Sensitivities and the choices by distance are those of the answers that are left."""
    data, inputs = tiny_data(), pictures(48, (1, 8, 8), 3)
    split = Split(inputs, np.zeros(48, np.int64))
    plain = type(data.preprocessing)(1.0, (0.0,), (1.0,))
    task = "classification" if classes else "regression"
    own = replace(data, preprocessing=plain, task=task, train=split, calibration=split, validation=split, test=split)
    step = Quantize(weight_bits=8, activation_bits=8, format="u8u8", per_channel=False)
    found = measure_sensitivity(step, masked_classes(value), own)
    # With a number that bends nothing, where what is ruled out counts as well, but no more than the others.
    usual = measure_sensitivity(step, masked_classes(-30.0), own)
    for name, costs in found.items():
        for bits, cost in costs.items():
            assert 0.2 * usual[name][bits] - 1e-5 < cost < 1.2 * usual[name][bits] + 1e-5
    done = quantized(step, masked_classes(value), inputs)
    exact, rounded = (run(model, inputs) for model in (masked_classes(value), done.model))
    assert relative_error(rounded[:, :3], exact[:, :3]) < 0.05
    assert (rounded[:, 3] < -1e8).all()


def test_the_same_infinity_is_no_difference_and_another_is_one() -> None:
    wanted = np.array([[1.0, -np.inf, np.inf]], np.float32)
    assert squared_distance(np.array([[3.0, -np.inf, np.inf]], np.float32), wanted) == 4
    assert squared_distance(np.array([[1.0, 2.0, np.inf]], np.float32), wanted) == np.inf


def detector() -> onnx.ModelProto:
    """Two convolutions, then boxes decoded, scored and thinned out by NonMaxSuppression."""
    rng = np.random.default_rng(7)
    tensors = {
        "w1": rng.normal(0, 0.4, (8, 1, 3, 3)).astype(np.float32),
        "w2": rng.normal(0, 0.4, (6, 8, 1, 1)).astype(np.float32),
        "flat": np.array([1, 6, -1]), "ends": np.array([4, 2]), "stride": np.float32(40), "most": np.array([20]),
        "overlap": np.array([0.5], np.float32), "score": np.array([0.55], np.float32),
        "shift": rng.normal(0, 90, (1, 64, 4)).astype(np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["input", "w1"], ["c"], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("Conv", ["r", "w2"], ["head"]),
        helper.make_node("Reshape", ["head", "flat"], ["rows"]),
        helper.make_node("Split", ["rows", "ends"], ["offsets", "raw"], axis=1),
        helper.make_node("Sigmoid", ["raw"], ["scores"]),
        helper.make_node("Transpose", ["offsets"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("Exp", ["turned"], ["sizes"]),
        helper.make_node("Mul", ["sizes", "stride"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["boxes"]),
        helper.make_node("NonMaxSuppression", ["boxes", "scores", "most", "overlap", "score"], ["kept"]),
        helper.make_node("Cast", ["kept"], ["picked"], to=TensorProto.FLOAT),
    ]
    outputs = {"picked": ["K", 3], "boxes": [1, 64, 4], "scores": [1, 2, 64]}
    return graph_of(nodes, tensors, {"input": [1, 1, 8, 8]}, outputs)


@pytest.mark.parametrize(
    "options",
    [
        {"weight_bits": 8, "activation_bits": 8, "format": "u8u8"}, {"weight_bits": 4, "activation_bits": 32},
        {"weight_bits": 8, "activation_bits": 16}, {"weight_bits": 16, "activation_bits": 32},
    ],
)  # fmt: skip
def test_what_follows_the_last_layer_stays_as_it_is(options: dict) -> None:
    """Decoding and NonMaxSuppression read floats that nothing rounded after the last convolution, and the constants are theirs."""
    model, inputs = detector(), pictures(24, (1, 8, 8), 4)
    done = quantized(Quantize(**options), model, inputs).model
    after = {"Reshape", "Split", "Sigmoid", "Transpose", "Exp", "Mul", "Add", "NonMaxSuppression", "Cast"}
    graph = inliner.inline_local_functions(done).graph
    makers = {name: node for node in graph.node for name in node.output}
    for output in ("boxes", "scores", "picked"):
        node = makers[output]
        while node.op_type != "Conv":
            assert node.op_type in after or node.op_type == "DequantizeLinear", node.op_type
            if node.op_type == "DequantizeLinear":  # What the last convolution itself gives, rounded once.
                assert makers[node.input[0]].op_type in ("QuantizeLinear", "Clip")
                break
            node = makers[node.input[0]]
    one = inputs[:1]
    for found, wanted in zip(both(done, one), both(model, one), strict=True):
        assert np.isfinite(found).all()
        if found.shape == wanted.shape:
            assert relative_error(found, wanted) < 0.2


def both(model: onnx.ModelProto, inputs: np.ndarray) -> list[np.ndarray]:
    """Boxes and scores."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["boxes", "scores"], {"input": inputs})
