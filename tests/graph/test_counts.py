"""Reading ONNX files and what is counted on a graph, against counts by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from engine.compress.pruning.costs import count_costs, measure_uses
from engine.compress.quantize import apply
from engine.errors import ModelError
from engine.graph.count_demand import graph_demand
from engine.graph.counts import graph_facts
from engine.graph.graph import constant_value, load_onnx, open_session, save_onnx
from engine.graph.inline import inlined
from engine.models.export import export_onnx
from engine.models.zoo import BUILDERS, resnet8
from engine.spec.steps import Quantize

torch.set_num_threads(1)


def small_graph(shape: list[str | int], inputs: int = 1, kind: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """One 3×3 convolution (2 -> 4 channels, no padding), mean over the image."""
    weight = numpy_helper.from_array(np.ones((4, 2, 3, 3), np.float32), "w")
    nodes = [helper.make_node("Cast", ["x0"], ["f"], to=TensorProto.FLOAT)] if kind != TensorProto.FLOAT else []
    nodes += [
        helper.make_node("Conv", ["f" if nodes else "x0", "w"], ["c"], name="only"),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(f"x{i}", kind, shape) for i in range(inputs)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_resnet8_has_the_macs_that_mlperf_tiny_publishes() -> None:
    # By hand for 3×32×32: stem 32²·3·16·9, then per stage two 3×3 convolutions and, where the shape changes, a 1×1 shortcut.
    stem = 32 * 32 * 3 * 16 * 9
    first = 2 * 32 * 32 * 16 * 16 * 9
    second = 16 * 16 * (16 * 32 * 9 + 32 * 32 * 9 + 16 * 32)
    third = 8 * 8 * (32 * 64 * 9 + 64 * 64 * 9 + 32 * 64)
    by_hand = stem + first + second + third + 64 * 10
    assert by_hand == 12_501_632  # Banbury et al. 2021, the image classification reference
    facts = graph_facts(export_onnx(resnet8(in_channels=3), (3, 32, 32)))
    assert facts.macs == by_hand
    assert facts.input_shape == (3, 32, 32)
    assert facts.num_classes == 10
    # Weights, and one bias per output channel: the batch norms' after folding, the shortcuts', the classifier's.
    weights = 3 * 16 * 9 + 2 * 16 * 16 * 9 + 16 * 32 * 10 + 32 * 32 * 9 + 32 * 64 * 10 + 64 * 64 * 9 + 640
    assert facts.params == weights + 16 * 3 + 32 * 3 + 64 * 3 + 10


def test_grouped_convolutions_and_fixed_batches_are_counted_per_image() -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(4, 8, 3, groups=4), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 5)
    )
    model = export_onnx(network, (4, 10, 10))
    by_hand = 8 * 8 * 8 * 9 + 8 * 5
    assert graph_facts(model).macs == by_hand
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    assert graph_facts(model).macs == by_hand


def test_tied_weights_count_once_as_parameters_and_every_time_as_macs() -> None:
    two, three = (graph_facts(export_onnx(BUILDERS["recursive_resnet"](repeats=r), (1, 28, 28))) for r in (2, 3))
    assert two.params == three.params
    block = sum(c * c * 9 * 2 * size * size for c, size in ((16, 28), (32, 14), (64, 7)))
    assert three.macs - two.macs == block


@pytest.mark.parametrize("bits", [(8, 8), (4, 8), (2, 5), (5, 32), (16, 32), (6, 16)])
@pytest.mark.parametrize("share_of_zeros", [0.0, 0.9])
def test_storage_changes_neither_params_nor_macs(bits: tuple[int, int], share_of_zeros: float) -> None:
    model = export_onnx(BUILDERS["recursive_resnet"](), (1, 28, 28))
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor).copy()
        if value.ndim > 1 and share_of_zeros:
            value[np.abs(value) <= np.quantile(np.abs(value), share_of_zeros)] = 0
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    images = np.random.default_rng(0).normal(size=(4, 1, 28, 28)).astype(np.float32)
    # A bias of zero that learns, or is corrected, counts from then on.
    step = Quantize(
        weight_bits=bits[0], activation_bits=bits[1], ends_8bit=False, rounding="nearest", bias_correction=False
    )
    before, after = graph_facts(model), graph_facts(apply(step, model, images))
    assert (after.params, after.macs, after.num_classes) == (before.params, before.macs, before.num_classes)
    assert {layer.weight_bits for layer in before.layers} == {32}
    assert {layer.weight_bits for layer in after.layers} == {bits[0]}
    assert {layer.activation_bits for layer in after.layers} == {bits[1]}
    assert [layer.name for layer in after.layers] == [layer.name for layer in before.layers]
    assert after.nonzero_params <= before.nonzero_params
    for old, new in zip(before.layers, after.layers, strict=True):
        assert (old.op_type, old.macs, old.params) == (new.op_type, new.macs, new.params)
        assert (old.input_shape, old.output_shape) == (new.input_shape, new.output_shape)


def test_calls_of_functions_are_replaced_by_their_nodes() -> None:
    """Nested calls, attributes handed down, left out and given a default, an input left out; names and results stay."""
    scale = helper.make_function(
        "mine",
        "Scale",
        ["x", "unused"],
        ["y"],
        [helper.make_node("Constant", [], ["k"]), helper.make_node("Mul", ["x", "k"], ["y"])],
        [helper.make_opsetid("", 17)],
        attributes=["by"],
    )
    scale.node[0].attribute.add(name="value_floats", ref_attr_name="by", type=onnx.AttributeProto.FLOATS)
    block = helper.make_function(
        "mine",
        "Block",
        ["x", "w"],
        ["y"],
        [
            helper.make_node("Scale", ["x"], ["s"], domain="mine"),
            helper.make_node("Conv", ["s", "w"], ["c"], name="/Conv"),
            helper.make_node("Relu", ["c"], ["y"]),
        ],
        [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)],
        attributes=["strides", "factor"],
    )
    block.node[0].attribute.add(name="by", ref_attr_name="factor", type=onnx.AttributeProto.FLOATS)
    block.node[1].attribute.add(name="strides", ref_attr_name="strides", type=onnx.AttributeProto.INTS)
    model = small_graph(["N", 2, 9, 9])
    del model.graph.node[:1]
    second = numpy_helper.from_array(np.full((4, 4, 1, 1), 0.5, np.float32), "w2")
    model.graph.initializer.append(second)
    calls = [
        helper.make_node("Block", ["x0", "w"], ["c0"], name="first", domain="mine", factor=[2.0], strides=[2, 2]),
        helper.make_node("Block", ["c0", "w2"], ["c"], name="second", domain="mine", factor=[3.0]),
    ]
    for position, call in enumerate(calls):
        model.graph.node.insert(position, call)
    model.functions.extend([scale, block])
    model.opset_import.append(helper.make_opsetid("mine", 1))
    onnx.checker.check_model(model)
    flat = inlined(model)
    onnx.checker.check_model(flat)
    assert not flat.functions
    assert {n.op_type for n in flat.graph.node} == {"Constant", "Mul", "Conv", "Relu", "GlobalAveragePool", "Flatten"}
    images = np.random.default_rng(0).normal(size=(3, 2, 9, 9)).astype(np.float32)
    found, expected = (open_session(m).run(None, {"x0": images})[0] for m in (flat, model))
    np.testing.assert_array_equal(found, expected)
    layers = {layer.name: layer for layer in graph_facts(model).layers}
    assert set(layers) == {"first/Conv", "second/Conv"}
    assert layers["first/Conv"].macs == 4 * 4 * 4 * 18  # stride 2: 9×9 -> 4×4
    assert layers["second/Conv"].macs == 4 * 4 * 4 * 4
    assert graph_facts(model) == graph_facts(flat)
    assert len(model.functions) == 2


class Rows(torch.nn.Module):
    """A recurrent layer over the rows of an image of 7×5, then a classifier of its last state."""

    def __init__(self, layer: torch.nn.Module, width: int) -> None:
        super().__init__()
        self.layer, self.head = layer, torch.nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(x.squeeze(1))[0][:, -1])


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
@pytest.mark.parametrize(("layers", "both"), [(1, False), (2, False), (1, True), (2, True)])
def test_recurrent_layers_have_torchs_parameters_and_multiply_at_every_step(kind: str, layers: int, both: bool) -> None:
    gates, ways = {"GRU": 3, "LSTM": 4, "RNN": 1}[kind], 2 if both else 1
    torch.manual_seed(0)
    layer = getattr(torch.nn, kind)(5, 6, num_layers=layers, bidirectional=both, batch_first=True)
    network = Rows(layer, 6 * ways).eval()
    facts = graph_facts(export_onnx(network, (1, 7, 5)))
    by_hand = sum(7 * ways * gates * 6 * ((6 * ways if i else 5) + 6) for i in range(layers))
    assert facts.params == sum(p.numel() for p in network.parameters())
    assert facts.nonzero_params == facts.params
    assert facts.macs == by_hand + 3 * 6 * ways
    assert [x.op_type for x in facts.layers] == [kind] * layers + ["Gemm"]
    assert measured_macs(network, (1, 7, 5)) == facts.macs


def measured_macs(network: torch.nn.Module, shape: tuple[int, int, int]) -> int:
    return count_costs(network, measure_uses(network, shape)).macs


def test_a_recurrent_layer_may_have_peepholes_and_give_its_last_state_alone() -> None:
    rng = np.random.default_rng(0)
    shapes = {"w": (1, 16, 5), "r": (1, 16, 4), "b": (1, 32), "p": (1, 12)}
    constants = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Squeeze", ["x", "axes"], ["s"]),
        helper.make_node("Transpose", ["s"], ["t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["t", "w", "r", "b", "", "", "", "p"], ["", "h"], hidden_size=4, name="lstm"),
        helper.make_node("Squeeze", ["h", "first"], ["y"]),
    ]
    constants |= {"axes": np.array([1]), "first": np.array([0])}
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 7, 5])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    facts, (asked,) = graph_facts(model), graph_demand(model).layers
    assert (facts.params, facts.macs) == (80 + 64 + 32 + 12, 7 * (80 + 64))
    assert (asked.kind, asked.macs, asked.weights, asked.biases) == ("dense", facts.macs, 80 + 64 + 12, 32)
    assert (asked.input_bytes, asked.output_bytes) == (4 * 35, 4 * 4)


def test_zeros_are_not_counted_as_nonzero_params() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4 * 4, 2))
    network[0].weight.data.view(-1)[:20] = 0
    facts = graph_facts(export_onnx(network, (1, 4, 4)))
    assert facts.params == 36 + 4 + 32 + 2
    assert facts.nonzero_params == facts.params - 20


def test_constants_are_computed_and_what_depends_on_the_input_is_not() -> None:
    model = small_graph(["N", 2, 5, 5])
    model.graph.node.insert(0, helper.make_node("Add", ["w", "w"], ["twice"]))
    np.testing.assert_array_equal(constant_value(model, "twice"), np.full((4, 2, 3, 3), 2, np.float32))
    np.testing.assert_array_equal(constant_value(model, "w"), np.ones((4, 2, 3, 3), np.float32))
    assert constant_value(model, "c") is None
    assert constant_value(model, "nowhere") is None


def test_a_saved_file_is_read_back_the_same(tmp_path: Path) -> None:
    model = small_graph(["N", 2, 5, 5])
    save_onnx(model, tmp_path / "a.onnx")
    assert load_onnx(tmp_path / "a.onnx") == model


@pytest.mark.parametrize("ir_version", [3, 8])
def test_weights_that_are_listed_as_inputs_are_weights_all_the_same(tmp_path: Path, ir_version: int) -> None:
    """As old files must, and some tools still do; nothing is folded into what a caller might feed."""
    plain = small_graph(["N", 2, 5, 5])
    listed = onnx.ModelProto()
    listed.CopyFrom(plain)
    listed.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4, 2, 3, 3]))
    listed.ir_version = ir_version
    save_onnx(listed, tmp_path / "a.onnx")
    read = load_onnx(tmp_path / "a.onnx")
    assert read.graph == plain.graph
    images = {"x0": np.ones((1, 2, 5, 5), np.float32)}
    assert np.array_equal(open_session(read).run(None, images)[0], open_session(plain).run(None, images)[0])


def external(folder: Path) -> bytes:
    path = folder / "external.onnx"
    onnx.save(small_graph(["N", 2, 5, 5]), path, save_as_external_data=True, size_threshold=0, location="weights.bin")
    (folder / "weights.bin").unlink()
    return path.read_bytes()


def with_default(folder: Path) -> bytes:
    model = small_graph(["N", 2, 5, 5])
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 2, 5, 5), np.float32), "x0"))
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda folder: b"", "not an ONNX file, or is cut short"),
        (lambda folder: b"\x89PNG\r\n\x1a\n" * 9, "not an ONNX file, or is cut short"),
        (lambda folder: small_graph(["N", 2, 5, 5]).SerializeToString()[:-60], "not an ONNX file, or is cut short"),
        (external, "keeps weights in other files, which cannot be read"),
        (with_default, r"every input has a stored value, 'x0' too"),
        (lambda folder: small_graph(["N", 2, "H", "W"]).SerializeToString(), r"input 'x0' is \(N, 2, H, W\)"),
        (lambda folder: small_graph(["N"]).SerializeToString(), r"input 'x0' is \(N\)"),
        (lambda folder: small_graph(["N", 2, 5, 5], kind=TensorProto.STRING).SerializeToString(), "'x0' is string"),
    ],
)
def test_unusable_files_are_refused_in_one_line(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.onnx"
    path.write_bytes(content(tmp_path))  # type: ignore[operator]
    with pytest.raises(ModelError, match=message) as caught:
        load_onnx(path)
    assert "\n" not in str(caught.value)
    assert "bad.onnx" in str(caught.value)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ModelError, match=r"nowhere\.onnx: cannot be read"):
        load_onnx(Path("nowhere.onnx"))


def test_every_cut_of_a_file_is_refused_or_whole(tmp_path: Path) -> None:
    whole = small_graph(["N", 2, 5, 5]).SerializeToString()
    path = tmp_path / "cut.onnx"
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        with pytest.raises(ModelError):
            load_onnx(path)
