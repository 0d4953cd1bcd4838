"""Completion by Tab, as docs/command-line.md shows it: what the shells are given, and what they ask."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.places import ROOT


def asked(home: Path, arguments: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line from within bash, which is how it finds out what shell it is in."""
    return subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m engine.cli {arguments}; exit $?'],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PARETOSCOPE_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("typed", "found"), [("fro", "front"), ("front --obj", "--objectives")])
def test_commands_and_options_complete(tmp_path: Path, typed: str, found: str) -> None:
    words = f"paretoscope {typed}"
    done = asked(tmp_path, _PARETOSCOPE_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(words.count(" ")))
    assert done.stdout.split() == [found], done.stderr


def test_what_bash_is_given_calls_the_command(tmp_path: Path) -> None:
    done = asked(tmp_path, "--show-completion")
    assert done.returncode == 0, done.stderr
    assert "complete -o default -F _paretoscope_completion paretoscope" in done.stdout
    assert subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=False).returncode == 0


def test_it_is_put_into_the_start_file(tmp_path: Path) -> None:
    done = asked(tmp_path, "--install-completion", HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "paretoscope" in (tmp_path / ".bashrc").read_text()
