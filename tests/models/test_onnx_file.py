"""ONNX files as people have them: old opsets, weights wherever they are kept, free axes; what is changed answers as it did."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.compress.quantize import quantized
from engine.datasets.dataset import Dataset
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.errors import ModelError
from engine.graph.counts import graph_facts
from engine.graph.graph import graph_inputs, open_session, opset_of
from engine.models import onnx_file
from engine.models.catalog import check_model, model_fingerprint
from engine.models.files import batch_of, check_fits, load_file
from engine.spec.sections import Model
from engine.spec.steps import Quantize

RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.standard_normal((4, 2, 3, 3)),
    "scale": RNG.random(4) + 0.5,
    "shift": RNG.standard_normal(4),
    "mean": RNG.standard_normal(4),
    "var": RNG.random(4) + 0.5,
    "fc": RNG.standard_normal((4, 3)),
    "bias": RNG.standard_normal(3),
}


def value(name: str, shape: list[int | str | None], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def tensors() -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(np.asarray(v, np.float32), n) for n, v in WEIGHTS.items()]


def model(
    nodes: list[onnx.NodeProto],
    opset: int,
    shape: list[int | str | None],
    initializers: list[onnx.TensorProto] | None = None,
    ir_version: int = 4,
    **more: object,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes, "g", [value("x", shape)], [value("y", ["N", 3])], tensors() if initializers is None else initializers
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version, **more)


def old(opset: int, shape: tuple[int | str | None, ...] = ("N", 2, 8, 8)) -> onnx.ModelProto:
    """Attributes that later opsets turned into inputs: ends of a Clip, axes of Squeeze and ReduceMean, Gemm with what it broadcasts."""
    clip = (
        helper.make_node("Clip", ["b"], ["c"], min=-0.5, max=3.0)
        if opset < 11
        else helper.make_node("Clip", ["b", "low", "high"], ["c"])
    )
    ends = [numpy_helper.from_array(np.float32(v), n) for n, v in (("low", -0.5), ("high", 3.0))] if opset >= 11 else []
    axes = [numpy_helper.from_array(np.array([2, 3]), "axes")] if opset >= 13 else []
    squeeze = (
        helper.make_node("Squeeze", ["p", "axes"], ["f"])
        if axes
        else helper.make_node("Squeeze", ["p"], ["f"], axes=[2, 3])
    )
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "conv", kernel_shape=[3, 3]),
        helper.make_node("BatchNormalization", ["a", "scale", "shift", "mean", "var"], ["b"], epsilon=1e-3),
        clip,
        helper.make_node("ReduceMean", ["c"], ["p"], axes=[2, 3]),
        squeeze,
        helper.make_node("Dropout", ["f"], ["d"]),
        helper.make_node("Gemm", ["d", "fc", "bias"], ["y"], "fc"),
    ]
    return model(nodes, opset, list(shape), tensors() + ends + axes)


def data(shape: tuple[int, ...] = (2, 8, 8), classes: int = 3) -> Dataset:
    split = Split(RNG.random((40, *shape), np.float32), np.arange(40) % classes)
    names = tuple(map(str, range(classes)))
    return Dataset("toy", "0" * 64, names, Preprocessing(1, (0.5,), (0.5,)), split, split, split, split)


def saved(path: Path, proto: onnx.ModelProto) -> Path:
    onnx.save(proto, path)
    return path


def answers(proto: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return open_session(proto).run(None, {graph_inputs(proto)[0].name: x})[0]


STEP = Quantize(weight_bits=8, activation_bits=8)


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 15, 17])
def test_files_of_any_opset_are_raised_and_quantized(opset: int, tmp_path: Path) -> None:
    original = old(opset)
    path = saved(tmp_path / "m.onnx", original)
    check_model(Model(source=str(path)))
    check_fits(str(path), data())
    loaded, note = load_file(path, data())
    assert (opset_of(loaded), note) == (21, None)
    x = RNG.standard_normal((5, 2, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(answers(loaded, x), answers(original, x), rtol=1e-4, atol=1e-5)
    facts = graph_facts(loaded)
    assert facts.macs == 4 * 2 * 9 * 36 + 12
    int8 = quantized(STEP, loaded, x).model
    far = np.abs(answers(int8, x) - answers(original, x)).max()
    assert far < 0.1 * np.abs(answers(original, x)).max()


def test_what_is_older_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ModelError, match="is of opset 6, older than 7; export the network again, with opset 13 or later"
    ):
        check_model(Model(source=str(saved(tmp_path / "m.onnx", old(6)))))


def test_what_the_runtime_does_not_know_is_told_with_the_file(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "m.onnx", model([helper.make_node("ATen", ["x"], ["y"], domain="org.pytorch.aten")], 13, ["N", 3])
    )
    changed = onnx.load(path)
    changed.opset_import.append(helper.make_opsetid("org.pytorch.aten", 1))
    with pytest.raises(ModelError, match=r"m\.onnx.*(cannot load the graph|cannot be raised)"):
        check_fits(str(saved(path, changed)), data((3,)))


def test_a_change_of_answers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    convert = onnx_file.version_converter.convert_version

    def wrong(proto: onnx.ModelProto, version: int) -> onnx.ModelProto:
        raised = convert(proto, version)
        bias = next(t for t in raised.graph.initializer if t.name == "bias")
        bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + np.float32(0.01), "bias"))
        return raised

    monkeypatch.setattr(onnx_file.version_converter, "convert_version", wrong)
    with pytest.raises(
        ModelError, match=r"answers otherwise once its opset 9 is raised to 21, by up to [\d.]+ % of the largest"
    ):
        check_model(Model(source=str(saved(tmp_path / "m.onnx", old(9)))))

    def other(proto: onnx.ModelProto, version: int) -> onnx.ModelProto:
        raised = convert(proto, version)
        raised.graph.node[0].op_type = "Nowhere"
        return raised

    monkeypatch.setattr(onnx_file.version_converter, "convert_version", other)
    with pytest.raises(
        ModelError, match="answers otherwise once its opset 8 is raised to 21, in their shape, or with none"
    ):
        check_model(Model(source=str(saved(tmp_path / "o.onnx", old(8)))))

    def fails(proto: onnx.ModelProto, version: int) -> onnx.ModelProto:
        raise RuntimeError("no adapter\nfor Foo")

    monkeypatch.setattr(onnx_file.version_converter, "convert_version", fails)
    with pytest.raises(ModelError, match="is of opset 10, which cannot be raised to 21: no adapter; export") as caught:
        check_model(Model(source=str(saved(tmp_path / "n.onnx", old(10)))))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("opset", [9, 17, 21])
def test_weights_in_constant_nodes_are_weights(opset: int, tmp_path: Path) -> None:
    original = old(opset) if opset < 18 else None
    if original is None:
        original, _ = load_file(saved(tmp_path / "o.onnx", old(17)), data())
    held = onnx.ModelProto()
    held.CopyFrom(original)
    del held.graph.initializer[:], held.graph.node[:]
    constants = [helper.make_node("Constant", [], [t.name], value=t) for t in original.graph.initializer]
    held.graph.node.extend([*constants, *original.graph.node])
    loaded, _ = load_file(saved(tmp_path / "m.onnx", held), data())
    whole, _ = load_file(saved(tmp_path / "w.onnx", original), data())
    assert graph_facts(loaded) == graph_facts(whole)
    assert not [n for n in loaded.graph.node if n.op_type == "Constant"]
    x = RNG.standard_normal((5, 2, 8, 8)).astype(np.float32)
    np.testing.assert_array_equal(answers(loaded, x), answers(whole, x))
    quantized(STEP, loaded, x)


def branching(condition: onnx.NodeProto | onnx.TensorProto) -> onnx.ModelProto:
    """The classifier's answers, or their negative."""
    branches = [
        helper.make_graph([helper.make_node(op, ["g"], [f"{op}_out"])], op, [], [value(f"{op}_out", ["N", 3])])
        for op in ("Neg", "Identity")
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "conv"),
        helper.make_node("GlobalAveragePool", ["a"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "fc", "bias"], ["g"], "fc"),
        helper.make_node("If", ["condition"], ["y"], then_branch=branches[0], else_branch=branches[1]),
    ]
    made = model(nodes, 13, ["N", 2, 8, 8], ir_version=8)
    if isinstance(condition, onnx.TensorProto):
        made.graph.initializer.append(condition)
    else:
        made.graph.node.insert(4, condition)
        made.graph.node.insert(4, helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0))
        made.graph.initializer.append(numpy_helper.from_array(np.float32(1), "one"))
    return made


def test_a_branch_that_is_always_taken_goes_and_others_stay(tmp_path: Path) -> None:
    x = RNG.standard_normal((5, 2, 8, 8)).astype(np.float32)
    always = branching(numpy_helper.from_array(np.array(True), "condition"))
    loaded, _ = load_file(saved(tmp_path / "m.onnx", always), data())
    assert not [n for n in loaded.graph.node if n.op_type == "If"]
    np.testing.assert_allclose(answers(loaded, x), answers(always, x), rtol=1e-5)
    quantized(STEP, loaded, x)
    sometimes = branching(helper.make_node("Greater", ["most", "one"], ["condition"]))
    path = saved(tmp_path / "s.onnx", sometimes)
    check_fits(str(path), data())
    loaded, _ = load_file(path, data())
    assert opset_of(loaded) == 13
    for batch in (x, x / 100):
        np.testing.assert_array_equal(answers(loaded, batch), answers(sometimes, batch))


def test_functions_of_the_file_are_read(tmp_path: Path) -> None:
    """As torch's newer exporter leaves them: a layer and its activation in one, at an opset of its own."""
    dense = helper.make_function(
        "mine",
        "Dense",
        ["a", "b", "c"],
        ["d"],
        [helper.make_node("Gemm", ["a", "b", "c"], ["g"]), helper.make_node("Relu", ["g"], ["d"])],
        [helper.make_opsetid("", 13)],
    )
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "conv"),
        helper.make_node("GlobalAveragePool", ["a"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Dense", ["f", "fc", "bias"], ["y"], "dense", domain="mine"),
    ]
    original = model(nodes, 13, ["N", 2, 8, 8], ir_version=8, functions=[dense])
    original.opset_import.append(helper.make_opsetid("mine", 1))
    loaded, _ = load_file(saved(tmp_path / "m.onnx", original), data())
    x = RNG.standard_normal((5, 2, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(answers(loaded, x), answers(original, x), rtol=1e-5)
    assert graph_facts(loaded).macs == 4 * 2 * 9 * 36 + 12
    quantized(STEP, loaded, x)


def test_weights_in_files_beside_it_are_part_of_the_network(tmp_path: Path) -> None:
    path, original = tmp_path / "m.onnx", old(13)
    onnx.save(original, path, save_as_external_data=True, location="m.bin", size_threshold=0)
    assert (tmp_path / "m.bin").stat().st_size >= 4 * 72
    check_fits(str(path), data())
    loaded, _ = load_file(path, data())
    assert not any(t.external_data for t in loaded.graph.initializer)
    x = RNG.standard_normal((5, 2, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(answers(loaded, x), answers(old(13), x), rtol=1e-4, atol=1e-5)
    before = model_fingerprint(Model(source=str(path)))
    raw = bytearray((tmp_path / "m.bin").read_bytes())
    raw[0] ^= 1
    (tmp_path / "m.bin").write_bytes(raw)
    assert model_fingerprint(Model(source=str(path))) != before
    (tmp_path / "m.bin").write_bytes(raw[:100])
    with pytest.raises(
        ModelError, match=r"keeps weights in other files, which cannot be read \(.*\); put them beside it"
    ):
        model_fingerprint(Model(source=str(path)))
    (tmp_path / "m.bin").unlink()
    with pytest.raises(ModelError, match="keeps weights in other files") as caught:
        check_model(Model(source=str(path)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [("N", 2, "h", "w"), (None, 2, None, None), ("N", 2, "s", "s"), (1, 2, 8, "w")])
def test_free_axes_are_fixed_to_the_data(shape: tuple[int | str | None, ...], tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", old(9, shape))
    check_model(Model(source=str(path)))
    check_fits(str(path), data())
    assert batch_of(path) == (1 if shape[0] == 1 else None)
    loaded, _ = load_file(path, data())
    assert [d.dim_value for d in loaded.graph.input[0].type.tensor_type.shape.dim[1:]] == [2, 8, 8]
    x = RNG.standard_normal((1, 2, 8, 8)).astype(np.float32)
    np.testing.assert_allclose(answers(loaded, x), answers(old(9), x), rtol=1e-4, atol=1e-5)


def test_free_axes_that_the_data_do_not_go_with_are_one_line(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.onnx", old(13, ("N", 2, "h", "w")))
    with pytest.raises(ModelError, match=r"takes images of 2×\?×\?, but those of toy are 3×8×8"):
        check_fits(str(path), data((3, 8, 8)))
    flat = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "fc", "bias"], ["y"])]
    path = saved(tmp_path / "f.onnx", model(flat, 13, ["N", 2, "t"], ir_version=8))
    check_fits(str(path), data((2, 2)))
    with pytest.raises(
        ModelError, match=r"leaves axes of its input free, but does not go with \(N, 2, 5\): .*; export it for"
    ):
        check_fits(str(path), data((2, 5)))
