"""What of the code is part of a node's key, and what is not."""

from __future__ import annotations

import ast
from typing import get_args

import pytest

from engine.run import code_digest as module
from engine.run.code_digest import code_digests, code_files, tree_text
from engine.run.plan import Kind
from tests.helpers.other_code import other_code
from tests.helpers.places import ROOT

CODE = """
from __future__ import annotations
import numpy as np
from engine.onnx_graph import load_onnx

def double(x: int) -> int:
    {docstring}
    from math import ceil
    return ceil(np.rint(x)) * 2 + load_onnx(x)
"""


def test_modules_that_differ_in_import_lines_alone_have_one_text():
    before = CODE.format(docstring="pass")
    moved = before.replace("engine.onnx_graph", "engine.graph.graph")
    grouped = moved.replace("import numpy as np\n", "").replace("from math", "import numpy as np\n    from math")
    typed = (
        "from typing import TYPE_CHECKING\n" + moved + "\nif TYPE_CHECKING:\n    from engine.spec.steps import Step\n"
    )
    assert len({tree_text(code) for code in (before, moved, grouped, typed)}) == 1


def test_docstrings_comments_and_layout_do_not_count():
    assert len({tree_text(CODE.format(docstring=d)) for d in ('"""One."""', "'two'  # three")}) == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("* 2", "* 3"),
        # The text of the function is the same, what it calls is not.
        ("from math import ceil", "from math import floor as ceil"),
        ("import numpy as np", "import cupy as np"),
        ("import load_onnx", "import save_onnx as load_onnx"),
    ],
)
def test_whatever_changes_a_result_counts(old: str, new: str):
    code = CODE.format(docstring="pass")
    assert old in code
    assert tree_text(code) != tree_text(code.replace(old, new))


def test_an_alias_is_nothing_but_a_name():
    code = CODE.format(docstring="pass")
    assert tree_text(code) == tree_text(code.replace("import numpy as np", "import numpy").replace("np.", "numpy."))


def test_a_change_of_what_a_node_imports_changes_its_digest(monkeypatch: pytest.MonkeyPatch):
    """`quantize` reads `rounding.py` through three other modules; `prune` does not."""
    before = code_digests()
    with other_code(monkeypatch) as code:
        code.change("compress/quantization/rounding.py")
        differs = {kind for kind, digest in code_digests().items() if digest != before[kind]}
    assert {"quantize", "qat"} <= differs
    assert differs.isdisjoint({"prune", "finetune", "accuracy", "latency"})


def test_every_kind_of_node_has_its_code():
    assert set(get_args(Kind)) <= set(code_digests())


def test_what_the_worker_calls_for_a_node_is_in_its_digest():
    """Each function of the worker imports what does the work; a module that is missing in `_CODE` would leave stale results."""
    passes_on = ("errors.py", "spec/", "store/", "datasets/", "models/", "graph/", "measure/machine.py")
    tree = ast.parse((ROOT / "engine" / "run" / "worker.py").read_text())
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    for kind in get_args(Kind):
        waiting, seen, missing = [f"_{kind}"], set[str](), set[str]()
        while waiting:
            name = waiting.pop()
            if name in seen or name not in functions:
                continue
            seen.add(name)
            for part in ast.walk(functions[name]):
                if isinstance(part, ast.Name):
                    waiting.append(part.id)
                elif isinstance(part, ast.ImportFrom) and part.module and part.module.startswith("engine."):
                    inside = "/".join(part.module.split(".")[1:])
                    paths = [f"{inside}.py", *(f"{inside}/{a.name}.py" for a in part.names)]
                    there = {p for p in paths if (ROOT / "engine" / p).is_file()}
                    missing |= {p for p in there if not p.startswith(passes_on)} - code_files(kind)
        assert not missing, f"{kind}: {', '.join(sorted(missing))} is not part of its digest"


def test_fields_that_are_empty_do_not_count_since_versions_of_python_differ_in_them():
    tree = ast.parse("def f(x):\n    return [], None, {**x}, f'{x!r:>{x}}'\n\nclass A:\n    y: int = 1")
    text = module._dump(tree, {})
    for part in ast.walk(tree):
        if isinstance(part, ast.FunctionDef | ast.ClassDef):
            part.type_params = []  # as 3.12 has them
    assert module._dump(tree, {}) == text
    assert module._dump(ast.parse("def f(x):\n    return [1], None, {**x}"), {}) != module._dump(
        ast.parse("def f(x):\n    return [], None, {**x}"), {}
    )


def test_a_module_is_parsed_once_for_its_text_and_what_it_imports(monkeypatch: pytest.MonkeyPatch):
    parsed, parse = list[str](), module._parsed
    monkeypatch.setattr(module, "_parsed", lambda source: parsed.append(source) or parse(source))
    found = module._module.__wrapped__("run/plan.py")
    assert len(parsed) == 1
    assert found.text == module.tree_text(parsed[0])
    assert found.imports
