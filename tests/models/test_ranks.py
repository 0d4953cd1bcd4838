"""Vectors, series and images of channels last go through export or file, counts, int8 and ONNX Runtime as images do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from engine.compress import finetune, prune
from engine.compress.quantization.sensitivity import layer_times, measure_sensitivity
from engine.compress.quantize import quantized
from engine.compress.teacher import teacher_outputs
from engine.datasets.dataset import Dataset
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.errors import ModelError, StepError
from engine.graph.count_demand import graph_demand
from engine.graph.counts import graph_facts
from engine.graph.graph import input_shape, open_session
from engine.models.agreement import check_agreement
from engine.models.builders import Origin
from engine.models.export import export_onnx
from engine.models.files import check_fits, load_file
from engine.models.sources import Network
from engine.spec.steps import Finetune, Prune, Quantize

torch.set_num_threads(1)
# Unsigned weights: a product that every CPU sums exactly.
STEP = Quantize(weight_bits=8, activation_bits=8, format="u8u8")


def dataset(stored: tuple[int, ...], last: bool = False, n: int = 200) -> Dataset:
    rng = np.random.default_rng(0)
    split = Split(rng.standard_normal((n, *stored)).astype(np.float32), rng.integers(0, 3, n))
    preprocessing = Preprocessing(1, (0.1,), (1.2,), channels_last=last)
    return Dataset("toy", "0" * 64, ("a", "b", "c"), preprocessing, split, split, split, split)


def mlp() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(20, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3)).eval()


def series() -> nn.Module:
    torch.manual_seed(0)
    convolutions = [nn.Conv1d(4, 8, 5, padding=2), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 8, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*convolutions, nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3)).eval()


def channels_last(path: Path, height: int | str = 8, width: int | str = 9) -> Path:
    """Takes (N, H, W, 3) as TensorFlow's exports do, and turns it inside."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((4, 3, 3, 3)), "b": rng.standard_normal(4), "fc": rng.standard_normal((4, 3))}
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["t", "w", "b"], ["c"], "conv"),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "fc"], ["y"], "fc"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", height, width, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in weights.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def answers(model: onnx.ModelProto, inputs: np.ndarray) -> np.ndarray:
    return open_session(model).run(None, {model.graph.input[0].name: inputs})[0]


def check_int8(model: onnx.ModelProto, data: Dataset, expected: np.ndarray) -> onnx.ModelProto:
    """Held against the float network on what it was not calibrated with."""
    inputs = data.preprocessing(data.test.inputs)
    int8 = quantized(STEP, model, inputs[:100]).model
    found = answers(int8, inputs)
    far = np.abs(found - expected).max() / np.abs(expected).max()
    assert 0 < far < 0.05
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.93
    return int8


@pytest.mark.parametrize(
    ("network", "shape", "macs", "params", "layers"),
    [
        # A batch norm behind a matrix product stays until it is quantized.
        (mlp, (20,), [20 * 16, 16 * 3], 21 * 16 + 2 * 16 + 17 * 3, ["dense", "dense"]),
        (series, (4, 32), [8 * 4 * 5 * 32, 8 * 8 * 3 * 16, 8 * 3], 8 * 21 + 8 * 25 + 9 * 3, ["conv", "conv", "dense"]),
    ],
)
def test_torch_networks_of_vectors_and_series(
    network, shape: tuple[int, ...], macs: list[int], params: int, layers: list[str]
) -> None:
    module, data = network(), dataset(shape)
    model = export_onnx(module, shape)
    inputs = data.preprocessing(data.test.inputs)
    assert check_agreement(model, module, inputs) is None
    assert input_shape(model) == shape
    facts, demand = graph_facts(model), graph_demand(model)
    assert [x.macs for x in facts.layers if x.macs] == macs
    assert facts.params == params
    assert facts.input_shape == shape
    assert [x.kind for x in demand.layers] == layers
    with torch.no_grad():
        expected = module(torch.from_numpy(inputs)).numpy()
    int8 = check_int8(model, data, expected)
    assert [(x.weight_bits, x.activation_bits) for x in graph_facts(int8).layers if x.macs] == [(8, 8)] * len(macs)
    assert sum(x.macs for x in graph_facts(int8).layers) == sum(macs)
    weights = set(measure_sensitivity(STEP, model, data))
    assert len(weights) == len(macs)
    assert weights <= set(layer_times(STEP, model, data))


def test_a_file_of_channels_last(tmp_path: Path) -> None:
    path, data = channels_last(tmp_path / "m.onnx"), dataset((3, 8, 9), last=True)
    check_fits(str(path), data)
    model, _ = load_file(path, data)
    assert input_shape(model) == data.input_shape == (8, 9, 3)
    facts, demand = graph_facts(model), graph_demand(model)
    assert [x.macs for x in facts.layers] == [4 * 3 * 9 * 6 * 7, 4 * 3]
    assert (facts.params, facts.num_classes) == (4 * 27 + 4 + 12, 3)
    assert [x.kind for x in demand.layers] == ["stem", "dense"]
    inputs = data.preprocessing(data.test.inputs)
    int8 = check_int8(model, data, answers(model, inputs))
    # The transposition moves codes and stays: what is measured takes what the file took.
    assert input_shape(int8) == (8, 9, 3)
    assert [x.activation_bits for x in graph_facts(int8).layers if x.macs] == [8, 8]


def test_a_file_of_channels_last_and_data_of_channels_first_are_told_apart(tmp_path: Path) -> None:
    for path in (channels_last(tmp_path / "m.onnx"), channels_last(tmp_path / "free.onnx", "h", "w")):
        with pytest.raises(
            ModelError, match=r"channels last \(NHWC\), but they come as \(N, 3, 8, 9\), channels first, here; write"
        ):
            check_fits(str(path), dataset((3, 8, 9)))
    check_fits(str(tmp_path / "free.onnx"), dataset((3, 8, 9), last=True))
    with pytest.raises(
        ModelError, match=r"takes images of 8×9×3, but toy has vectors of 216; give a model for such vectors"
    ):
        check_fits(str(tmp_path / "m.onnx"), dataset((216,)))
    onnx.save(export_onnx(series(), (4, 32)), tmp_path / "series.onnx")
    with pytest.raises(
        ModelError, match=r"takes series of 4×32, but toy has images of 1×4×32; .*, or write data\.kind: series"
    ):
        check_fits(str(tmp_path / "series.onnx"), dataset((1, 4, 32)))
    free = onnx.load(tmp_path / "series.onnx")
    free.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "time"
    onnx.save(free, tmp_path / "series.onnx")
    with pytest.raises(
        ModelError, match=r"takes series of 4×\?, but toy has images of 1×4×32; .*, or write data\.kind: series"
    ):
        check_fits(str(tmp_path / "series.onnx"), dataset((1, 4, 32)))
    first = tmp_path / "first.onnx"
    onnx.save(export_onnx(nn.Sequential(nn.Conv2d(3, 3, (8, 9)), nn.Flatten()).eval(), (3, 8, 9)), first)
    with pytest.raises(
        ModelError,
        match=r"as \(N, 3, 8, 9\), channels first, but they come as \(N, 8, 9, 3\), .*leave data\.preprocess",
    ):
        check_fits(str(first), dataset((3, 8, 9), last=True))


def test_a_convolution_in_three_dimensions() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv3d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 3)
    ).eval()
    model = export_onnx(network, (1, 4, 6, 6))
    assert graph_facts(model).macs == 4 * 27 * 2 * 4 * 4 + 12
    data = dataset((1, 4, 6, 6))
    inputs = data.preprocessing(data.test.inputs)
    with torch.no_grad():
        check_int8(model, data, network(torch.from_numpy(inputs)).numpy())


@pytest.mark.parametrize(("network", "shape"), [(mlp, (20,)), (series, (4, 32))])
def test_torch_steps_take_vectors_and_series(network, shape: tuple[int, ...]) -> None:
    data = dataset(shape)
    source = Network(network(), Origin(f"{__file__}:{network.__name__}", 3, shape, ""))
    smaller, _ = prune.apply(Prune(method="channel", ratio=0.3), source, data, seed=0)
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in source.module.parameters())
    trained = finetune.apply(Finetune(epochs=1, augment="none"), smaller, data, 0)
    assert trained(torch.zeros(2, *shape)).shape == (2, 3)
    model = export_onnx(trained, shape)
    assert teacher_outputs(model, data.train, data.preprocessing, False, False).logits.shape == (1, 200, 3)
    for augment in ("mirror", "shift"):
        with pytest.raises(StepError, match=r"mirrors or shifts images .*, but the data are .*; write augment: none"):
            finetune.apply(Finetune(epochs=1, augment=augment), smaller, data, 0)
    with pytest.raises(StepError, match="write augment: none"):
        teacher_outputs(model, data.train, data.preprocessing, True, False)


def test_a_mirror_image_of_channels_last_turns_the_width(tmp_path: Path) -> None:
    data = dataset((3, 8, 9), last=True)
    model, _ = load_file(channels_last(tmp_path / "m.onnx"), data)
    views = teacher_outputs(model, data.train, data.preprocessing, True, False).logits
    expected = answers(model, np.ascontiguousarray(data.preprocessing(data.train.inputs)[:, :, ::-1]))
    np.testing.assert_allclose(views[1], expected, rtol=2e-3, atol=2e-3)
    assert not np.allclose(views[0], views[1], atol=1e-2)
