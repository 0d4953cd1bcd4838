"""The structure that keeps pages guarded, as pages are added."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.helpers.places import ROOT

pytestmark = pytest.mark.usefixtures("home")
VIEWS = sorted((ROOT / "pages").glob("*/page.py"))
UI = sorted((ROOT / "pages").rglob("*.py"))
WRITERS = {"request_cancel", "begin", "beat", "save_trial", "end", "save_node", "delete_sweep", "Popen"}


def calls(node: ast.AST) -> list[str]:
    """The dotted names of what is called inside a node."""
    return [ast.unparse(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)]


@pytest.mark.parametrize("path", VIEWS, ids=lambda p: p.parent.name)
def test_every_page_guards_itself_before_it_does_anything(path: Path):
    harmless = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
    body = ast.parse(path.read_text()).body[1:]
    # A string that stands alone is the docstring of a constant.
    said = [n for n in body if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)]
    acting = [n for n in body if not isinstance(n, harmless) and n not in said]
    first = acting[0].body[0] if isinstance(acting[0], ast.With) else acting[0]
    assert calls(first)[:1] == ["shell.guard"], f"{path.name} must begin with shell.guard()"


@pytest.mark.parametrize("path", UI, ids=lambda p: p.stem)
def test_what_changes_things_asks_for_the_role_and_fragments_are_the_guarded_kind(path: Path):
    tree = ast.parse(path.read_text())
    for function in [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]:
        named = calls(function)
        if WRITERS & {n.rpartition(".")[2] for n in named}:
            assert "access.require" in named, f"{path.name}: {function.name} must call access.require"
    if path.name != "shell.py":
        assert "st.fragment" not in ast.unparse(tree), (
            f"{path.name}: shell.fragment guards itself, st.fragment does not"
        )
