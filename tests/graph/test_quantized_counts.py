"""What is counted on files that are quantized already, in all the forms that tools write, against counts made by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from engine.compress.quantize import apply
from engine.errors import StepError
from engine.graph.count_demand import graph_demand
from engine.graph.counts import graph_facts
from engine.measure.size_parts import measure_parts
from engine.spec.steps import Quantize

CONV_PARAMS, CONV_MACS = (8 * 9 + 8) + (16 * 8 * 9 + 16) + (16 * 5 + 5), 8 * 9 * 144 + 16 * 72 * 36 + 16 * 5
MLP_PARAMS, MLP_MACS = (144 * 32 + 32) + (32 * 5 + 5), 144 * 32 + 32 * 5
IMAGES = np.random.default_rng(0).normal(size=(20, 1, 12, 12)).astype(np.float32)


def model(nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray], opset: int = 17) -> onnx.ModelProto:
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 1, 12, 12])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, 0.3, shape).astype(np.float32)


def convolutions() -> onnx.ModelProto:
    """Two convolutions, 1 -> 8 -> 16 with stride 2, and a classifier; the first filter's weights are zero."""
    first = floats(8, 1, 3, 3)
    first[0] = 0
    nodes = [
        helper.make_node("Conv", ["input", "w1", "b1"], ["c1"], pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["logits"], transB=1),
    ]
    weights = {"w1": first, "b1": floats(8), "w2": floats(16, 8, 3, 3), "b2": floats(16), "w3": floats(5, 16)}
    return model(nodes, weights | {"b3": floats(5)})


def perceptron() -> onnx.ModelProto:
    nodes = [
        helper.make_node("Flatten", ["input"], ["x"]),
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["logits"]),
    ]
    return model(nodes, {"w1": floats(144, 32), "b1": floats(32), "w2": floats(32, 5), "b2": floats(5)})


class Reader(CalibrationDataReader):
    def __init__(self) -> None:
        self.left: Iterator[dict[str, np.ndarray]] = iter([{"input": IMAGES}])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.left, None)


def as_the_runtime_has_it(path: Path) -> Path:
    """The file as ONNX Runtime fuses it when it loads it: with operators of its own."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path.with_suffix(".fused.onnx"))
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return path.with_suffix(".fused.onnx")


def quantized(name: str, folder: Path) -> onnx.ModelProto:
    static = name.startswith(("qdq", "qoperator"))
    onnx.save(convolutions() if static else perceptron(), folder / "float.onnx")
    path = folder / f"{name.replace(' ', '_')}.onnx"
    if static:
        form = QuantFormat.QDQ if name.startswith("qdq") else QuantFormat.QOperator
        quantize_static(
            folder / "float.onnx", path, Reader(), quant_format=form, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QUInt8 if "unsigned" in name else QuantType.QInt8, per_channel="channel" in name,
        )  # fmt: skip
    else:
        quantize_dynamic(folder / "float.onnx", path, weight_type=QuantType.QInt8, per_channel="channel" in name)
    return onnx.load(as_the_runtime_has_it(path) if "fused" in name else path)


@pytest.mark.parametrize(
    ("name", "operators"),
    [
        ("qdq", {"Conv", "DequantizeLinear"}),
        ("qdq fused", {"QLinearConv", "QGemm"}),
        ("qoperator", {"QLinearConv", "QGemm", "QLinearGlobalAveragePool"}),
        ("qoperator unsigned", {"QLinearConv", "QGemm"}),
        ("qoperator channel", {"QLinearConv", "QGemm"}),
        ("dynamic", {"MatMulInteger", "DynamicQuantizeLinear"}),
        ("dynamic channel", {"MatMulInteger", "DynamicQuantizeLinear"}),
        ("dynamic fused", {"DynamicQuantizeMatMul"}),
    ],
)
def test_an_integer_file_counts_what_its_float_original_does(name: str, operators: set[str], tmp_path: Path):
    made = quantized(name, tmp_path)
    assert operators <= {n.op_type for n in made.graph.node}
    params, macs = (MLP_PARAMS, MLP_MACS) if name.startswith("dynamic") else (CONV_PARAMS, CONV_MACS)
    facts = graph_facts(made)
    # Nine weights were zero, and some of the others are rounded to it.
    zeros = 0 if name.startswith("dynamic") else 9
    assert (facts.params, facts.macs, facts.num_classes) == (params, macs, 5)
    assert 0.97 * (params - zeros) <= facts.nonzero_params <= params - zeros
    layers = [x for x in facts.layers if x.macs]
    assert {(x.weight_bits, x.activation_bits) for x in layers} == {(8, 8)}
    demand = graph_demand(made)
    assert demand.macs == macs
    kinds = ["dense", "dense"] if name.startswith("dynamic") else ["stem", "conv", "dense"]
    assert [x.kind for x in demand.layers] == kinds
    assert sum(x.weights for x in demand.layers if not x.shared) in (
        params,
        params - sum(x.biases for x in demand.layers),
        MLP_MACS,
    )
    with pytest.raises(StepError, match="already quantized"):
        apply(Quantize(weight_bits=4, activation_bits=32), made, IMAGES)


def integer_convolution() -> onnx.ModelProto:
    """As dynamic quantization writes a convolution: rounded data, an integer product, scales, and a bias."""
    weight = np.arange(-36, 36).reshape(8, 1, 3, 3).astype(np.int8)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["input"], ["x", "scale", "zero"]),
        helper.make_node("ConvInteger", ["x", "w", "zero"], ["c"]),
        helper.make_node("Cast", ["c"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["scale", "scales"], ["s"]),
        helper.make_node("Mul", ["f", "s"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["a"]),
        helper.make_node("ReduceMean", ["a"], ["p"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["p", "head"], ["logits"]),
    ]
    scales = np.linspace(0.01, 0.02, 8, dtype=np.float32).reshape(1, 8, 1, 1)
    return model(nodes, {"w": weight, "scales": scales, "b": floats(1, 8, 1, 1), "head": floats(8, 5)})


def test_an_integer_convolution_by_hand():
    facts = graph_facts(integer_convolution())
    assert facts.params == 8 * 9 + 8 + 8 * 5  # its scales are none
    assert facts.nonzero_params == facts.params - 1
    assert facts.macs == 8 * 9 * 10 * 10 + 8 * 5
    assert [(x.op_type, x.weight_bits, x.activation_bits) for x in facts.layers if x.macs] == [
        ("ConvInteger", 8, 8), ("MatMul", 32, 32),
    ]  # fmt: skip
    with pytest.raises(StepError, match="already quantized"):
        apply(Quantize(weight_bits=4, activation_bits=32), integer_convolution(), IMAGES)


@pytest.mark.parametrize("bits", [(8, 8), (4, 8), (4, 32)])
def test_what_this_project_has_quantized_is_quantized_already(bits: tuple[int, int]):
    """Packed files too, in which functions round, or store bits without any operator of quantization."""
    made = apply(Quantize(weight_bits=bits[0], activation_bits=bits[1]), convolutions(), IMAGES)
    with pytest.raises(StepError, match="already quantized"):
        apply(Quantize(weight_bits=4, activation_bits=32), made, IMAGES)
    # Stored in half precision, weights are floats, which may be quantized.
    half = apply(Quantize(weight_bits=16, activation_bits=32), convolutions(), IMAGES)
    assert graph_facts(apply(Quantize(weight_bits=4, activation_bits=32), half, IMAGES)).layers[1].weight_bits == 4


@pytest.mark.parametrize("name", ["qdq", "qoperator", "dynamic", "dynamic fused"])
def test_bytes_of_integer_files_by_what_they_hold(name: str, tmp_path: Path):
    onnx.save(quantized(name, tmp_path), tmp_path / "made.onnx")
    parts = measure_parts(tmp_path / "made.onnx")
    weights, biases = (MLP_MACS, 37) if name.startswith("dynamic") else (8 * 9 + 16 * 72 + 80, 8 + 16 + 5)
    assert parts.by_type["weights"] == weights  # a byte each
    assert parts.by_type["biases"] == 4 * biases
    assert parts.total == (tmp_path / "made.onnx").stat().st_size


@pytest.mark.parametrize(("bits", "zeros"), [(4, "none"), (4, "packed"), (4, "floats"), (8, "none"), (2, "packed")])
@pytest.mark.parametrize("bias", [False, True])
def test_weights_in_blocks_of_few_bits_by_hand(bits: int, zeros: str, bias: bool):
    """MatMulNBits of 144 by 5 in blocks of 64, the last of them padded; every code written down, packed here by shifting."""
    summed, outputs, size = 144, 5, 64
    count, rng = -(-summed // size), np.random.default_rng(bits)
    codes = rng.integers(0, 1 << bits, (outputs, count, size))
    middle = (
        np.full((outputs, count), 1 << (bits - 1)) if zeros == "none" else rng.integers(0, 1 << bits, (outputs, count))
    )
    nonzero = sum(codes[n, k // size, k % size] != middle[n, k // size] for n in range(outputs) for k in range(summed))

    def packed(rows: np.ndarray) -> np.ndarray:
        found = []
        for row in rows:
            whole = sum(int(code) << (bits * i) for i, code in enumerate(row))
            found.append(list(whole.to_bytes(-(-len(row) * bits // 8), "little")))
        return np.array(found, np.uint8)

    constants = {"w": packed(codes.reshape(-1, size)).reshape(outputs, count, -1), "s": floats(outputs * count)}
    constants |= {"z": packed(middle)} if zeros == "packed" else {}
    constants |= {"z": middle.astype(np.float32)} if zeros == "floats" else {}
    constants |= {"b": floats(outputs)} if bias else {}
    inputs = ["x", "w", "s", "z" if zeros != "none" else "", "", "b" if bias else ""]
    nodes = [
        helper.make_node("Flatten", ["input"], ["x"]),
        helper.make_node(
            "MatMulNBits", inputs, ["logits"], domain="com.microsoft", K=summed, N=outputs, bits=bits, block_size=size
        ),
    ]
    made = model(nodes, constants)
    made.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    facts = graph_facts(made)
    assert (facts.params, facts.macs) == (summed * outputs + 5 * bias, summed * outputs)
    assert facts.nonzero_params == nonzero + 5 * bias
    assert [(x.weight_bits, x.activation_bits) for x in facts.layers] == [(bits, 32)]
    (layer,) = graph_demand(made).layers
    assert (layer.kind, layer.weights, layer.biases, layer.weight_bits) == ("dense", summed * outputs, 5 * bias, bits)


def test_weights_written_into_nodes_have_their_own_bits():
    weight = numpy_helper.from_array(np.ones((144, 5), np.int8))
    nodes = [
        helper.make_node("Constant", [], ["w"], value=weight),
        helper.make_node("Flatten", ["input"], ["f"]),
        helper.make_node("DynamicQuantizeLinear", ["f"], ["x", "scale", "zero"]),
        helper.make_node("MatMulInteger", ["x", "w", "zero"], ["c"]),
        helper.make_node("Cast", ["c"], ["logits"], to=TensorProto.FLOAT),
    ]
    (layer,) = graph_facts(model(nodes, {})).layers
    assert (layer.params, layer.macs, layer.weight_bits, layer.activation_bits) == (720, 720, 8, 8)


@pytest.mark.parametrize("size", [16, 48])
def test_blocks_of_four_bits_as_dequantized_weights(size: int):
    codes = np.random.default_rng(0).integers(-8, 8, (144, 5)).astype(np.int8)
    stored = helper.make_tensor("w", TensorProto.INT4, (144, 5), codes.ravel())
    nodes = [
        helper.make_node("Flatten", ["input"], ["x"]),
        helper.make_node("DequantizeLinear", ["w", "s"], ["d"], axis=0, block_size=size),
        helper.make_node("MatMul", ["x", "d"], ["logits"]),
    ]
    made = model(nodes, {"s": np.full((144 // size, 5), 0.1, np.float32)}, opset=21)
    made.ir_version = 10
    made.graph.initializer.append(stored)
    facts = graph_facts(made)
    assert (facts.params, facts.nonzero_params, facts.macs) == (720, np.count_nonzero(codes), 720)
    assert [(x.weight_bits, x.activation_bits) for x in facts.layers] == [(4, 32)]
