"""How the command line prints tables, counts and its progress."""

from __future__ import annotations

import pytest

from engine.cli._tables import console, counted, print_table
from engine.cli.run import run_bar
from engine.run.outcome import Progress


def test_what_stands_in_brackets_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_table({"sweep [of mine]": "left"}, [("[test] run of a sweep",), ("a[/b]",)], "paretoscope[serve]")
    console().print("pip install paretoscope[gpu]")
    told = capsys.readouterr().out
    for text in ("sweep [of mine]", "[test] run", "a[/b]", "paretoscope[serve]", "paretoscope[gpu]"):
        assert text in told


def test_one_is_no_plural() -> None:
    assert [counted(n, "file") for n in (0, 1, 2, 12_345)] == ["0 files", "1 file", "2 files", "12,345 files"]


def test_a_run_is_called_by_its_whole_name(capsys: pytest.CaptureFixture[str]) -> None:
    with run_bar(False, "net [v2]") as show:
        show(Progress(1, 2, 1, 1.0, None, "int8 [x]"))
    told = capsys.readouterr().err
    assert "net [v2]" in told
    assert "[x]" in told
