"""Constants, states, free axes and outputs of ONNX files, as a spec says them, held against ONNX Runtime on the file itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from engine.datasets.load import load_dataset
from engine.errors import ModelError
from engine.graph.graph import graph_inputs, open_session, save_onnx
from engine.graph.inputs import Feeds, NamedArrays
from engine.measure.accuracy import predict
from engine.models.files import check_fits, load_file
from engine.models.interface import closed
from engine.spec.sections import Data, Model
from tests.helpers.several_inputs import token_data, token_net, tokens_and_masks

NODE = helper.make_node


def recurrent_net(path: Path) -> Path:
    """`audio` (N, 8), `rate` int64 () and `state` (1, N, 4) -> scores (N, 2), and the state that is fed back."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(0, 1, (8, 4)), "u": rng.normal(0, 1, (4, 4)), "v": rng.normal(0, 1, (4, 2))}
    nodes = [
        NODE("Cast", ["rate"], ["hertz"], to=TensorProto.FLOAT),
        NODE("Div", ["audio", "hertz"], ["scaled"]),
        NODE("MatMul", ["scaled", "w"], ["own"]),
        NODE("Squeeze", ["state", "first"], ["before"]),
        NODE("MatMul", ["before", "u"], ["kept"]),
        NODE("Add", ["kept", "shift"], ["moved"]),
        NODE("Add", ["own", "moved"], ["sum"]),
        NODE("Tanh", ["sum"], ["now"]),
        NODE("Unsqueeze", ["now", "first"], ["next"]),
        NODE("MatMul", ["now", "v"], ["scores"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "recurrent",
        [
            value("rate", TensorProto.INT64, []),
            value("audio", TensorProto.FLOAT, ["N", "samples"]),
            value("state", TensorProto.FLOAT, [1, "N", 4]),
        ],
        [value("scores", TensorProto.FLOAT, ["N", 2]), value("next", TensorProto.FLOAT, [1, "N", 4])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
        + [
            numpy_helper.from_array(np.array([0], np.int64), "first"),
            numpy_helper.from_array(np.full(4, 0.3, np.float32), "shift"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def audio(folder: Path, **said: object) -> Data:
    rng = np.random.default_rng(1)
    np.savez(folder / "audio.npz", x=rng.normal(0, 2, (60, 8)).astype(np.float32), y=np.arange(60) % 2)
    return Data.model_validate({"source": str(folder / "audio.npz"), "preprocess": "none", **said})


def test_a_state_that_is_fed_back_stays_an_input_and_an_output(tmp_path: Path) -> None:
    path = recurrent_net(tmp_path / "net.onnx")
    data = load_dataset(audio(tmp_path, inputs={"audio": "x", "rate": 4}))
    model, note = load_file(Model(source=str(path), state={"state": "next"}), data)
    assert [i.name for i in graph_inputs(model)] == ["audio", "state"]
    assert [o.name for o in model.graph.output] == ["scores", "next"]
    assert "state is zero at the start of every sample, and is fed back in a stream" in note
    session, found = onnxruntime.InferenceSession(path), open_session(model)
    feeds, rows, held = Feeds.of_graph(model), data.test.inputs[:3], np.zeros((1, 3, 4), np.float32)
    # Who feeds the data alone begins with zeros, and may give states with samples first.
    given = found.run(None, feeds(rows))
    for _ in range(3):
        expected = session.run(None, {"audio": rows, "rate": np.array(4), "state": held})
        for one, other in zip(given, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)
        held = expected[1]
        given = found.run(None, feeds(NamedArrays({"audio": rows, "state": np.moveaxis(held, 1, 0)})))
    alone = open_session(closed(model))
    assert [i.name for i in alone.get_inputs()] == ["audio"]
    zeros = session.run(["scores"], {"audio": rows, "rate": np.array(4), "state": np.zeros((1, 3, 4), np.float32)})
    np.testing.assert_allclose(alone.run(None, {"audio": rows})[0], zeros[0], rtol=1e-5)


def test_a_state_of_another_shape_than_what_is_fed_back_is_one_line(tmp_path: Path) -> None:
    path = recurrent_net(tmp_path / "net.onnx")
    graph = onnx.load(path)
    graph.graph.node.append(NODE("Squeeze", ["next", "first"], ["flat"]))
    graph.graph.output.append(helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["N", 4]))
    onnx.save(graph, path)
    data = load_dataset(audio(tmp_path, inputs={"audio": "x", "rate": 4}))
    with pytest.raises(ModelError, match=r"'flat', which is fed back into it, is float32 \(3, 4\)"):
        check_fits(Model(source=str(path), state={"state": "flat"}, output="scores"), data)


def test_a_state_that_is_fed_back_from_nowhere_is_stored_in_the_graph(tmp_path: Path) -> None:
    state = ["state"]
    path = recurrent_net(tmp_path / "net.onnx")
    data = load_dataset(audio(tmp_path, inputs={"audio": "x", "rate": 4}))
    output = {"output": "scores"} if isinstance(state, list) else {}
    model, note = load_file(Model(source=str(path), state=state, **output), data)
    assert [i.name for i in graph_inputs(model)] == ["audio"]
    assert [o.name for o in model.graph.output] == ["scores"]
    assert "rate is 4" in note
    assert "state is zero" in note
    rows = data.test.inputs
    session = onnxruntime.InferenceSession(path)
    for n in (1, 5):
        fed = {"audio": rows[:n], "rate": np.array(4), "state": np.zeros((1, n, 4), np.float32)}
        expected = session.run(["scores"], fed)[0]
        np.testing.assert_allclose(open_session(model).run(None, {"audio": rows[:n]})[0], expected, rtol=1e-6)


def test_a_number_fills_an_input_of_free_axes(tmp_path: Path) -> None:
    path, data = token_net(tmp_path / "net.onnx"), token_data(tmp_path / "data.npz")
    said = Data(source=str(data), inputs={"tokens": "tokens", "mask": 1})
    model, _ = load_file(Model(source=str(path), output="scores"), load_dataset(said))
    tokens, mask, _ = tokens_and_masks(120, 120)
    fed = {"tokens": tokens, "mask": np.ones_like(mask)}
    expected = onnxruntime.InferenceSession(path).run(["scores"], fed)[0]
    np.testing.assert_allclose(open_session(model).run(None, {"tokens": tokens})[0], expected, rtol=1e-5)


def test_what_only_another_output_needs_goes(tmp_path: Path) -> None:
    path, data = token_net(tmp_path / "net.onnx"), token_data(tmp_path / "data.npz")
    loaded = load_dataset(Data(source=str(data), inputs=["mask", "tokens"], classes=list("abcd")))
    model, _ = load_file(Model(source=str(path), output=1), loaded)
    assert model.graph.output[0].name == "scores"
    # The first output is what the second one is made from; without it nothing of the head is left.
    pooled = load_dataset(Data(source=str(data), inputs=["mask", "tokens"], classes=8))
    model, _ = load_file(Model(source=str(path), output="pooled"), pooled)
    assert {"Relu", "Gemm"}.isdisjoint(n.op_type for n in model.graph.node)
    assert not {t.name for t in model.graph.initializer} & {"hidden", "head", "bias"}


def test_a_single_input_of_tokens_needs_nothing_said(tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(0, 1, (12, 3)).astype(np.float32)
    nodes = [NODE("Gather", ["table", "ids"], ["seen"]), NODE("ReduceMean", ["seen"], ["scores"], axes=[1], keepdims=0)]
    graph = helper.make_graph(
        nodes,
        "words",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["N", 16])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(table, "table")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "net.onnx"
    )
    tokens, _, _ = tokens_and_masks(90, 3)
    right = table[tokens].mean(1).argmax(1)
    np.savez(tmp_path / "data.npz", x=tokens, y=right)
    data = load_dataset(Data(source=str(tmp_path / "data.npz"), classes=3))
    check_fits(str(tmp_path / "net.onnx"), data)
    model, _ = load_file(tmp_path / "net.onnx", data)
    save_onnx(model, tmp_path / "loaded.onnx")
    assert predict(tmp_path / "loaded.onnx", data.test, data.preprocessing, 3).right.all()
    # A token that the table does not have is told of before anything runs.
    np.savez(tmp_path / "data.npz", x=np.where(tokens == 11, 99, tokens), y=right)
    with pytest.raises(ModelError, match="does not run on 3 samples"):
        check_fits(str(tmp_path / "net.onnx"), load_dataset(Data(source=str(tmp_path / "data.npz"), classes=3)))


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        ({}, {"audio": "x", "rate": 4}, r"has 2 outputs \(scores, next\); say which counts: model.output: scores"),
        ({"output": "logits"}, {"audio": "x"}, r"no output 'logits' \(it gives scores, next\); correct model.output"),
        ({"output": 2}, {"audio": "x"}, "no output 2"),
        ({"output": 0, "state": ["h"]}, {"audio": "x"}, r"no input 'h' .*; correct model.state"),
        ({"state": {"state": "hn"}}, {"audio": "x"}, r"no output 'hn' .*; correct model.state"),
        ({"output": 0}, {"sound": "x", "rate": 4}, r"no input 'sound' \(it takes rate, audio, state\)"),
        ({"output": 0}, {"audio": "x", "rate": 4}, r"also takes state float \(1, N, 4\); name its array"),
        ({"output": 0, "state": ["state"]}, {"audio": "x", "rate": 0.5}, r"rate int64 \(\) cannot be 0.5"),
        ({"output": 0, "state": ["state"]}, {"audio": "x", "rate": [1, 2]}, r"rate int64 \(\) cannot be \[1, 2\]"),
        ({"output": 0}, None, "has 3 inputs: rate int64 .*; name the array of each"),
    ],
)
def test_what_a_spec_has_wrong_is_one_line(
    model: dict[str, object], inputs: dict[str, object] | None, message: str, tmp_path: Path
) -> None:
    path = recurrent_net(tmp_path / "net.onnx")
    said = {} if inputs is None else {"inputs": inputs}
    with pytest.raises(ModelError, match=message) as caught:
        check_fits(Model(source=str(path), **model), load_dataset(audio(tmp_path, **said)))
    assert "\n" not in str(caught.value)


def test_floats_and_integers_are_not_mixed_up(tmp_path: Path) -> None:
    path, data = token_net(tmp_path / "net.onnx"), token_data(tmp_path / "data.npz")
    model = Model(source=str(path), output="scores")
    with np.load(data) as file:
        arrays = {name: file[name] for name in file.files}
    np.savez(
        tmp_path / "whole.npz",
        **{n: a.astype(np.float32) for n, a in arrays.items() if n[0] != "y"},
        y_train=arrays["y_train"],
        y_test=arrays["y_test"],
    )
    check_fits(model, load_dataset(Data(source=str(tmp_path / "whole.npz"), inputs=["tokens", "mask"])))
    np.savez(tmp_path / "halves.npz", **{n: a + 0.5 if n[0] == "m" else a for n, a in arrays.items()})
    with pytest.raises(ModelError, match="input 'mask' takes int64, but the data's numbers are float32"):
        check_fits(model, load_dataset(Data(source=str(tmp_path / "halves.npz"), inputs=["tokens", "mask"])))


def test_feeds_are_in_the_graphs_types(tmp_path: Path) -> None:
    feeds = Feeds.of_session(onnxruntime.InferenceSession(recurrent_net(tmp_path / "net.onnx")))
    assert {t.name: (str(t.kind), t.axes) for t in feeds.taken} == {
        "rate": ("int64", ()),
        "audio": ("float32", (0, 0)),
        "state": ("float32", (1, 0, 4)),
    }
