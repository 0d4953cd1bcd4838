"""Bytes by type and by layer: they add up to the file, and to what is known of how it is stored."""

from __future__ import annotations

import math

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from engine.compress.quantization.write import write
from engine.compress.quantize import apply, make_scheme, prepare
from engine.errors import StepError
from engine.graph.counts import graph_facts
from engine.graph.graph import save_onnx
from engine.measure.size import measure_size
from engine.measure.size_parts import apportioned, external_files, measure_parts
from engine.models.export import export_onnx
from engine.models.zoo import BUILDERS
from engine.spec.steps import Quantize
from tests.helpers.nets import IMAGE_NETS
from tests.helpers.tables import looked_up

torch.set_num_threads(1)
NARROW = {"resnet20": 0.5, "mobilenet_v2": 0.25}
"""Widths that keep the larger networks quick; their graphs are the same."""


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    built = {n: build(width=NARROW.get(n, 1.0)).eval() for n in IMAGE_NETS for build in (BUILDERS[n],)}
    for network in built.values():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.bias)  # as after training; equal tensors would be stored once
    return {n: export_onnx(network, (1, 28, 28)) for n, network in built.items()}


def scheme_of(model, **options):
    images = np.random.default_rng(0).standard_normal((4, 1, 28, 28)).astype(np.float32)
    step = Quantize(**{"calibration": "minmax", **options})
    return make_scheme(step, prepare(model), images)


def parts_of(model, folder):
    path = folder / "model.onnx"
    save_onnx(model, path)
    parts = measure_parts(path)
    assert parts.total == path.stat().st_size
    assert min(parts.by_type.values()) >= 0
    for role in ("weights", "biases"):
        assert sum(layer[role] for layer in parts.by_layer.values()) == parts.by_type[role]
    assert sum(layer["scales"] for layer in parts.by_layer.values()) <= parts.by_type["scales"]
    return parts


@pytest.mark.parametrize("name", IMAGE_NETS)
def test_a_float_file_holds_four_bytes_for_each_parameter(name, networks, tmp_path):
    parts = parts_of(networks[name], tmp_path)
    facts = graph_facts(networks[name])
    assert parts.by_type["weights"] + parts.by_type["biases"] == 4 * facts.params
    assert parts.by_type["graph"] < 0.2 * parts.total
    for layer in facts.layers:
        if layer.params and name != "recursive_resnet":
            assert sum(parts.by_layer[layer.name].values()) == 4 * layer.params


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
@pytest.mark.parametrize("name", IMAGE_NETS)
def test_packed_and_plain_files_add_up(name, bits, networks, tmp_path):
    scheme = scheme_of(networks[name], weight_bits=bits, activation_bits=8 if bits % 2 else 32, ends_8bit=False)
    plain, packed = (parts_of(write(scheme, packed=p), tmp_path) for p in (False, True))
    weights = sum(codes.codes.size for codes in scheme.weights.values())
    assert plain.by_type["weights"] == weights
    if bits < 8:
        # Whole bytes of eight numbers each for every packed array.
        assert weights * bits / 8 <= packed.by_type["weights"] <= weights * bits / 8 + 8 * bits
        assert packed.by_type["scales"] < plain.by_type["scales"]
    assert set(packed.by_layer) == set(plain.by_layer)


def test_each_layers_share_of_a_packed_array_is_its_own_weights(networks, tmp_path):
    scheme = scheme_of(networks["resnet8"], weight_bits=4, activation_bits=8)
    parts = parts_of(write(scheme), tmp_path)
    for layer in (x for x in scheme.layers if x.node.op_type == "Conv"):
        codes = scheme.weights[layer.weight]
        found = parts.by_layer[layer.node.name]
        assert found["weights"] == pytest.approx(codes.codes.size / 2, abs=8)
        assert found["scales"] == pytest.approx(codes.scale.size, abs=8)
        assert found["biases"] == pytest.approx(2 * codes.scale.size, abs=8)


def test_sparse_layers_are_charged_for_what_is_not_zero(tmp_path):
    """Two layers of one size, one with a tenth of the weights of the other: both pay for the mask, each for its own values."""
    rng = np.random.default_rng(0)
    dense, sparse = (rng.standard_normal((64, 64, 3, 3)).astype(np.float32) for _ in range(2))
    dense *= rng.random(dense.shape) < 0.3
    sparse *= rng.random(sparse.shape) < 0.03
    sparse[:, 0, 0, 0] = dense[:, 0, 0, 0] = 1  # no channel without a scale
    nodes = [
        helper.make_node("Conv", ["input", "stem"], ["a"], "stem"),
        helper.make_node("Conv", ["a", "dense"], ["b"], "dense"),
        helper.make_node("Conv", ["b", "sparse"], ["c"], "sparse"),
        helper.make_node("GlobalAveragePool", ["c"], ["d"]),
        helper.make_node("Flatten", ["d"], ["logits"]),
    ]
    weights = {"stem": rng.standard_normal((64, 1, 3, 3)).astype(np.float32), "dense": dense, "sparse": sparse}
    graph = helper.make_graph(
        nodes, "sparse",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 64])],
        [numpy_helper.from_array(w, name) for name, w in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    scheme = scheme_of(model, weight_bits=8, activation_bits=8)
    packed = write(scheme)
    assert packed.ByteSize() < 0.5 * write(scheme, packed=False).ByteSize()
    parts = parts_of(packed, tmp_path)
    used = {n: int(np.count_nonzero(scheme.weights[n].codes)) for n in ("dense", "sparse")}
    found = {n: parts.by_layer[n]["weights"] for n in used}
    mask = dense.size / 8
    assert used["sparse"] < found["sparse"] < used["sparse"] + mask + 64
    assert used["dense"] < found["dense"] < used["dense"] + mask + 64
    assert found["dense"] > 3 * found["sparse"] / 2


def test_external_data_belongs_to_the_file(networks, tmp_path):
    inside = parts_of(networks["resnet8"], tmp_path)
    path = tmp_path / "outside.onnx"
    onnx.save(
        networks["resnet8"], path, save_as_external_data=True, location="weights.bin", size_threshold=100,
        convert_attribute=False,
    )  # fmt: skip
    assert external_files(path) == [tmp_path / "weights.bin"]
    files = [path, tmp_path / "weights.bin"]
    parts = measure_parts(path)
    assert parts.total == sum(f.stat().st_size for f in files) == measure_size(path, files[1:]).size_bytes
    assert parts.by_type["weights"] == inside.by_type["weights"]
    assert parts.by_layer == inside.by_layer
    files[1].unlink()
    with pytest.raises(StepError, match=r"weights\.bin cannot be read"):
        measure_parts(path)


def test_what_is_no_onnx_file_is_one_line(tmp_path):
    (tmp_path / "noise.onnx").write_bytes(bytes(range(256)) * 4)
    for name in ("noise.onnx", "gone.onnx"):
        with pytest.raises(StepError) as caught:
            measure_parts(tmp_path / name)
        assert "\n" not in str(caught.value)
        assert name in str(caught.value)


@pytest.mark.parametrize(("whole", "amounts"), [(10, [1, 1, 1]), (7, [0.1, 100, 3]), (0, [1, 2]), (5, [2])])
def test_parts_are_whole_and_add_up(whole, amounts):
    parts = apportioned(whole, amounts)
    assert sum(parts) == whole
    assert all(abs(p - whole * a / math.fsum(amounts)) < 1 for p, a in zip(parts, amounts, strict=True))


def test_recurrent_layers_have_weights_of_their_input_and_of_their_state(tmp_path):
    torch.manual_seed(0)

    class Rows(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru, self.head = nn.GRU(8, 16, batch_first=True), nn.Linear(16, 5, bias=False)

        def forward(self, x):
            return self.head(self.gru(x[:, 0])[0][:, -1])

    save_onnx(export_onnx(Rows().eval(), (1, 8, 8)), tmp_path / "gru.onnx")
    by_type = measure_parts(tmp_path / "gru.onnx").by_type
    assert by_type["weights"] == 4 * (3 * 16 * (8 + 16) + 16 * 5)
    assert by_type["biases"] == 4 * 2 * 3 * 16


@pytest.mark.parametrize(
    ("options", "weights", "scales"),
    [
        # A scale of 16 bits for each block of 16 numbers, and codes of a whole number of bytes in whole blocks.
        ({"method": "block", "block_size": 16}, 60 * 40 // 2 + 6 * 48 // 2, 2 * (60 * 3 + 6 * 3)),
        ({"weight_bits": 8, "activation_bits": 32}, 60 * 40 + 40 * 6, 4 * (60 + 6)),
        ({"weight_bits": 4, "activation_bits": 32, "ends_8bit": False}, (60 * 40 + 40 * 6) // 2, 4 * (60 + 6)),
    ],
)
def test_tables_are_weights_and_scales_of_rows_and_blocks_are_scales(options, weights, scales, tmp_path):
    found = apply(Quantize(**options, rounding="nearest"), looked_up(60, 40), np.zeros((1, 4), np.int64))
    parts = parts_of(found, tmp_path)
    assert (parts.by_type["weights"], parts.by_type["scales"]) == (weights, scales)
    table, _ = parts.by_layer.values()
    assert table["weights"] == 60 * 40 * (1 if options.get("weight_bits") == 8 else 0.5)
