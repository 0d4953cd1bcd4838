"""A process's temporary files are gone with it, at its end or, where it was killed, with the next process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from engine.scratch import _kernel, remove_left, scratch_folder
from tests.helpers.places import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such locks there")

OWNER = """
import sys, tempfile
from engine.scratch import own_temporary_files
own_temporary_files()
folder = tempfile.mkdtemp(prefix="paretoscope-")
open(folder + "/half", "w").close()
print(folder, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def owner(place: Path) -> tuple[subprocess.Popen[str], Path]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(place)}
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_a_folder_is_gone_with_its_block(place: Path):
    with scratch_folder() as folder:
        (folder / "deep").mkdir()
        assert list(place.iterdir()) == [folder]
    assert list(place.iterdir()) == []


def test_a_living_process_keeps_its_files_and_those_of_a_killed_one_go(place: Path):
    process, inside = owner(place)
    try:
        remove_left(place)
        assert (inside / "half").exists()
    finally:
        process.kill()
        process.communicate()
    assert (inside / "half").exists()
    with scratch_folder() as mine:
        assert list(place.iterdir()) == [mine]


def test_a_process_that_ends_takes_its_files_along(place: Path):
    process, inside = owner(place)
    process.communicate()
    assert process.returncode == 0
    assert not inside.parent.exists()
    assert list(place.iterdir()) == []


def test_what_is_not_locked_yet_and_what_is_not_ours_stays(place: Path):
    coming, other = place / f".paretoscope-scratch-{_kernel()}-abc", place / "paretoscope-postgres-x"
    link = place / "paretoscope-scratch-link"
    coming.mkdir()
    other.mkdir()
    link.symlink_to(other)
    remove_left(place)
    assert coming.exists()
    assert other.exists()
    assert link.is_symlink()
    long_ago = time.time() - 2 * 3600
    os.utime(coming, (long_ago, long_ago))
    remove_left(place)
    assert not coming.exists()


@pytest.mark.parametrize("name", ["paretoscope-scratch-0badcafe-abc", "paretoscope-scratch-ofbefore"])
def test_a_folder_of_another_host_is_left_for_a_day_since_its_lock_may_not_be_seen_here(place: Path, name: str):
    theirs = place / name
    theirs.mkdir()
    (theirs / "half.part").touch()
    remove_left(place)
    assert (theirs / "half.part").exists()
    long_ago = time.time() - 2 * 86_400
    os.utime(theirs, (long_ago, long_ago))
    remove_left(place)
    assert not theirs.exists()
