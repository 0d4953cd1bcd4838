"""A home comes back as it was, whoever wrote to it meanwhile, and nothing else is ever unpacked."""

import hashlib
import json
import threading
import zipfile
from pathlib import Path

import pytest

from engine.errors import InputError, SetupError
from engine.spec.sweep import parse_sweep
from engine.store import backup as module
from engine.store.artifacts import Artifacts
from engine.store.backup import back_up, restore
from engine.store.rows import NodeRow
from engine.store.store import Store
from engine.trials.trial import Trial

SWEEP = parse_sweep({"name": "kept", "model": {"source": "resnet8"}})
NAME = "a" * 64 + ".onnx"


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a sweep, a file, an upload, a spec, rules and a secret, and things that are being written."""
    home = tmp_path / "home"
    for name in ("PARETOSCOPE_STORE", "PARETOSCOPE_ARTIFACTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PARETOSCOPE_HOME", str(home))
    store = Store.open()
    store.begin(SWEEP, [Trial(r.id, r) for r in SWEEP.all_recipes], 9, 2)
    store.end(SWEEP.id, "done")
    (tmp_path / "new.onnx").write_bytes(b"weights")
    Artifacts.open().put(NAME, tmp_path / "new.onnx")
    for name in ("uploads/" + "b" * 64 + "/net.onnx", "specs/kept.yaml", "access.toml", "datasets/own.npz"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(name)
    for name in ("secrets.toml", "logs/kept.log", "cache/big.npy", "artifacts/aa/.x.part", "specs/other.part"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("stays here")
    return home


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path: Path, content: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def test_a_home_comes_back_as_it_was(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    done = back_up(tmp_path / "home.zip")
    assert done.files == 6
    back = restore(tmp_path / "home.zip", tmp_path / "new")
    assert back.files == 6
    there = {p.relative_to(tmp_path / "new").as_posix() for p in (tmp_path / "new").rglob("*") if p.is_file()}
    upload = "uploads/" + "b" * 64 + "/net.onnx"
    assert there == {
        "paretoscope.db", f"artifacts/aa/{NAME}", f"artifacts/aa/{NAME}.sha256", upload,
        "specs/kept.yaml", "access.toml", "datasets/own.npz",
    }  # fmt: skip
    before = Store.open().trials(SWEEP.id)
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path / "new"))
    assert Store.open().trials(SWEEP.id) == before != []
    assert Artifacts.open().local(NAME).read_bytes() == b"weights"
    back_up(tmp_path / "small.zip", datasets=False)
    assert "datasets/own.npz" not in members(tmp_path / "small.zip")
    assert not list(tmp_path.glob(".*"))


def test_it_is_of_one_moment_while_others_write(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Every node that the copy names has the file that was there before it was recorded."""
    store, artifacts, enough = Store.open(), Artifacts.open(), threading.Event()
    began = threading.Event()

    def write() -> None:
        n = 0
        while not enough.is_set():
            key = hashlib.sha256(str(n).encode()).hexdigest()
            source = tmp_path / f"{n}.onnx"
            source.write_text(key)
            artifacts.put(f"{key}.onnx", source)
            store.save_node(NodeRow(key, "export", 1.0, 1.0, {}))
            n += 1
            if n == 20:
                began.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert began.wait(30)
        back_up(tmp_path / "home.zip")
    finally:
        enough.set()
        writer.join()
    restore(tmp_path / "home.zip", tmp_path / "new")
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path / "new"))
    copy, files = Store.open(), Artifacts.open()
    keys = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(5000)]
    recorded = copy.nodes(keys)
    assert len(recorded) >= 20
    assert all(files.local(f"{key}.onnx").read_text() == key for key in recorded)


def damaged(content: dict[str, bytes], what: str) -> dict[str, bytes]:
    manifest = json.loads(content["manifest.json"])
    if what == "changed":
        return content | {"access.toml": b"everybody = 'admin'"}
    if what == "missing":
        return {n: d for n, d in content.items() if n != "access.toml"}
    if what == "more":
        return content | {"artifacts/bb/more.onnx": b"x"}
    if what == "newer":
        return content | {"manifest.json": json.dumps(manifest | {"format": 99}).encode()}
    if what == "foreign":
        return {"hello.txt": b"hello"}
    stray = {"../outside": b"x", "/etc/outside": b"x", "secrets.toml": b"x", "artifacts/../../outside": b"x"}[what]
    manifest["sha256"][what] = hashlib.sha256(stray).hexdigest()
    return content | {what: stray, "manifest.json": json.dumps(manifest).encode()}


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("changed", "access.toml has another SHA-256"),
        ("missing", "not those that its manifest.json lists"),
        ("more", "not those that its manifest.json lists"),
        ("newer", "of format 99"),
        ("foreign", "is not a backup of Paretoscope"),
        ("../outside", "which no backup of Paretoscope does"),
        ("/etc/outside", "which no backup of Paretoscope does"),
        ("artifacts/../../outside", "which no backup of Paretoscope does"),
        ("secrets.toml", "which no backup of Paretoscope does"),
    ],
)
def test_what_is_damaged_or_foreign_is_named_and_leaves_nothing(filled: Path, tmp_path: Path, what: str, said: str):
    back_up(tmp_path / "home.zip")
    bad = written(tmp_path / "bad.zip", damaged(members(tmp_path / "home.zip"), what))
    with pytest.raises(InputError, match=said):
        restore(bad, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".*"))
    assert not (tmp_path / "outside").exists()


def test_a_file_that_is_cut_off_or_missing_is_one_line(filled: Path, tmp_path: Path):
    back_up(tmp_path / "home.zip")
    cut = tmp_path / "cut.zip"
    cut.write_bytes((tmp_path / "home.zip").read_bytes()[:-100])
    with pytest.raises(InputError, match=r"cut\.zip is not a readable backup"):
        restore(cut, tmp_path / "new")
    with pytest.raises(InputError, match="does not exist"):
        restore(tmp_path / "none.zip", tmp_path / "new")


def test_a_home_that_holds_something_is_left_alone(filled: Path, tmp_path: Path):
    back_up(tmp_path / "home.zip")
    with pytest.raises(SetupError, match="holds something already"):
        restore(tmp_path / "home.zip", filled)
    (tmp_path / "empty").mkdir()
    assert restore(tmp_path / "home.zip", tmp_path / "empty").files == 6


def test_what_cannot_be_backed_up_is_one_line(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(module, "_added", full)
        with pytest.raises(InputError, match="cannot be written: No space left on device"):
            back_up(tmp_path / "home.zip")
    assert not list(tmp_path.glob("*.zip"))
    assert not list(tmp_path.glob(".*"))
    monkeypatch.setenv("PARETOSCOPE_STORE", "postgresql://user:secret@db/ps")
    with pytest.raises(SetupError, match="pg_dump") as error:
        back_up(tmp_path / "home.zip")
    assert "secret" not in str(error.value)
    monkeypatch.delenv("PARETOSCOPE_STORE")
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path / "nowhere"))
    with pytest.raises(SetupError, match="nothing has been run there"):
        back_up(tmp_path / "home.zip")
