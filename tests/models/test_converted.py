"""ONNX files as torch networks: they answer as the file does, steps can train and prune them, and what cannot be one is named."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper
from torch import nn

from engine.compress import prune
from engine.datasets.dataset import Dataset
from engine.datasets.load import load_dataset
from engine.errors import ModelError
from engine.models import convertible, lowered
from engine.models.convertible import check_convertible
from engine.models.export import export_onnx
from engine.models.files import load_file
from engine.models.sources import Network, convert_file, open_network, save_network
from engine.spec.sections import Data, Model, Preprocess
from engine.spec.steps import Prune
from engine.uploads.onnx_graph import look_at
from tests.helpers.exported_nets import as_constants, by_hand, exported, network, of_keras
from tests.helpers.tiny import images


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return _data(tmp_path)


def _data(folder: Path, **preprocess: Any) -> Dataset:
    (x, y), (u, v) = images(200, 0), images(60, 1)
    np.savez(folder / "data.npz", x_train=x, y_train=y, x_test=u, y_test=v)
    return load_dataset(Data(source=str(folder / "data.npz"), preprocess=Preprocess(**preprocess)))


def _converted(path: Path, data: Dataset) -> Network:
    model = Model(source=str(path))
    return convert_file(model, load_file(model, data)[0], data)


def _answers(path: Path, data: Dataset, n: int) -> tuple[np.ndarray, torch.Tensor]:
    """What the file itself says of n test images, each alone, and the images."""
    x = data.preprocessing(data.test.inputs[:n])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: x[i : i + 1]})[0] for i in range(n)]), torch.from_numpy(x)


FORMS = {
    "opset 9": lambda p: exported(p, opset_version=9),
    "opset 13": lambda p: exported(p, opset_version=13),
    "opset 20": lambda p: exported(p, opset_version=20),
    "batch of one": lambda p: exported(p, fixed=1, opset_version=13),
    "weights in Constant nodes": lambda p: as_constants(exported(p, opset_version=17)),
    "norms of its own": lambda p: exported(
        p, opset_version=17, training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_converted_file_answers_as_the_file_does_and_keeps_its_norms(form, tmp_path: Path, data: Dataset):
    path = FORMS[form](tmp_path / "net.onnx")
    found = _converted(path, data)
    expected, x = _answers(path, data, 12)
    with torch.no_grad():
        assert np.abs(found.module(x).numpy() - expected).max() < 1e-4 * np.abs(expected).max()
        assert np.abs(found.module(x[:1]).numpy() - expected[:1]).max() < 1e-4 * np.abs(expected).max()
    kinds = [type(layer) for layer in found.module.modules()]
    # Two of each as in the network, whether the file has its norms or folded them away.
    assert [kinds.count(k) for k in (nn.Conv2d, nn.BatchNorm2d, nn.Linear)] == [2, 2, 1]
    assert sum(p.numel() for p in found.module.parameters()) == sum(p.numel() for p in network().parameters())
    assert "onnx2torch" in found.note
    assert ("2 batch norms put back" in found.note) == (form != "norms of its own")


def test_a_norm_that_was_put_back_holds_signals_in_size_while_it_trains(tmp_path: Path, data: Dataset):
    module = _converted(exported(tmp_path / "net.onnx"), data).module.train()
    norm = next(m for m in module.modules() if isinstance(m, nn.BatchNorm2d))
    conv = next(m for m in module.modules() if isinstance(m, nn.Conv2d))
    x = torch.from_numpy(data.preprocessing(data.train.inputs[:64]))
    with torch.no_grad():
        before = norm(conv(x))
        conv.weight *= 50
        assert torch.allclose(norm(conv(x)), before, atol=0.02 * float(before.abs().max()))


def test_a_file_of_channels_last_with_a_matrix_becomes_layers_that_train(tmp_path: Path):
    path, data = of_keras(tmp_path / "net.onnx"), _data(tmp_path, layout="NHWC")
    found = _converted(path, data)
    expected, x = _answers(path, data, 8)
    with torch.no_grad():
        assert np.abs(found.module(x).numpy() - expected).max() < 1e-4 * np.abs(expected).max()
    # Padded at one end alone, by rule in the file: no node of its own in what is exported again.
    again = export_onnx(found.module, found.origin.input_shape)
    assert [n.op_type for n in again.graph.node] == ["Transpose", "Conv", "Relu", "Transpose", "Flatten", "Gemm"]
    assert next(list(a.ints) for n in again.graph.node for a in n.attribute if a.name == "pads") == [0, 0, 1, 1]
    dense = next(m for m in found.module.modules() if isinstance(m, nn.Linear))
    assert (tuple(dense.weight.shape), dense.bias.shape[0]) == ((3, 288), 3)
    found.module.train()(x).square().sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in found.module.parameters())


def test_layers_of_one_stored_filter_bank_stay_one(tmp_path: Path, data: Dataset):
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "v"], ["y"]),
    ]
    weights = {"w": rng.standard_normal((1, 1, 3, 3)), "v": rng.standard_normal((144, 3))}
    path = by_hand(tmp_path / "n.onnx", nodes, {k: w.astype(np.float32) for k, w in weights.items()}, ["n", 1, 12, 12])
    found = _converted(path, data).module
    first, second = (m for m in found.modules() if isinstance(m, nn.Conv2d))
    assert first.weight is second.weight
    assert sum(p.numel() for p in found.parameters()) == 9 + 432


def test_a_converted_network_is_pruned_and_travels_in_an_artifact(tmp_path: Path, data: Dataset):
    found = _converted(exported(tmp_path / "net.onnx", network(16)), data)
    module, report = prune.apply(Prune(method="channel", ratio=0.5, round_to=1), found, data, 0)
    assert report.reached, report.note
    assert abs(report.params_removed - 0.5) < 0.03
    save_network(Network(module, found.origin), tmp_path / "a.safetensors")
    # Neither the file nor its path is needed any more.
    (tmp_path / "net.onnx").unlink()
    again = open_network(tmp_path / "a.safetensors")
    x = torch.randn(5, 1, 12, 12)
    with torch.no_grad():
        assert torch.equal(again.module(x), module.eval()(x))
    assert torch.equal(copy.deepcopy(again.module)(x), again.module(x))


def test_the_text_that_a_network_is_built_from_again_has_no_weights(tmp_path: Path, data: Dataset):
    small, large = (_converted(exported(tmp_path / "n.onnx", network(c)), data).origin.graph for c in (8, 64))
    assert len(large) < 1.5 * len(small) < 8_000


def test_a_layer_that_computes_something_else_is_named_with_its_operator(tmp_path, data, monkeypatch):
    from onnx2torch.node_converters import registry
    from onnx2torch.utils.common import OperationConverterResult, onnx_mapping_from_node

    key = registry.OperationDescription("", "Relu", 14)
    wrong = lambda node, graph: OperationConverterResult(nn.Tanh(), onnx_mapping_from_node(node))  # noqa: E731
    path = exported(tmp_path / "net.onnx")
    _converted(path, data)
    monkeypatch.setitem(registry._CONVERTER_REGISTRY, key, wrong)
    with pytest.raises(
        ModelError,
        match=r"answers otherwise than the file, for \d+ of 20 images .*operator Relu \(node 'stem_stem_2_Relu'",
    ):
        _converted(path, data)


def test_what_no_network_can_be_made_of_is_told_in_one_line_before_anything_runs(tmp_path, monkeypatch):
    folder = tmp_path

    def told(path: Path) -> str:
        with pytest.raises(ModelError) as raised:
            check_convertible(Model(source=str(path)))
        assert "\n" not in str(raised.value)
        return str(raised.value)

    lstm = by_hand(
        folder / "lstm.onnx",
        [
            helper.make_node("LSTM", ["x", "w", "r"], ["", "h"], "model/lstm", hidden_size=3),
            helper.make_node("Squeeze", ["h", "a"], ["y"]),
        ],
        {"w": np.zeros((1, 12, 4), np.float32), "r": np.zeros((1, 12, 3), np.float32), "a": np.array([0])},
        ["n", 5, 4],
    )
    assert (
        "has operator LSTM (node 'model/lstm'), which onnx2torch cannot turn into a torch layer; give the network"
        in told(lstm)
    )
    scales = {"s": np.float32(0.1), "z": np.uint8(0)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    assert "is quantized already" in told(by_hand(folder / "q.onnx", nodes, scales, ["n", 3]))
    ones = dict.fromkeys("abcd", np.ones(3, np.float32))
    norm = [helper.make_node("BatchNormalization", ["x", *"abcd"], ["y", "e", "f"], "bn1", training_mode=1)]
    assert "BatchNormalization in its training form (node 'bn1')" in told(
        by_hand(folder / "t.onnx", norm, ones, ["n", 3], 15)
    )
    mine = [onnx.helper.make_node("Swirl", ["x"], ["y"], "s", domain="com.me")]
    path = by_hand(folder / "o.onnx", [helper.make_node("Relu", ["x"], ["y"])], {}, ["n", 3])
    model = onnx.load(path)
    model.graph.node[0].CopyFrom(mine[0])
    assert "com.me.Swirl" in convertible.operators_of(model)
    check_convertible(Model(source=str(exported(folder / "fine.onnx"))))
    monkeypatch.setattr(convertible, "known_operators", lambda: frozenset())
    assert "is not installed; run pip install 'paretoscope[onnx2torch]'" in told(folder / "fine.onnx")


def test_an_uploaded_file_is_judged_by_what_was_noted_when_it_came(tmp_path: Path, monkeypatch):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"not read")
    monkeypatch.setattr(convertible, "accepted_facts", lambda path: {"operators": {"Conv": "a", "LSTM": "b"}})
    with pytest.raises(ModelError, match=r"operator LSTM \(node 'b'\)"):
        check_convertible(Model(source=str(path)))
    monkeypatch.setattr(convertible, "accepted_facts", lambda path: {"operators": {"Conv": "a"}})
    check_convertible(Model(source=str(path)))
    noted = look_at(exported(tmp_path / "real.onnx"), lambda share: None)["checked"]["operators"]
    assert list(noted) == ["Conv", "Relu", "Clip", "Add", "MaxPool", "Reshape", "Gemm"]
    assert set(noted) <= convertible.known_operators()


def test_shapes_that_a_graph_computes_are_numbers_and_only_the_batch_stays_free(tmp_path: Path):
    path = exported(tmp_path / "net.onnx", opset_version=13)
    before = onnx.load(path)
    assert {"Shape", "Gather", "Concat", "Reshape"} <= {n.op_type for n in before.graph.node}
    plain = lowered.plain(before, "net.onnx")
    found = lowered.lowered(plain, (1, 12, 12), "net.onnx")
    # `x.view(x.size(0), -1)` is a Flatten, which lets channels go.
    assert [n.op_type for n in found.graph.node] == [
        "Conv",
        "Relu",
        "Conv",
        "Clip",
        "Add",
        "MaxPool",
        "Flatten",
        "Gemm",
    ]
    assert found.opset_import[0].version == 17


def test_what_a_node_gives_beside_and_nobody_reads_is_left_out(tmp_path: Path, data: Dataset):
    nodes = [
        helper.make_node("MaxPool", ["x"], ["a", "places"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Dropout", ["a"], ["b", "mask"]),
        helper.make_node("Flatten", ["b"], ["c"]),
        helper.make_node("Gemm", ["c", "w"], ["y"]),
    ]
    weights = {"w": np.random.default_rng(0).standard_normal((36, 3)).astype(np.float32)}
    path = by_hand(tmp_path / "n.onnx", nodes, weights, ["n", 1, 12, 12])
    found = _converted(path, data)
    expected, x = _answers(path, data, 4)
    with torch.no_grad():
        assert np.allclose(found.module(x).numpy(), expected, atol=1e-4)


def test_a_batch_that_a_graph_insists_on_is_told(tmp_path: Path, data: Dataset):
    nodes = [
        helper.make_node("Flatten", ["x"], ["f"]),
        helper.make_node("Gemm", ["f", "w"], ["g"]),
        helper.make_node("Add", ["g", "b"], ["y"]),
    ]
    weights = {"w": np.ones((144, 3), np.float32), "b": np.ones((4, 3), np.float32)}
    path = by_hand(tmp_path / "n.onnx", nodes, weights, [4, 1, 12, 12])
    with pytest.raises(
        ModelError,
        match=r"takes batches of one size only, and torch steps take several: .*export it with a free batch axis",
    ):
        _converted(path, data)
