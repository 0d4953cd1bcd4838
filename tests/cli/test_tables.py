"""How the command line prints tables and counts."""

from __future__ import annotations

import pytest

from engine.cli._tables import console, counted, print_table


def test_what_stands_in_brackets_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    print_table({"sweep [of mine]": "left"}, [("[test] run of a sweep",), ("a[/b]",)], "paretoscope[serve]")
    console().print("pip install paretoscope[gpu]")
    told = capsys.readouterr().out
    for text in ("sweep [of mine]", "[test] run", "a[/b]", "paretoscope[serve]", "paretoscope[gpu]"):
        assert text in told


def test_one_is_no_plural() -> None:
    assert [counted(n, "file") for n in (0, 1, 2, 12_345)] == ["0 files", "1 file", "2 files", "12,345 files"]
