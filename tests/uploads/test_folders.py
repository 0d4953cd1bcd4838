"""Which paths, and whose code, a sweep may name that is started in a browser."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.errors import AccessError, SetupError
from engine.paths import uploads_path
from engine.spec.sweep import Sweep, parse_sweep
from engine.uploads.folders import VARIABLE, check_places, listed, open_to_browsers
from tests.helpers.brightness import brightness_net
from tests.helpers.command_line import paretoscope, refused
from tests.helpers.uploads import npz, send

pytestmark = pytest.mark.usefixtures("home")
DISTIL = {"student": "ds_cnn", "teacher": "baseline"}


def sweep(**parts: Any) -> Sweep:
    return parse_sweep({"model": {"source": "resnet8"}} | parts)


def refusal(found: Sweep, *folders: Path) -> str:
    with pytest.raises(AccessError) as raised:
        check_places(found, tuple(f.resolve() for f in folders))
    return str(raised.value)


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"model": {"source": "torchvision:mobilenet_v2"}, "data": {"source": "medmnist:pathmnist"}},
        {"model": {"source": "timm:mobilenetv3_small_100", "options": {"drop_rate": 0.1, "features_only": False}}},
        {"name": "a/b.py:c", "data": {"source": "fashion_mnist", "classes": [f"x/{n}" for n in range(10)]}},
        {"space": {"distill": [None, DISTIL, DISTIL | {"student": "self", "teacher": "resnet20"}]}},
    ],
)
def test_names_are_no_paths(parts: dict[str, Any]) -> None:
    check_places(sweep(**parts), ())


@pytest.mark.parametrize(
    "parts",
    [
        {"model": {"source": "/secret/net.onnx"}},
        {"model": {"source": "net.onnx"}},
        {"model": {"source": "/secret/net.pt2"}},
        {"model": {"source": "resnet8", "weights": "/secret/w.pt"}},
        {"model": {"source": "resnet8", "weights": "w"}},
        {"data": {"source": "/secret"}},
        {"data": {"source": "secret"}},
        {"data": {"source": "torchvision:../../secret.npz"}},
        {"data": {"source": "medmnist:x/../../secret.csv"}},
        {"data": {"source": "x.npy", "labels": "y.npy"}},
        {"space": {"distill": DISTIL | {"teacher": "/secret/teacher.onnx"}}},
        {"space": {"distill": [None, DISTIL | {"teacher": ["baseline", "/secret/teacher.onnx"]}]}},
        {"recipes": [[{"step": "distill", "student": "ds_cnn", "teacher": "/secret/t.safetensors"}]]},
    ],
)
def test_paths_are_refused_wherever_a_spec_names_one_and_nothing_is_looked_at(
    parts: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = sweep(**parts)
    monkeypatch.setattr(Path, "open", lambda *a, **k: pytest.fail("opened"))
    if parts.get("recipes"):  # a file of weights alone is no source at all, which is told where it is read as one
        check_places(found, ())
        return
    assert "`paretoscope app --folder PATH`" in refusal(found)


@pytest.mark.parametrize(
    "parts",
    [
        {"model": {"source": "/secret/net.py:build"}},
        {"model": {"source": "os:system"}},
        {"model": {"source": "torchvision.models:vit_b_16"}},
        {"data": {"source": "/secret/own.py:load"}},
        {"space": {"distill": DISTIL | {"teacher": "/secret/net.py:build"}}},
        {"space": {"distill": DISTIL | {"student": "/secret/net.py:build"}}},
    ],
)
def test_code_is_refused_wherever_a_spec_names_it(parts: dict[str, Any], tmp_path: Path) -> None:
    assert "is Python code, which this server does not run" in refusal(sweep(**parts))
    assert f"which this server runs from {tmp_path.resolve()} alone" in refusal(sweep(**parts), tmp_path)


def test_what_lies_in_a_listed_folder_is_read_and_run(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("def build(): ...")
    folder = (tmp_path.resolve(),)
    for source in ("net.py:build", "deep/net.onnx"):
        check_places(sweep(model={"source": f"{tmp_path}/{source}"}, data={"source": f"{tmp_path}/x.npz"}), folder)


def test_ways_out_of_a_listed_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    for path in (inside, outside):
        path.mkdir()
    brightness_net(outside / "net.onnx")
    (inside / "link.onnx").symlink_to(outside / "net.onnx")
    (inside / "linked").symlink_to(outside)
    for path in ("link.onnx", "linked/net.onnx", "../out/net.onnx", "../in-other/net.onnx"):
        assert "lies outside of the folders" in refusal(sweep(model={"source": f"{inside}/{path}"}), inside)
    (inside / "net.py").symlink_to(outside / "net.py")
    assert "is Python code" in refusal(sweep(model={"source": f"{inside}/net.py:build"}), inside)


def test_uploads_are_read_but_never_run_even_within_a_listed_folder(home: Path) -> None:
    upload = send(npz(x=np.zeros((4, 4))))
    check_places(sweep(data={"source": str(upload.path)}), ())
    evil = upload.path.with_name("net.py")
    evil.write_text("raise SystemExit")
    assert "is Python code" in refusal(sweep(model={"source": f"{evil}:build"}), home)
    for path in (upload.path.with_name("upload.json"), uploads_path() / ".coming-x" / "file", home / "secrets.toml"):
        assert "is a path" in refusal(sweep(data={"source": str(path)}))
    evil.unlink()
    upload.path.unlink()
    upload.path.symlink_to("/etc/passwd")
    assert "is a path" in refusal(sweep(data={"source": str(upload.path)}))


@pytest.mark.parametrize(
    "options",
    [{"checkpoint_path": "/secret/w.pth"}, {"pretrained": True}, {"pretrained_cfg": {"url": "http://evil.net"}}],
)
def test_options_that_fetch_weights_are_refused(options: dict[str, Any]) -> None:
    assert "is not a number" in refusal(sweep(model={"source": "timm:resnet18", "options": options}))


def test_a_key_that_comes_later_is_held_to_it_too() -> None:
    class Later(Sweep):
        later: Any = None

    for said in ("/secret/own.py:score", "pkg.mod:score", {"source": "/secret/m.onnx"}, {"source": "own.py:score"}):
        found = Later(model={"source": "resnet8"}, later=said)
        assert "later" in refusal(found)
    check_places(Later(model={"source": "resnet8"}, later={"source": "mae"}), ())


def test_metrics_and_losses_of_a_users_own_are_python() -> None:
    mine = {"source": "/secret/own.py:score", "higher_is_better": True}
    assert "metric" in refusal(Sweep(model={"source": "resnet8"}, metric=mine))
    assert "loss" in refusal(Sweep(model={"source": "resnet8"}, loss="/secret/own.py:loss"))
    check_places(Sweep(model={"source": "resnet8"}, metric="macro_f1", loss="imitation"), ())


def test_where_a_browser_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert open_to_browsers(is_own_machine=True) is None
    assert open_to_browsers(is_own_machine=False) == ()
    (tmp_path / "b").mkdir()
    monkeypatch.setenv(VARIABLE, os.pathsep.join([str(tmp_path), str(tmp_path / "b")]))
    assert open_to_browsers(is_own_machine=True) == listed() == (tmp_path.resolve(), tmp_path.resolve() / "b")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(SetupError, match="gone"):
        listed()


def test_a_folder_that_is_none_is_told_before_the_dashboard_opens(home: Path) -> None:
    refused(paretoscope("app", "--headless", "--folder", "/no/such", home=home), "/no/such", "folder")
