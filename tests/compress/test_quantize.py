"""The quantize step: integer kernels really run, numbers agree with other routes, graphs of all sorts are taken or refused clearly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torchvision
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization
from torch import nn

from engine.compress.quantize import apply
from engine.errors import StepError
from engine.graph.counts import graph_facts
from engine.models.export import export_onnx
from engine.models.zoo import BUILDERS
from engine.spec.steps import Quantize
from tests.helpers.nets import IMAGE_NETS
from tests.helpers.quantize_cases import (
    Images,
    calibrated,
    operators_at_run_time,
    pictures,
    pruned,
    relative_error,
    run,
)

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def resnet() -> onnx.ModelProto:
    torch.manual_seed(0)
    return calibrated(BUILDERS["resnet8"](), (1, 28, 28))


def by_onnxruntimes_own_quantizer(model: onnx.ModelProto, calibration: Images, folder: Path) -> onnx.ModelProto:
    """Another route to the same thing: min-max, uint8 activations, int8 weights per channel."""

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter([{"input": calibration}])

        def get_next(self) -> dict[str, Images] | None:
            return next(self.left, None)

    onnx.save(model, folder / "float.onnx")
    quantization.quantize_static(
        folder / "float.onnx",
        folder / "theirs.onnx",
        Reader(),
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    return onnx.load(folder / "theirs.onnx")


SMALL = (3, 64, 64)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    **{name: (BUILDERS[name], (1, 28, 28)) for name in IMAGE_NETS},
    "resnet18": (lambda: torchvision.models.resnet18(num_classes=10), SMALL),
    "torchvision_mobilenet_v2": (lambda: torchvision.models.mobilenet_v2(num_classes=10), SMALL),
    "mobilenet_v3_small": (lambda: torchvision.models.mobilenet_v3_small(num_classes=10), SMALL),
    "squeezenet1_1": (lambda: torchvision.models.squeezenet1_1(num_classes=10), SMALL),
}


@pytest.mark.parametrize("name", list(NETWORKS))
def test_integer_networks_run_integer_kernels_as_accurately_as_onnxruntimes_own(name: str, tmp_path: Path) -> None:
    build, shape = NETWORKS[name]
    torch.manual_seed(0)
    model = calibrated(build(), shape)
    images, calibration = pictures(16, shape, 1), pictures(16, shape, 2)
    # As theirs rounds, to the nearest.
    step = Quantize(weight_bits=8, activation_bits=8, calibration="minmax", rounding="nearest", bias_correction=False)
    quantized = apply(step, model, calibration)
    onnx.checker.check_model(quantized, full_check=True)
    ran = operators_at_run_time(quantized, tmp_path)
    assert not {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul"} & set(ran), ran
    assert ran["QLinearConv"] == sum(n.op_type == "Conv" for n in model.graph.node)
    for operator in ("Add", "Concat"):  # residual sums and concatenations of convolutions too
        assert ran[f"QLinear{operator}"] == sum(n.op_type == operator for n in model.graph.node)
    expected, found = run(model, images), run(quantized, images)
    # Fused integer kernels compute what the graph says in float; a wrong scale, zero point or clipping would show. Deep untrained
    # networks amplify the odd code that rounds the other way, hence the margins.
    assert relative_error(found, run(quantized, images, optimize=False)) < 0.15
    theirs = by_onnxruntimes_own_quantizer(model, calibration, tmp_path)
    # Our scales are of those that fit a byte, up to 6 % larger than theirs.
    assert relative_error(found, expected) < 1.6 * relative_error(run(theirs, images), expected)
    assert len(quantized.SerializeToString()) < len(theirs.SerializeToString())


def test_weight_only_and_half_precision_run_float_kernels_on_folded_weights(
    resnet: onnx.ModelProto, tmp_path: Path
) -> None:
    expected = operators_at_run_time(resnet, tmp_path)
    images = pictures(16, (1, 28, 28), 1)
    for bits, tolerance, share in ((16, 1e-2, 0.52), (8, 0.1, 0.28), (6, 0.3, 0.23)):
        small = apply(Quantize(weight_bits=bits, activation_bits=32), resnet, images[:0])
        assert operators_at_run_time(small, tmp_path) == expected
        assert relative_error(run(small, images), run(resnet, images)) < tolerance
        assert len(small.SerializeToString()) < share * len(resnet.SerializeToString())


def test_weights_beyond_half_precision_stay_exact() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8))
    network[1].weight.data[0, 0] = 1e6
    model = export_onnx(network, (1, 4, 4))
    images = pictures(3, (1, 4, 4), 0)
    half = apply(Quantize(weight_bits=16, activation_bits=32), model, images)
    np.testing.assert_array_equal(run(half, images), run(model, images))


def test_sparse_half_precision_leaves_out_the_zeros(resnet: onnx.ModelProto) -> None:
    sparse = pruned(resnet, 0.9)
    images = pictures(8, (1, 28, 28), 1)
    small = apply(Quantize(weight_bits=16, activation_bits=32), sparse, images[:0])
    assert relative_error(run(small, images), run(sparse, images)) < 1e-2
    weights = sum(int(np.prod(t.dims)) for t in sparse.graph.initializer if len(t.dims) > 1)
    # One bit for each weight, two bytes for one in ten, two for each bias, and the graph.
    assert len(small.SerializeToString()) < weights / 8 + 0.1 * 2 * weights + 9_000
    facts = graph_facts(small)
    assert facts.nonzero_params == graph_facts(sparse).nonzero_params
    assert {layer.weight_bits for layer in facts.layers} == {16}


def test_tied_weights_stay_tied() -> None:
    torch.manual_seed(0)
    sizes, weights = [], []
    for repeats in (2, 5):
        model = calibrated(BUILDERS["recursive_resnet"](repeats=repeats), (1, 28, 28))
        # A bias of each use learns for itself; what is tied are the weights.
        step = Quantize(weight_bits=4, activation_bits=8, rounding="nearest", bias_correction=False)
        quantized = apply(step, model, pictures(4, (1, 28, 28), 2))
        sizes.append(sum(len(t.raw_data) for t in quantized.graph.initializer))
        weights.append(graph_facts(quantized).params)
    assert sizes[1] == sizes[0]
    assert weights[1] == weights[0]


def test_a_channel_that_is_all_bias_keeps_its_bias() -> None:
    """A dead filter's scale must not make its int32 bias overflow or round away."""
    network = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3, bias=False)
    )
    with torch.no_grad():
        network[0].weight[0] = 0
        network[0].weight[1] = 1e-12
        network[0].bias.copy_(torch.tensor([0.75, 0.5, 0.0]))
        network[4].weight.copy_(torch.eye(3))
    model = export_onnx(network, (1, 8, 8))
    images = pictures(8, (1, 8, 8), 1)
    for bits in (8, 4):
        found = run(apply(Quantize(weight_bits=bits, activation_bits=8, calibration="minmax"), model, images), images)
        np.testing.assert_allclose(found[:, :2], [[0.75, 0.5]] * 8, atol=0.02)


def test_batch_norms_old_opsets_and_fixed_batches_of_users_files_work(tmp_path: Path) -> None:
    """An opset-11 file with an unfolded batch norm, its weights listed as inputs, for batches of 4."""
    rng = np.random.default_rng(0)
    tensors = {
        "w": rng.normal(size=(6, 1, 3, 3)),
        "gamma": rng.uniform(0.5, 2, 6),
        "beta": rng.normal(size=6),
        "mean": rng.normal(size=6),
        "var": rng.uniform(0.5, 2, 6),
        "fc": rng.normal(size=(6, 3)),
    }
    stored = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in tensors.items()]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "gamma", "beta", "mean", "var"], ["b"]),
        helper.make_node("Relu", ["b"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Squeeze", ["p"], ["s"], axes=[2, 3]),
        helper.make_node("MatMul", ["s", "fc"], ["scores"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 1, 12, 12])]
    inputs += [helper.make_tensor_value_info(t.name, TensorProto.FLOAT, list(t.dims)) for t in stored]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [4, 3])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    calibration = pictures(6, (1, 12, 12), 1)  # not a multiple of the batch
    images = calibration[:4]
    for bits, activations, tolerance in ((8, 8, 0.03), (6, 8, 0.1), (6, 32, 0.1), (16, 32, 1e-3)):
        step = Quantize(weight_bits=bits, activation_bits=activations, calibration="minmax")
        quantized = apply(step, model, calibration)
        assert [o.name for o in quantized.graph.output] == ["scores"]
        assert [i.name for i in quantized.graph.input] == ["x"]
        assert relative_error(run(quantized, images), run(model, images)) < tolerance
        assert graph_facts(quantized).macs == graph_facts(model).macs == 100 * 54 + 18
        if activations == 8:
            assert not {"Conv", "FusedConv", "MatMul"} & set(operators_at_run_time(quantized, tmp_path))


def test_the_same_step_gives_the_same_bytes(resnet: onnx.ModelProto) -> None:
    images, step = pictures(8, (1, 28, 28), 2), Quantize(weight_bits=4, activation_bits=8)
    before = resnet.SerializeToString()
    first, second = (apply(step, resnet, images).SerializeToString(deterministic=True) for _ in range(2))
    assert first == second
    assert resnet.SerializeToString() == before


def test_only_the_calibration_images_asked_for_count(resnet: onnx.ModelProto) -> None:
    images = pictures(8, (1, 28, 28), 2)
    step = Quantize(weight_bits=8, activation_bits=8, calibration_samples=4)
    assert apply(step, resnet, images) == apply(step, resnet, images[:4])
    assert apply(step, resnet, images) != apply(step, resnet, images[4:])


def test_unsupported_graphs_are_refused_in_one_line(resnet: onnx.ModelProto) -> None:
    images = pictures(4, (1, 28, 28), 2)
    step = Quantize(weight_bits=8, activation_bits=8)
    broken = onnx.ModelProto()
    broken.CopyFrom(resnet)
    weight = broken.graph.node[0].input[1]
    tensor = next(t for t in broken.graph.initializer if t.name == weight)
    tensor.CopyFrom(numpy_helper.from_array(np.full(tuple(tensor.dims), np.nan, np.float32), weight))
    pooling = export_onnx(nn.Sequential(nn.AvgPool2d(7), nn.Flatten()), (1, 28, 28))
    cases = [
        (
            lambda: apply(step, pooling, images),
            r"no Conv, Gemm .*of float16 are exported in float32\); the graph has AveragePool, Flatten",
        ),
        (lambda: apply(step, apply(step, resnet, images), images), "already quantized"),
        (lambda: apply(step, broken, images), "are not all finite"),
        (lambda: apply(step, resnet, images[:0]), r"calibration images are \(0, 1, 28, 28\)"),
        (lambda: apply(step, resnet, images[:, :, :20]), r"takes \(n, 1, 28, 28\)"),
        (lambda: apply(step, resnet, images * np.nan), "not finite on the calibration images"),
    ]
    for call, message in cases:
        with pytest.raises(StepError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


class CausalAttention(nn.Module):
    """Nine patches that look back; what lies ahead is masked by minus infinity."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(16, 24)
        self.query, self.key, self.value = nn.Linear(24, 24), nn.Linear(24, 24), nn.Linear(24, 24)
        self.head = nn.Linear(24, 3)
        self.register_buffer("mask", torch.full((9, 9), -torch.inf).triu(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.embed(x.unfold(2, 4, 4).unfold(3, 4, 4).reshape(-1, 9, 16)))
        scores = self.query(x) @ self.key(x).transpose(1, 2) / 24**0.5 + self.mask
        return self.head((x + scores.softmax(-1) @ self.value(x)).mean(1))


@pytest.mark.parametrize("activation_bits", [8, 16, 32])
def test_a_constant_that_no_layer_multiplies_by_may_be_infinite(activation_bits: int) -> None:
    torch.manual_seed(0)
    model, images = export_onnx(CausalAttention(), (1, 12, 12)), pictures(64, (1, 12, 12), 2)
    # Unsigned weights, which no CPU multiplies inexactly.
    form = {"format": "u8u8"} if activation_bits == 8 else {}
    found = apply(Quantize(weight_bits=8, activation_bits=activation_bits, **form), model, images)
    assert relative_error(run(found, images), run(model, images)) < 0.05
