"""Layers that are written in other ways than data times stored weight plus stored bias: rewritten, and right by every way of rounding."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from engine.compress.quantization.rounding import learn_rounding
from engine.compress.quantization.simulate import Simulation
from engine.compress.quantization.weights import find_layers, weight_names
from engine.compress.quantization.write import write
from engine.compress.quantize import apply, make_scheme, prepare
from engine.graph.counts import graph_facts
from engine.spec.steps import Quantize
from tests.helpers.quantize_cases import relative_error, run

torch.set_num_threads(1)
SIDE = 6
INT8 = {"weight_bits": 8, "activation_bits": 8, "format": "u8u8"}
IMAGES = np.random.default_rng(3).normal(size=(32, 2, SIDE, SIDE)).astype(np.float32)


def node(op: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], **attributes)


def gemm(inputs: str, **attributes: object) -> list[onnx.NodeProto]:
    """One Gemm of the flat images, (N, 72), or of what is written for them."""
    return [node("Flatten", "input", "x"), node("Gemm", inputs, "g", **attributes), node("Relu", "g", "body")]


LEFT = [node("Reshape", "input xs_shape", "x"), node("MatMul", "left x", "g"), node("Relu", "g", "body")]
# Each: nodes from `input` (N, 2, 6, 6) to `body`, and the fixed batch that some need.
FORMS: dict[str, tuple[list[onnx.NodeProto], int]] = {
    "residual": (gemm("x w x"), 0),
    "transposed weight": (gemm("x w x", transB=1), 0),
    "scaled": (gemm("x w x", alpha=0.5, beta=2.0), 0),
    "one number for all": (gemm("x w one"), 0),
    "a row": (gemm("x w row", beta=0.5), 0),
    "a row of two axes": (gemm("x w row2"), 0),
    "a column": (gemm("x w column"), 8),
    "a matrix": (gemm("x w whole"), 8),
    "sum": ([node("Flatten", "input", "x"), node("MatMul", "x w", "m"), node("Add", "x m", "g"), node("Relu", "g", "body")], 0),
    "data transposed": (
        [node("Flatten", "input", "x"), node("Transpose", "x", "t", perm=[1, 0]), node("Gemm", "t w row", "g", transA=1),
         node("Relu", "g", "body")], 0,
    ),
    "Gemm of a matrix on the left": (
        [node("Flatten", "input", "x"), node("Gemm", "w x high", "g", transB=1, alpha=0.5), node("Transpose", "g", "t", perm=[1, 0]),
         node("Relu", "t", "body")], 0,
    ),
    "Gemm of a transposed matrix on the left": (
        [node("Flatten", "input", "x"), node("Transpose", "x", "xt", perm=[1, 0]), node("Gemm", "w xt xt", "g", transA=1),
         node("Transpose", "g", "t", perm=[1, 0]), node("Relu", "t", "body")], 0,
    ),
    "computed bias": (
        [node("Conv", "input k", "c", pads=[1, 1, 1, 1]), node("GlobalAveragePool", "c", "p"),
         node("ReduceMean", "p", "b", axes=[0, 2, 3], keepdims=0),
         node("Conv", "input k b", "d", pads=[1, 1, 1, 1]), node("Relu", "d", "body")], 0,
    ),
    "matrix on the left": (LEFT, 0),
    "batch of one matrix on the left": ([*LEFT[:1], node("MatMul", "left3 x", "g"), LEFT[2]], 0),
    "batch of one matrix": ([*LEFT[:1], node("MatMul", "x right3", "g"), LEFT[2]], 0),
}  # fmt: skip


def graph(form: str) -> onnx.ModelProto:
    """The form and a classifier of five classes behind it."""
    nodes, batch = FORMS[form]
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.normal(0, 1 / 8, (72, 72)), "row": rng.normal(size=72), "row2": rng.normal(size=(1, 72)), "one": np.array([0.7]),
        "high": rng.normal(size=(72, 1)), "column": rng.normal(size=(8, 1)), "whole": rng.normal(size=(8, 72)),
        "k": rng.normal(0, 1 / 4, (2, 2, 3, 3)), "left": rng.normal(0, 1 / 3, (12, 12)),
        "left3": rng.normal(0, 1 / 3, (1, 12, 12)), "right3": rng.normal(0, 1 / 3, (1, 6, 6)), "head": rng.normal(0, 1 / 5, (72, 5)),
    }  # fmt: skip
    nodes = [*nodes, node("Flatten", "body", "flat"), node("MatMul", "flat head", "logits")]
    read = {name for n in nodes for name in n.input}
    tensors = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in constants.items() if k in read]
    if "xs_shape" in read:
        tensors.append(numpy_helper.from_array(np.array([-1, 12, 6]), "xs_shape"))
    sizes = [batch or "N", 2, SIDE, SIDE]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, sizes)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch or "N", 5])],
        tensors,
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def images(form: str) -> np.ndarray:
    return IMAGES[: FORMS[form][1] or None]


@pytest.mark.parametrize("form", FORMS)
def test_the_plain_form_computes_the_same_and_every_matrix_is_a_layer(form: str):
    model, prepared = graph(form), prepare(graph(form))
    assert relative_error(run(prepared, images(form), optimize=False), run(model, images(form), optimize=False)) < 1e-5
    layers = find_layers(prepared.graph.node, weight_names(prepared.graph))
    constants = {t.name: tuple(t.dims) for t in prepared.graph.initializer}
    assert {x.weight for x in layers} == {n for n, dims in constants.items() if len(dims) > 1 and dims[0] > 1} - {
        "whole",
        "column",
    }
    for layer in layers:
        assert not layer.bias or constants[layer.bias] in {(1,), (72,), (1, 72)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "options",
    [
        {"weight_bits": 8, "activation_bits": 32},
        {"weight_bits": 8, "activation_bits": 16},
        {"weight_bits": 7, "activation_bits": 8},
        INT8,
        INT8 | {"bias_correction": True},
        INT8 | {"per_channel": False},
    ],
    ids=lambda options: " ".join(map(str, options.values())),
)
def test_rounded_it_answers_like_the_float_network(form: str, options: dict[str, object]):
    model = graph(form)
    found = apply(Quantize(**options), model, images(form))
    expected = run(model, images(form), optimize=False)
    for optimize in (False, True):
        assert relative_error(run(found, images(form), optimize), expected) < 0.06
    # Every weight is stored in so many bits, and nothing is left in float unseen.
    assert {x.weight_bits for x in graph_facts(found).layers if x.op_type in ("Conv", "Gemm", "MatMul")} == {
        options["weight_bits"]
    }


@pytest.mark.parametrize("form", [name for name, (_, batch) in FORMS.items() if not batch])
def test_what_is_learned_and_trained_is_what_the_file_computes(form: str):
    model = graph(form)
    for options in (INT8 | {"weight_bits": 4}, {"weight_bits": 4, "activation_bits": 32}):
        scheme = learn_rounding(make_scheme(Quantize(**options), prepare(model), IMAGES), IMAGES)
        with torch.no_grad():
            simulated = Simulation(scheme)(torch.from_numpy(IMAGES)).numpy()
        assert relative_error(run(write(scheme), IMAGES), simulated) < 0.01
        assert relative_error(simulated, run(model, IMAGES, optimize=False)) < 0.2
