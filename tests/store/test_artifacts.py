"""Files by name: put once, found by their name, and the user's own where a sweep of theirs rests on them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from engine.errors import NotFoundError, SetupError
from engine.store import artifacts as module
from engine.store.artifacts import Artifacts
from tests.helpers.places import ROOT

NAME, OLD, OTHER = (digit * 64 + ".onnx" for digit in "abc")


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An example with one file, which had another name before."""
    folder = tmp_path / "example"
    (folder / "artifacts").mkdir(parents=True)
    (folder / "artifacts" / NAME).write_text("shipped")
    (folder / "renamed.json").write_text(json.dumps({OLD: NAME}))
    monkeypatch.setattr(module, "EXAMPLES", (tmp_path / "other example", folder))
    module._renamed.cache_clear()
    yield folder / "artifacts" / NAME
    module._renamed.cache_clear()


def made(tmp_path: Path, text: str = "made") -> Path:
    path = tmp_path / "new.onnx"
    path.write_text(text)
    return path


def test_what_is_put_is_found_and_the_source_is_gone(artifacts: Artifacts, tmp_path: Path):
    source = made(tmp_path)
    assert not artifacts.has(OTHER)
    artifacts.put(OTHER, source)
    assert artifacts.has(OTHER)
    assert artifacts.local(OTHER).read_text() == "made"
    assert not source.exists()


def test_a_name_keeps_its_first_file(artifacts: Artifacts, tmp_path: Path):
    artifacts.put(OTHER, made(tmp_path))
    artifacts.put(OTHER, made(tmp_path, "made again"))
    assert artifacts.local(OTHER).read_text() == "made"


WRITER = """
import sys
from pathlib import Path
from engine.store import artifacts
artifacts._flush = lambda path: print("writes", flush=True) or sys.stdin.read()
artifacts.Artifacts(sys.argv[1], Path(sys.argv[2])).put(sys.argv[3], Path(sys.argv[4]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks there")
def test_what_a_killed_process_was_writing_goes_with_the_next_file(tmp_path: Path):
    own, cache = tmp_path / "own", tmp_path / "cache"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(own), str(cache), OTHER, str(made(tmp_path))],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"writes\n"
    artifacts = Artifacts(str(own), cache)
    artifacts.put(NAME, made(tmp_path))
    assert len(list(own.rglob("*.part"))) == 1, "it still writes"
    writer.kill()
    writer.communicate()
    artifacts.put(OLD, made(tmp_path))
    assert sorted(p.name for p in own.rglob("*") if p.is_file()) == sorted(
        [NAME, OLD, f"{NAME}.sha256", f"{OLD}.sha256"]
    )


def test_a_file_that_a_disk_has_damaged_is_removed_and_made_again(tmp_path: Path):
    artifacts = Artifacts(str(tmp_path / "own"), tmp_path / "cache")
    artifacts.put(OTHER, made(tmp_path))
    path = artifacts.local(OTHER)
    path.write_text("torn")
    with pytest.raises(NotFoundError, match=r"was damaged .* run the sweep again"):
        artifacts.local(OTHER)
    assert not artifacts.has(OTHER)
    artifacts.put(OTHER, made(tmp_path))
    assert artifacts.local(OTHER).read_text() == "made"
    assert sorted(p.name for p in path.parent.iterdir()) == [OTHER, f"{OTHER}.sha256"]


def test_of_two_that_make_a_file_at_once_the_first_is_kept_with_its_own_sum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    artifacts = Artifacts(str(tmp_path / "own"), tmp_path / "cache")
    flush, others = module._flush, [made(tmp_path, "the other's")]

    def meanwhile(path: Path) -> None:
        flush(path)
        if others:
            artifacts.put(OTHER, others.pop().rename(tmp_path / "other.onnx"))

    (tmp_path / "mine.onnx").write_text("mine")
    monkeypatch.setattr(module, "_flush", meanwhile)
    artifacts.put(OTHER, tmp_path / "mine.onnx")
    assert artifacts.local(OTHER).read_text() == "the other's"


def test_a_file_without_a_sum_is_taken_as_it_is(tmp_path: Path):
    artifacts = Artifacts(str(tmp_path / "own"), tmp_path / "cache")
    artifacts.put(OTHER, made(tmp_path))
    artifacts.local(OTHER).with_name(f"{OTHER}.sha256").unlink()
    assert artifacts.local(OTHER).read_text() == "made"


def test_what_is_stored_is_listed_and_removed_with_its_copies_here(artifacts: Artifacts, tmp_path: Path):
    began = time.time() - 1
    for name in (OTHER, NAME):
        artifacts.put(name, made(tmp_path))
    artifacts.local(OTHER)
    # Something else that lies there is none of ours.
    (tmp_path / "own" / "aa").mkdir(parents=True, exist_ok=True)
    (tmp_path / "own" / "aa" / "notes.txt").write_text("mine")
    assert {(f.name, f.n_bytes) for f in artifacts.stored()} == {(OTHER, 4), (NAME, 4)}
    assert all(began <= f.changed_s <= time.time() + 1 for f in artifacts.stored())
    artifacts.remove([OTHER])
    artifacts.remove([OTHER])
    assert not artifacts.has(OTHER)
    assert not list(artifacts.cache.rglob("*.onnx"))
    assert [f.name for f in artifacts.stored()] == [NAME]
    assert (tmp_path / "own" / "aa" / "notes.txt").exists()
    with pytest.raises(NotFoundError):
        artifacts.remove(["../../paretoscope.db"])


def test_what_ships_is_there_and_stays_when_it_ships_no_more_once_a_sweep_rests_on_it(
    artifacts: Artifacts, shipped: Path, tmp_path: Path
):
    assert artifacts.local(NAME).read_text() == "shipped"
    artifacts.keep(NAME)
    artifacts.put(NAME, made(tmp_path))
    shipped.unlink()
    assert artifacts.has(NAME)
    assert artifacts.local(NAME).read_text() == "shipped"


def test_a_file_of_the_example_is_found_under_the_name_of_before(artifacts: Artifacts, shipped: Path):
    assert artifacts.has(OLD)
    artifacts.keep(OLD)
    shipped.unlink()
    assert artifacts.local(OLD).read_text() == "shipped"


def test_keeping_what_does_not_ship_does_nothing(artifacts: Artifacts, shipped: Path):
    artifacts.keep(OTHER)
    assert not artifacts.has(OTHER)
    with pytest.raises(NotFoundError, match="run the sweep again"):
        artifacts.local(OTHER)


@pytest.mark.parametrize("name", ["../secret.onnx", "a" * 64 + ".exe", ""])
def test_nothing_but_a_plain_name_passes(artifacts: Artifacts, name: str):
    for ask in (artifacts.has, artifacts.local, artifacts.keep):
        with pytest.raises(NotFoundError, match="not the name of an artifact"):
            ask(name)


class Bucket(MemoryFileSystem):
    """A store that breaks in a way of its own: `fault` names the call that fails, and how."""

    protocol = "bucket"
    cachable = False
    fault: tuple[str, object] = ("", None)

    def _may_fail(self, call: str) -> None:
        if call == self.fault[0]:
            if isinstance(self.fault[1], Exception):
                raise self.fault[1]
            time.sleep(float(self.fault[1]))

    def pipe_file(self, path, value, **options):
        self._may_fail("write")
        return super().pipe_file(path, value, **options)

    def cat_file(self, path, **options):
        self._may_fail("read")
        return super().cat_file(path, **options)

    def exists(self, path, **options):
        self._may_fail("exists")
        return super().exists(path, **options)


class EndpointError(Exception):
    """Clouds' clients have errors that are no OSError."""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> type[Bucket]:
    fsspec.register_implementation("bucket", Bucket, clobber=True)
    monkeypatch.setattr(Bucket, "fault", ("", None))
    return Bucket


def test_a_store_that_can_be_used_is_left_as_it_was(artifacts: Artifacts, tmp_path: Path):
    artifacts.check()
    assert not [p for p in (tmp_path / "own").rglob("*") if p.is_file()]
    assert not [p for p in MemoryFileSystem.store if tmp_path.name in p]
    artifacts.put(OTHER, made(tmp_path))
    assert artifacts.local(OTHER).read_text() == "made"


@pytest.mark.parametrize("call", ["write", "read"])
@pytest.mark.parametrize(
    ("how", "words"),
    [
        (EndpointError("could not\nconnect to the endpoint"), "EndpointError: could not connect to the endpoint"),
        (FileNotFoundError("The specified bucket does not exist"), "The specified bucket does not exist"),
        (2.0, "no answer within 0.1 s"),
    ],
)
def test_whatever_is_wrong_with_a_store_is_one_line(
    bucket: type[Bucket], tmp_path: Path, call: str, how: object, words: str
):
    bucket.fault = (call, how)
    with pytest.raises(SetupError, match=r"the artifact store bucket://b.* cannot be used") as caught:
        Artifacts("bucket://b/models", tmp_path / "cache").check(patience_s=0.1)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_store_that_goes_away_later_is_named_too(bucket: type[Bucket], tmp_path: Path):
    store = Artifacts("bucket://b/models", tmp_path / "cache")
    bucket.fault = ("exists", EndpointError("gone"))
    for ask in (lambda: store.has(OTHER), lambda: store.local(OTHER), lambda: store.put(OTHER, made(tmp_path))):
        with pytest.raises(
            SetupError, match=r"the artifact store bucket://b/models cannot be used: EndpointError: gone"
        ):
            ask()
