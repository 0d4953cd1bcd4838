"""What the documents say of the house is what the tree is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.helpers.places import ROOT
from tests.test_architecture import GROUND, MAX_LINES, ROOMS

DOCUMENTS = (
    "CONTRIBUTING.md",
    "README.md",
    "data/README.md",
    "data/devices.yaml",
    "data/scenarios.yaml",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")),
)
MARKS = ("<!-- rooms: printed by tests/test_contributing.py -->\n", "<!-- /rooms -->\n")


def first_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]


def rooms() -> list[str]:
    """The rooms of the engine from the ground up, then the pages in the order in which the navigation lists them."""
    shell = (ROOT / "pages" / "shared" / "shell.py").read_text()
    pages = sorted(
        (ROOT / "pages").glob("*/__init__.py"),
        key=lambda p: shell.find(f'"{p.parent.name.replace("_", " ").capitalize()}"'),
    )
    files = [ROOT / "engine" / (f"{room}.py" if lone(room) else f"{room}/__init__.py") for room in ROOMS]
    return [
        f"| `{path.parent.relative_to(ROOT)}/{'' if path.name == '__init__.py' else path.name}` | {first_line(path)} |\n"
        for path in (*files, *pages)
    ]


def lone(room: str) -> bool:
    return (ROOT / "engine" / f"{room}.py").is_file()


def test_the_map_is_what_the_tree_is() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    begin, end = (text.index(mark) for mark in MARKS)
    wanted = "| room | what is there |\n|---|---|\n" + "".join(rooms())
    there = text[begin + len(MARKS[0]) : end]
    assert there == wanted, f"put this between the marks in CONTRIBUTING.md:\n{wanted}"
    assert len(ROOMS) - GROUND < len(rooms())


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_that_a_document_names_is_there(document: str) -> None:
    text = (ROOT / document).read_text()
    # Names in capitals stand for any.
    named = set(re.findall(r"(?<![\w/])((?:engine|pages|tests|data|docs)/[\w/-]*(?:\.\w+|/))(?![\w*])", text))
    assert not {
        name for name in named if not re.search(r"/(?:FAMILY|NAME|FILE)\b", name) and not (ROOT / name).exists()
    }


def test_docstrings_and_comments_name_files_that_are_there() -> None:
    missing = {}
    for path in (*(ROOT / "engine").rglob("*.py"), *(ROOT / "pages").rglob("*.py"), *(ROOT / "tests").rglob("*.py")):
        named = set(re.findall(r"\b((?:engine|pages|data|tests)/[\w/]+\.(?:py|md|yaml|csv|json))\b", path.read_text()))
        if gone := {name for name in named if not (ROOT / name).exists()}:
            missing[str(path.relative_to(ROOT))] = gone
    assert not missing


def test_the_documents_say_the_limit_that_the_tests_hold() -> None:
    assert f"{MAX_LINES} lines a file" in " ".join((ROOT / "CONTRIBUTING.md").read_text().split())
