"""A store that cannot be written, a full disk, a clock that is set back: one line each, nothing torn, nobody taken for dead or alive."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from engine.errors import NotFoundError, SetupError
from engine.spec.sweep import parse_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.trial import Trial
from tests.helpers.command_line import paretoscope, refused
from tests.helpers.ended import ended_process
from tests.helpers.places import ROOT

SWEEP = parse_sweep({"name": "Faults", "model": {"source": "resnet8"}})


def pending() -> list[Trial]:
    return [Trial(r.id, r) for r in SWEEP.all_recipes]


def test_a_store_that_may_only_be_read_is_refused_in_one_line(tmp_path: Path):
    # Opened as such: to root, who runs some tests, no file is read-only.
    store = Store(f"sqlite:///{tmp_path / 'store.db'}")
    store._engine.dispose()
    url = f"sqlite:///file:{tmp_path / 'store.db'}?mode=ro&uri=true"
    done = paretoscope("sweeps", home=tmp_path / "home", PARETOSCOPE_STORE=url)
    refused(done, "readonly database", "PARETOSCOPE_STORE")


def test_a_file_that_finds_no_room_is_told_of_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    artifacts, name = Artifacts(str(tmp_path / "own"), tmp_path / "cache"), "a" * 64 + ".npz"
    source = tmp_path / "made.npz"
    source.write_bytes(b"x" * 4096)

    def full(source: Path, target: Path) -> None:
        """As a copy from another disk that ends in the middle."""
        Path(target).write_bytes(Path(source).read_bytes()[:1000])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "move", full)
        with pytest.raises(
            SetupError, match=r"the artifact store .* cannot be used: OSError: .*No space left on device"
        ):
            artifacts.put(name, source)
    assert not artifacts.has(name)
    with pytest.raises(NotFoundError):
        artifacts.local(name)
    assert [p for p in (tmp_path / "own").rglob("*") if p.is_file()] == []
    # With room again the same file goes in.
    artifacts.put(name, source)
    assert artifacts.local(name).stat().st_size == 4096


def test_a_clock_that_is_set_back_makes_nobody_dead_or_alive(store: Store, monkeypatch: pytest.MonkeyPatch):
    store.begin(SWEEP, pending(), 9, 0)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 7200)
    assert store.beat(SWEEP.id, 3, 12.0, 4.0) is False
    row = store.sweep(SWEEP.id)
    # How long it took is the runner's to say, by a clock that cannot be set.
    assert (row.state, row.elapsed_s, row.remaining_s) == ("running", 12.0, 4.0)
    store._update(SWEEP.id, process=ended_process())
    monkeypatch.setattr(time, "time", lambda: now - 14400)
    assert store.sweep(SWEEP.id).state == "interrupted"
    assert store.begin(SWEEP, pending(), 9, 3) == 12.0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_tells_of_no_room_only_when_a_file_is_flushed_keeps_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
):
    artifacts, name, source = Artifacts(str(tmp_path / "own"), tmp_path / "cache"), "a" * 64 + ".npz", tmp_path / "made"
    source.write_bytes(b"x" * 4096)

    def fsync(_: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        with pytest.raises(SetupError, match=f"cannot be used: OSError: .*{os.strerror(number)}"):
            artifacts.put(name, source)
        assert not artifacts.has(name)
        assert [p for p in (tmp_path / "own").rglob("*") if p.is_file()] == []
        # One that cannot flush at all has nothing to tell.
        number = errno.EINVAL
        source.write_bytes(b"x" * 4096)
        artifacts.put(name, source)
    assert artifacts.local(name).stat().st_size == 4096


_LIMITED = """
import resource, sys
from pathlib import Path
from engine.errors import SetupError
from engine.store.artifacts import Artifacts

artifacts = Artifacts(sys.argv[1], Path(sys.argv[1] + "-cache"))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
try:
    artifacts.put("a" * 64 + ".npz", Path(sys.argv[2]))
except SetupError as error:
    print(error)
"""


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="no second disk at hand")
def test_a_copy_from_another_disk_that_ends_in_its_middle_leaves_nothing(tmp_path: Path):
    """A limit of the process ends a write where it is, as a full disk does."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as other:
        source = Path(other) / "made.npz"
        if source.parent.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip("no second disk at hand")
        source.write_bytes(b"x" * 300_000)
        done = subprocess.run(
            [sys.executable, "-c", _LIMITED, str(tmp_path / "own"), str(source)],
            env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
        )  # fmt: skip
    assert "cannot be used: OSError: [Errno 27] File too large" in done.stdout
    assert [p for p in (tmp_path / "own").rglob("*") if p.is_file()] == []
