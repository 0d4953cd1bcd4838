"""Uploaded files are kept by their content, found again, counted and removed."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from engine.datasets.load import load_dataset
from engine.errors import SetupError
from engine.models import onnx_file
from engine.paths import uploads_path
from engine.spec.sections import Data
from engine.spec.sweep import parse_sweep
from engine.store.store import Store
from engine.uploads import bounds, keep
from tests.helpers.brightness import brightness_data, brightness_net
from tests.helpers.command_line import paretoscope
from tests.helpers.trial_factory import sweep_trials
from tests.helpers.uploads import left_behind, npz, picture, refusal, send, zipped

pytestmark = pytest.mark.usefixtures("home")


def age(upload: keep.Upload) -> None:
    about = uploads_path() / upload.sha256 / "upload.json"
    os.utime(about, (time.time() - 7200, time.time() - 7200))


def test_the_same_bytes_are_the_same_path_whatever_they_are_called(tmp_path: Path) -> None:
    content = brightness_data(tmp_path / "d.npz").read_bytes()
    one, other = send(content, name="a.npz"), send(content, name="C:\\x\\b.txt")
    assert one.path == other.path == uploads_path() / one.sha256 / "data.npz"
    assert one.path.read_bytes() == content
    assert len(left_behind()) == 1
    assert keep.upload_at(str(one.path)) == one


def test_a_network_is_planned_without_being_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = brightness_net(tmp_path / "net.onnx")
    upload = send(net.read_bytes(), "model")
    assert upload.facts["inputs"] == {"pixels": "N×1×8×8"}
    there = onnx_file.read_checked(net)
    monkeypatch.setattr(onnx_file, "read_file", lambda path: pytest.fail("read"))
    monkeypatch.setattr("onnx.load_model", lambda *a, **k: pytest.fail("read"))
    assert onnx_file.read_checked(upload.path) == there
    assert onnx_file.external_files(upload.path) == []


@pytest.mark.parametrize("prefix", ["", "photos/", "photos/2024/"])
def test_pictures_in_class_folders_are_read_as_such_whatever_folder_was_zipped(prefix: str) -> None:
    members = {f"{prefix}{c}/{n}.png": picture(n + 50 * (c == "dog")) for c in ("cat", "dog") for n in range(12)}
    litter = {f"{prefix}.DS_Store": b"x", "__MACOSX/._1.png": b"x", f"{prefix}cat/Thumbs.db": b"x"}
    upload = send(zipped(members | litter))
    assert upload.facts == {"pictures": 24, "folders": {"cat": 12, "dog": 12}, "folder_count": 2}
    data = load_dataset(Data(source=str(upload.path)))
    assert data.classes == ("cat", "dog")
    assert len(data.train) + len(data.calibration) + len(data.validation) + len(data.test) == 24


def test_pictures_without_folders_have_no_labels() -> None:
    upload = send(zipped({f"mine/{n}.jpg": picture(n, format="JPEG") for n in range(12)}))
    assert upload.facts["folder_count"] == 0
    assert not load_dataset(Data(source=str(upload.path), classes=3)).test.is_labelled


def test_what_a_file_is_its_content_says() -> None:
    assert "is none of" in refusal(b"\x08\x08nothing", "model", "net.onnx")
    assert send(npz(x=np.zeros((4, 3), np.float32)), name="pictures.zip").kind == "npz"


def test_a_file_of_the_other_kind_is_not_taken(tmp_path: Path) -> None:
    net = brightness_net(tmp_path / "net.onnx").read_bytes()
    assert "an .npz or a zip of pictures is asked for here" in refusal(net, "data")
    assert "an ONNX file is asked for here" in refusal(npz(x=np.zeros(3)), "model")


def test_more_than_is_taken_is_told_before_it_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "MOST_BYTES", 1000)
    monkeypatch.setattr(keep, "run_limited", lambda *a, **k: pytest.fail("looked at"))
    assert "larger than 1 kB" in refusal(bytes(1001))


def test_all_uploads_together_have_a_bound_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    send(npz(x=np.zeros(1000)))
    monkeypatch.setenv("PARETOSCOPE_UPLOADS_GB", "0.00001")
    with pytest.raises(bounds.Refused, match=r"8.* kB of 10 kB here; .*--remove-unused.*PARETOSCOPE_UPLOADS_GB"):
        send(npz(x=np.ones(1000)))
    assert len(left_behind()) == 1
    monkeypatch.setenv("PARETOSCOPE_UPLOADS_GB", "much")
    with pytest.raises(SetupError, match="'much'"):
        send(npz(x=np.ones(1000)))


def test_what_no_sweep_names_is_removed_once_it_is_an_hour_old(home: Path) -> None:
    named, unnamed, young = (send(npz(x=np.full(9, n))) for n in range(3))
    sweep = parse_sweep({"model": {"source": "resnet8"}, "data": {"source": str(named.path)}})
    store = Store.open()
    store.begin(sweep, sweep_trials(), 1, 0)
    age(named)
    age(unnamed)
    told = json.loads(paretoscope("uploads", "--remove-unused", "--json", home=home).stdout)
    assert [u["sha256"] for u in told["removed"]] == [unnamed.sha256]
    assert {u["sha256"]: u["sweeps"] for u in told["uploads"]} == {named.sha256: [sweep.id], young.sha256: []}
    assert {p.name for p in left_behind()} == {named.sha256, young.sha256}


def test_what_a_killed_server_left_goes_with_the_next_file(home: Path) -> None:
    old = uploads_path() / ".coming-old"
    old.mkdir(parents=True)
    (old / "file").write_bytes(b"half")
    os.utime(old, (time.time() - 7200, time.time() - 7200))
    upload = send(npz(x=np.zeros(9)))
    assert [p.name for p in left_behind()] == [upload.sha256]


def test_a_visit_that_ends_in_the_middle_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(BaseException):
        """As Streamlit ends a script."""

    def leave(share: float) -> None:
        raise Gone

    import io

    content = zipped({f"{n}.png": picture(n) for n in range(20)})
    with pytest.raises(Gone):
        keep.receive(io.BytesIO(content), "p.zip", "data", leave)
    assert left_behind() == []
    shutil.rmtree(uploads_path())
