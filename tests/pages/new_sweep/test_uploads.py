"""A network and data from the browser, and paths that a form may not name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import streamlit as st

from engine.errors import AccessError
from engine.spec.sweep import parse_sweep
from engine.store.store import Store
from engine.uploads import keep
from engine.uploads.bounds import Refused
from engine.uploads.folders import VARIABLE
from pages.shared import reach, runner
from tests.helpers.brightness import brightness_data, brightness_net
from tests.helpers.new_sweep import errors, press, turn_to, typed
from tests.helpers.pages import open_app, words
from tests.helpers.several_outputs import several_inputs, several_net
from tests.helpers.trial_factory import sweep_trials
from tests.helpers.uploads import picture, zipped
from tests.helpers.visitors import write

pytestmark = pytest.mark.usefixtures("home")


def upload(part: str, content: bytes, name: str, app=None):
    app = app or open_app("new_sweep")
    app.selectbox(key=f"form {part}").set_value("upload a file …").run()
    box = next(u for u in app.file_uploader if str(u.key).startswith(f"form {part} upload"))
    box.set_value((name, content, "application/octet-stream")).run()
    assert not app.exception
    return app


def test_a_network_and_data_are_uploaded_checked_and_can_be_started(tmp_path: Path) -> None:
    net = brightness_net(tmp_path / "net.onnx", scale=255.0).read_bytes()
    data = brightness_data(tmp_path / "data.npz").read_bytes()
    app = upload("model", net, "../../net.onnx")
    assert "2 nodes, takes pixels N×1×8×8" in words(app).replace("\\", "")
    app = upload("data", data, "data.npz", app)
    assert "x_train 400×1×8×8 uint8" in words(app).replace("\\", "")
    app.text_input(key="form data classes").set_value("dark, dim, light, bright").run()
    app.pills(key="form quantizations").set_value(["as it is", "int8"]).run()
    assert not errors(app)
    app = press(app, "Check model and data")
    assert any("right on 100.00 %" in m.value for m in app.markdown)
    assert "4 classes: dark, dim, light, bright" in words(app).replace("\\", "")
    assert "Start sweep" in [b.label for b in app.button]
    # The text says the same, and the form shows it again.
    text = turn_to(app, "As YAML").text_area(key="form text").value
    assert all(str(u.path) in text for u in keep.kept_uploads())
    app = turn_to(typed(text), "Form")
    assert app.selectbox(key="form model").value == app.selectbox(key="form data").value == "upload a file …"
    assert "classes: [dark, dim, light, bright]" in app.code[0].value


def test_the_form_asks_which_of_several_outputs_count(tmp_path: Path) -> None:
    several_net(tmp_path / "net.onnx")
    asked = [box.key for box in open_app("new_sweep").pills]
    assert "form quantizations" in asked
    assert "form model outputs" not in asked
    app = upload("model", (tmp_path / "net.onnx").read_bytes(), "net.onnx")
    np.savez(tmp_path / "x.npz", x=several_inputs(60, 0))
    app = upload("data", (tmp_path / "x.npz").read_bytes(), "x.npz", app)
    assert "The network gives 4 outputs; choose the one that counts, or several." in words(app)
    box = app.pills(key="form model outputs")
    assert [option.replace("\\", "") for option in box.options] == [
        "boxes (N×4)",
        "scores (N×5)",
        "kind (N)",
        "spare (N×6)",
    ]
    app = press(app, "Check model and data")
    assert any("say which counts: model.output: boxes" in line for line in errors(app))
    app.pills(key="form model outputs").set_value(["boxes", "spare"]).run()
    app.pills(key="form quantizations").set_value(["as it is", "int8"]).run()
    app = press(app, "Check model and data")
    assert not errors(app)
    assert "outputs: [boxes, spare]" in turn_to(app, "As YAML").text_area(key="form text").value
    app = turn_to(app, "Form")
    assert app.pills(key="form model outputs").value == ["boxes", "spare"]
    app.pills(key="form model outputs").set_value(["scores"]).run()
    assert "output: scores" in turn_to(app, "As YAML").text_area(key="form text").value


def test_a_hostile_file_is_one_line_and_the_form_goes_on() -> None:
    app = upload("data", zipped({"a.png": picture(), "../b.png": picture()}), "p.zip")
    said = errors(app)
    assert any("p.zip holds a file called '../b.png', which leads out of the folder" in e for e in said)
    assert any("there is no data yet" in e for e in said)
    assert keep.kept_uploads() == []


def test_only_an_editor_uploads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(role: str) -> None:
        raise AccessError(f"this takes the role {role}")

    monkeypatch.setattr("pages.shared.access.require", refuse)
    assert any("takes the role editor" in e for e in errors(upload("data", zipped({"a.png": picture()}), "p.zip")))
    assert keep.kept_uploads() == []


def test_a_path_is_for_ones_own_machine_or_a_listed_folder(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, data = brightness_net(tmp_path / "net.onnx"), brightness_data(tmp_path / "data.npz")
    found = parse_sweep({"model": {"source": str(net)}, "data": {"source": str(data)}})
    started: list[object] = []
    monkeypatch.setattr("pages.shared.runner.subprocess.Popen", lambda *a, **k: started.append(a))
    assert reach.folders() is None
    runner.start(found)
    assert len(started) == 1
    write(home)  # a login, so it is shared
    monkeypatch.setattr("pages.shared.access.require", lambda role: None)
    for act in (runner.start, runner.check):
        with pytest.raises(AccessError, match="is a path, and this server reads none"):
            act(found)
    assert len(started) == 1
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    runner.start(found)
    assert len(started) == 2


@pytest.mark.parametrize(
    ("option", "value"), [("server.address", "0.0.0.0"), ("server.allowedHosts", ["localhost", "pareto.example.org"])]
)
def test_a_server_that_others_reach_plans_no_path(
    option: str, value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = st.get_option
    monkeypatch.setattr(st, "get_option", lambda name: value if name == option else there(name))
    monkeypatch.setattr("pages.new_sweep.page.preview", lambda *a: pytest.fail("planned"))
    app = typed(f"name: x\nmodel: {{source: {brightness_net(tmp_path / 'n.onnx')}}}\n")
    assert any("this server reads none" in e for e in errors(app))
    app = typed("name: x\nmodel: {source: 'os:system'}\n")
    assert any("is Python code, which this server does not run" in e for e in errors(app))


def test_what_was_uploaded_before_is_used_again_or_removed(tmp_path: Path) -> None:
    app = upload("model", brightness_net(tmp_path / "net.onnx").read_bytes(), "net.onnx")
    app = upload("model", brightness_net(tmp_path / "other.onnx", scale=3.0).read_bytes(), "other.onnx", app)
    other, net = keep.kept_uploads()
    assert "other.onnx" in words(app).replace("\\", "")
    app.button(key=f"use {net.sha256}").click().run()
    assert app.session_state["form model upload"] == str(net.path)
    app.button(key=f"remove {net.sha256}").click().run()
    assert not app.exception
    assert [u.sha256 for u in keep.kept_uploads()] == [other.sha256]
    assert any("there is no network yet" in e for e in errors(app))
    # A sweep that names it keeps it, and the button is not to be pressed.
    sweep = parse_sweep({"model": {"source": str(other.path)}, "data": {"source": "x.npz"}})
    Store.open().begin(sweep, sweep_trials(), 1, 0)
    app = app.run()
    assert app.button(key=f"remove {other.sha256}").disabled
    with pytest.raises(Refused, match=f"other.onnx is what {sweep.id} measured on or with; delete it first"):
        keep.remove(Store.open(), other)
    assert [u.sha256 for u in keep.kept_uploads()] == [other.sha256]
