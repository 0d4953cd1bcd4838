"""`check` finds the preprocessing that a network was trained with, and each mistake that it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from engine.check.report import check, settled
from engine.datasets.load import load_dataset
from engine.errors import SpecError
from engine.spec.sweep import Sweep, parse_sweep
from tests.helpers.brightness import brightness_data, brightness_net
from tests.helpers.command_line import paretoscope


def spec(tmp_path: Path, **data: Any) -> Sweep:
    told = {"model": {"source": "net.onnx"}, "data": {"source": "data.npz", **data}, "space": {"quantize": [None]}}
    return parse_sweep({"name": "mine", **told}, tmp_path)


def errors(sweep: Sweep) -> list[str]:
    return [f.what for f in check(sweep).findings if f.level == "error"]


@pytest.mark.parametrize(
    ("scale", "mean", "name"),
    [(255.0, 0.0, "as stored"), (1.0, 0.0, "0 … 1"), (2.0, 1.0, "−1 … 1")],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_preprocessing_that_was_left_out_is_found(
    tmp_path: Path, scale: float, mean: float, name: str, dtype: type
) -> None:
    brightness_data(tmp_path / "data.npz", dtype=dtype)
    brightness_net(tmp_path / "net.onnx", scale=scale, mean=mean)
    if dtype is np.float32:
        name = {"as stored": "0 … 255", "0 … 1": "as stored"}.get(name, name)
    report = check(spec(tmp_path))
    assert report.ok
    assert report.baseline is not None
    assert report.baseline["value"] > 0.95
    assert [t.name for t in report.tried if t.chosen] == [name]
    assert report.sweep is not None
    data = load_dataset(report.sweep.data)
    pixels = data.test.inputs[:5].astype(np.float64) / (255 if dtype is np.uint8 else 1)
    np.testing.assert_allclose(data.preprocessing(data.test.inputs[:5]), pixels * scale - mean, atol=1e-4)


def test_colours_and_axes_in_another_order_are_found(tmp_path: Path) -> None:
    brightness_data(tmp_path / "data.npz", channels=3)
    brightness_net(tmp_path / "net.onnx", channels=3, colour=2, last=True, scale=255.0)
    report = check(spec(tmp_path))
    assert report.ok
    chosen = next(t.preprocess for t in report.tried if t.chosen)
    assert (chosen.channels, chosen.layout, chosen.scale) == ("BGR", "NHWC", 1.0)
    assert report.sweep is not None
    data = load_dataset(report.sweep.data)
    assert data.input_shape == (8, 8, 3)
    np.testing.assert_array_equal(
        data.preprocessing(data.test.inputs[:2]), np.moveaxis(data.test.inputs[:2, ::-1], 1, -1).astype(np.float32)
    )


def test_what_the_spec_says_is_held_against_the_usual_ways(tmp_path: Path) -> None:
    brightness_data(tmp_path / "data.npz")
    brightness_net(tmp_path / "net.onnx", scale=255.0)
    found = check(spec(tmp_path, preprocess="standardize"))
    (error,) = [f for f in found.findings if f.level == "error"]
    assert error.what.startswith("inputs are not prepared as in training")
    assert error.remedy == "write data.preprocess: none"
    assert check(spec(tmp_path, preprocess="none")).ok


@pytest.mark.parametrize(("shift", "words"), [(1, "one too high"), (-1, "one too low")])
def test_labels_that_count_from_elsewhere(tmp_path: Path, shift: int, words: str) -> None:
    order = np.arange(400) % 4
    keep = (order + shift >= 0) & (order + shift < 4)
    path = brightness_data(tmp_path / "whole.npz")
    with np.load(path) as whole:
        arrays = {f"{a}_{s}": whole[f"{a}_{s}"][keep[: len(whole[f"x_{s}"])]] for a in "xy" for s in ("train", "test")}
    arrays |= {f"y_{s}": arrays[f"y_{s}"] + shift for s in ("train", "test")}
    np.savez(tmp_path / "data.npz", **arrays)
    brightness_net(tmp_path / "net.onnx")
    (what,) = errors(spec(tmp_path, classes=list("abcd")))
    assert what.startswith(f"labels look {words}")


def test_classes_in_another_order(tmp_path: Path) -> None:
    brightness_data(tmp_path / "data.npz")
    brightness_net(tmp_path / "net.onnx", classes=(2, 0, 3, 1))
    (what,) = errors(spec(tmp_path, classes=["dark", "dim", "light", "bright"]))
    assert (
        "numbered in another order than the network's: dark is its 2, dim is its 0, light is its 3, bright is its 1"
        in what
    )


def test_a_network_at_chance_is_an_error_and_is_not_run(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    brightness_data(tmp_path / "data.npz", y_train=rng.integers(0, 4, 400))
    brightness_net(tmp_path / "net.onnx")
    (what,) = errors(spec(tmp_path))
    assert "no better than chance for 4 classes" in what
    with pytest.raises(SpecError, match="no better than chance"):
        settled(spec(tmp_path))


def test_splits_that_lack_a_class_or_share_items(tmp_path: Path) -> None:
    path = brightness_data(tmp_path / "whole.npz", n=800)
    with np.load(path) as whole:
        arrays = {name: whole[name] for name in whole.files}
    kept = arrays["y_test"] != 3
    arrays |= {"x_test": arrays["x_test"][kept], "y_test": arrays["y_test"][kept]}
    arrays["x_test"][0], arrays["y_test"][0] = arrays["x_train"][0], arrays["y_train"][0]
    np.savez(tmp_path / "data.npz", **arrays)
    brightness_net(tmp_path / "net.onnx")
    report = check(spec(tmp_path, classes=["dark", "dim", "light", "bright"]))
    assert report.ok
    told = [f.what for f in report.findings]
    assert "test has no item of 1 of 4 classes (bright)" in told
    assert any(t.startswith("1 of 300 items of test are also in ") for t in told)


def test_a_head_of_another_size_and_a_file_that_is_none(tmp_path: Path) -> None:
    brightness_data(tmp_path / "data.npz")
    brightness_net(tmp_path / "net.onnx")
    (what,) = errors(spec(tmp_path, classes=list("abcde")))
    assert "gives 4 scores for an image, but the dataset has 5 classes" in what
    (tmp_path / "net.onnx").write_bytes(b"no network")
    assert "is not an ONNX file" in errors(spec(tmp_path))[0]


def test_without_labels_the_choice_is_a_guess_by_answers_that_are_sure_and_differ(tmp_path: Path) -> None:
    """Numbers that are far too large make a network sure of one class, which tells nothing."""
    brightness_data(tmp_path / "whole.npz")
    np.savez(tmp_path / "data.npz", x=np.load(tmp_path / "whole.npz")["x_train"])
    brightness_net(tmp_path / "net.onnx", scale=20.0, mean=3.0)
    way = {"scale": 20 / 255, "mean": [3.0], "std": [1.0]}
    report = check(spec(tmp_path, preprocess=way))
    assert report.baseline is None
    assert report.classes == ("0", "1", "2", "3")
    assert any("4 outputs are taken for scores of classes" in f.what for f in report.findings)
    by_name = {t.name: t for t in report.tried}
    assert by_name["as stored"].confidence > by_name["as the spec says"].confidence
    assert by_name["as stored"].information < 0.1 < by_name["as the spec says"].information
    assert not [f for f in report.findings if "preprocessing" in f.what]
    report = check(spec(tmp_path))
    (guess,) = [f for f in report.findings if "is a guess" in f.what]
    assert guess.remedy == "state data.preprocess as in training"


def test_the_command_prints_the_table_and_ends_with_1_on_errors(tmp_path: Path) -> None:
    brightness_data(tmp_path / "data.npz")
    brightness_net(tmp_path / "net.onnx", scale=255.0)
    text = "name: mine\nmodel: {source: net.onnx}\ndata: {source: data.npz%s}\nspace: {quantize: [null]}\n"
    (tmp_path / "spec.yaml").write_text(text % "")
    done = paretoscope("check", tmp_path / "spec.yaml", home=tmp_path / "home")
    assert done.returncode == 0, done.stderr
    assert "as stored" in done.stdout
    assert "nothing is wrong" in done.stdout
    (tmp_path / "spec.yaml").write_text(text % ", preprocess: standardize")
    done = paretoscope("check", tmp_path / "spec.yaml", "--json", home=tmp_path / "home")
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"]) == (1, False)
    assert told["findings"][0]["remedy"] == "write data.preprocess: none"
    assert len(told["samples"]) == 8
    assert told["samples"][0]["png"].startswith("iVBOR")


def test_a_function_whose_network_is_at_chance_may_be_trained_by_the_recipes(tmp_path: Path) -> None:
    brightness_data(tmp_path / "data.npz")
    (tmp_path / "net.py").write_text(
        "import torch\nfrom torch import nn\n\ndef build(num_classes):\n    torch.manual_seed(0)\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))\n"
    )
    told = {"model": {"source": "net.py:build"}, "data": {"source": "data.npz"}, "space": {"quantize": [None]}}
    sweep = parse_sweep({"name": "mine", **told}, tmp_path)
    report = check(sweep)
    assert report.ok
    assert any("no better than chance" in f.what for f in report.findings if f.level == "warning")
    unseeded = (tmp_path / "net.py").read_text().replace("    torch.manual_seed(0)\n", "")
    (tmp_path / "other.py").write_text(unseeded)
    report = check(
        sweep.model_copy(update={"model": sweep.model.model_copy(update={"source": str(tmp_path / "other.py:build")})})
    )
    assert [f.what.partition(":")[0] for f in report.findings] == ["the network has random weights"]
    assert report.sweep is not None
    assert report.sweep.data.preprocess is not None
    assert report.sweep.data.preprocess.standardize


def test_answers_that_depend_on_the_batch_are_told_and_prove_nothing_else(tmp_path: Path) -> None:
    """Means over the batch, too: every sample of a batch gets the same answer."""
    brightness_data(tmp_path / "data.npz")
    model = onnx.load(brightness_net(tmp_path / "net.onnx"))
    axes = next(t for t in model.graph.initializer if t.name == "axes")
    axes.CopyFrom(numpy_helper.from_array(np.array([0, 2, 3]), "axes"))
    model.graph.node[0].output[0] = "batch means"
    shape = [
        helper.make_node("Shape", ["pixels"], ["n"], start=0, end=1),
        helper.make_node("Expand", ["batch means", "n1"], ["means"]),
    ]
    both = helper.make_node("Concat", ["n", "one"], ["n1"], axis=0)
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "one"))
    for i, node in enumerate((shape[0], both, shape[1])):
        model.graph.node.insert(1 + i, node)
    onnx.save(model, tmp_path / "net.onnx")
    report = check(spec(tmp_path, preprocess={"scale": 1 / 255}))
    assert report.ok
    assert [f.what.partition(":")[0] for f in report.findings] == ["answers depend on the other items of a batch"]


def test_a_preprocessing_that_others_answer_as_well_with_is_not_taken_in_silence(tmp_path: Path) -> None:
    brightness_data(tmp_path / "data.npz", dtype=np.uint8)
    brightness_net(tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    said = [f.what for f in check(spec(tmp_path)).findings]
    assert not any("do not tell the preprocessing" in what for what in said)
    # Of the larger of two numbers nothing tells in what unit they are.
    node = helper.make_node("Flatten", [model.graph.input[0].name], ["flat"])
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    weights = np.zeros((int(np.prod(shape)), 4), np.float32)
    weights[0, 0], weights[1, 1] = 1, 1
    weights[:, 2:] = -1
    last = helper.make_node("MatMul", ["flat", "w"], [model.graph.output[0].name])
    graph = helper.make_graph([node, last], "larger", list(model.graph.input), list(model.graph.output))
    graph.initializer.append(numpy_helper.from_array(weights, "w"))
    onnx.save(helper.make_model(graph, opset_imports=model.opset_import, ir_version=8), tmp_path / "net.onnx")
    held = np.load(tmp_path / "data.npz")
    relabelled = {
        n: (held[n.replace("y", "x")].reshape(len(held[n]), -1)[:, :2].argmax(1) if n.startswith("y") else held[n])
        for n in held.files
    }
    np.savez(tmp_path / "data.npz", **relabelled)
    report = check(spec(tmp_path, classes=4))
    assert report.ok
    (what,) = [f.what for f in report.findings if "do not tell the preprocessing" in f.what]
    assert "which is taken, from" in what
    assert not any("do not tell" in f.what for f in check(spec(tmp_path, classes=4, preprocess={"scale": 1})).findings)


def test_a_network_that_gives_no_numbers_is_an_error(tmp_path: Path) -> None:
    brightness_data(tmp_path / "data.npz")
    brightness_net(tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32 and values.size:
            tensor.CopyFrom(numpy_helper.from_array(np.full_like(values, np.nan), tensor.name))
    onnx.save(model, tmp_path / "net.onnx")
    (what,) = errors(spec(tmp_path))
    assert "the network gives no numbers (NaN) for 200 of 200 samples" in what


def test_which_weights_of_a_checkpoint_were_taken_is_told(tmp_path: Path) -> None:
    """A file with an average beside: which of the two is measured shows before anything runs."""
    import torch

    brightness_data(tmp_path / "data.npz")
    (tmp_path / "net.py").write_text(
        "from torch import nn\n"
        "def build(num_classes, in_channels):\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_channels, num_classes))\n"
    )
    data = load_dataset(parse_sweep({"model": {"source": "resnet8"}, "data": {"source": "data.npz"}}, tmp_path).data)
    net = torch.nn.Linear(data.train.array.shape[1], len(data.classes))
    state = {f"module.2.{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save({"model_state_dict": state, "model_ema": state}, tmp_path / "net.pth")
    told = {"model": {"source": "net.py:build", "weights": "net.pth"}, "data": {"source": "data.npz"}}
    found = check(parse_sweep({"name": "mine", **told, "space": {"quantize": [None]}}, tmp_path))
    (said,) = [f.what for f in found.findings if "weights are those" in f.what]
    assert said == (
        "weights are those under 'model_state_dict' at 'module.' of net.pth; 'model_ema' at 'module.' would fit as well"
    )
