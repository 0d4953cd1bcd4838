"""The order of the rooms, and the size and documentation of every file. CONTRIBUTING has the map."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.helpers.places import ROOT

ENGINE = sorted((ROOT / "engine").rglob("*.py"))
PAGES = sorted([*(ROOT / "pages").rglob("*.py"), *ROOT.glob("app.py")])
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MAX_LINES = 350
"""Blank ones counted; CONTRIBUTING names the same number."""

ROOMS = (
    "errors", "paths", "metrics", "cores", "scratch",
    "spec", "graph", "datasets", "models", "trials", "store", "quality", "frontier", "compress", "measure", "devices", "search", "check",
    "run", "figures", "explain", "export", "elsewhere", "uploads", "serve", "interchange", "access", "cli", "api",
)  # fmt: skip
"""From the ground up: a room, a folder or a lone file of `engine/`, imports from those before it."""
GROUND = 4
NOT_FOR_PAGES = {"compress", "cli"}
HEAVY = ("torch", "torchvision", "torch_pruning")
COMPUTING = {*HEAVY, "onnxruntime", "distributed", "dask"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    at = ROOT.joinpath(*name.split("."))
    return at.with_suffix(".py").is_file() or (at / "__init__.py").is_file()


@cache
def imported(path: Path) -> tuple[tuple[str, str | None, str], ...]:
    """Every import of a file, wherever in it: (module, name out of it or None, what it is called here)."""
    found: list[tuple[str, str | None, str]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(a.name, None, a.asname or a.name) for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports name the whole way, `from engine.room.module import …`"
            for alias in node.names:
                deeper = f"{node.module}.{alias.name}"
                name = None if is_module(deeper) else alias.name
                found.append((str(node.module) if name else deeper, name, alias.asname or alias.name))
    return tuple(found)


def modules_of(path: Path) -> set[str]:
    return {module for module, _, _ in imported(path)}


def room(module: str) -> str:
    """`engine.models.zoo` -> `models`, `pages.trial.page` -> `trial`; `engine` itself -> ``."""
    return module.partition(".")[2].partition(".")[0]


def private_names(path: Path) -> Iterator[str]:
    """What a file takes out of other rooms although its name begins with an underscore."""
    own = (module_name(path).split(".")[0], room(module_name(path)))
    modules = {}
    for module, name, called in imported(path):
        if module.split(".")[0] not in {"engine", "pages"} or (module.split(".")[0], room(module)) == own:
            continue
        if any(part.startswith("_") and not part.startswith("__") for part in (*module.split("."), name or "")):
            yield f"{module}.{name or ''}"
        if name is None:
            modules[called] = module
    for node in ast.walk(ast.parse(path.read_text())):
        private = isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__")
        if private and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield f"{modules[node.value.id]}.{node.attr}"


def test_every_room_has_its_place_in_the_order() -> None:
    there = {p.stem if p.is_file() else p.name for p in (ROOT / "engine").iterdir() if not p.name.startswith("__")}
    assert there == set(ROOMS)


@pytest.mark.parametrize("path", ENGINE, ids=module_name)
def test_a_room_imports_from_those_below_it(path: Path) -> None:
    if module_name(path) == "engine":
        return
    below = ROOMS[: ROOMS.index(room(module_name(path))) + 1]
    wrong = {m for m in modules_of(path) if m.startswith("engine.") and room(m) not in below}
    assert not wrong, f"{module_name(path)} must not import {sorted(wrong)}"


@pytest.mark.parametrize("path", ENGINE, ids=module_name)
def test_the_engine_never_imports_the_browser_side(path: Path) -> None:
    assert not {m for m in modules_of(path) if m.split(".")[0] in {"streamlit", "pages", "app"}}


@pytest.mark.parametrize("path", PAGES, ids=module_name)
def test_a_page_uses_what_is_its_own_or_shared_and_computes_nothing(path: Path) -> None:
    used = modules_of(path)
    assert not {m for m in used if m.startswith("engine.") and room(m) in NOT_FOR_PAGES}
    assert not {m for m in used if m.split(".")[0] in COMPUTING}
    assert {room(m) for m in used if m.startswith("pages.")} <= {"shared", room(module_name(path))}


@pytest.mark.parametrize("path", [*ENGINE, *PAGES], ids=module_name)
def test_a_name_with_an_underscore_stays_in_its_room(path: Path) -> None:
    assert not list(private_names(path))


@pytest.mark.parametrize(
    "path",
    [p for p in (*ENGINE, *PAGES) if p.name == "__init__.py" and p.parent.name != "paretoscope"],
    ids=module_name,
)
def test_the_door_of_a_room_holds_one_line_and_no_names_of_others(path: Path) -> None:
    """What is imported through an `__init__` would escape `code_digest`, which follows modules; `paretoscope` is for others alone."""
    tree = ast.parse(path.read_text())
    assert "\n" not in (ast.get_docstring(tree) or "\n"), f"{path}: one line that says what the room is for"
    # The outermost one sets the environment that all others begin in.
    assert [i for i in imported(path) if path.parent.name != "engine" or i[0] != "os"] == []


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph = {
        module_name(p): {m for m in modules_of(p) if m.startswith(("engine.", "pages."))} for p in (*ENGINE, *PAGES)
    }
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for below in graph.get(module, ()):
                walk(below, (*path, module))
            done.add(module)

    for module in graph:
        walk(module, ())


def test_tests_stand_where_what_they_test_stands() -> None:
    places = {p.name for p in (ROOT / "tests").iterdir() if p.is_dir() and not p.name.startswith("__")}
    assert places <= {*ROOMS[GROUND:], "pages", "e2e", "helpers", "benchmarks"}
    pages = {p.name for p in (ROOT / "tests" / "pages").iterdir() if p.is_dir() and not p.name.startswith("__")}
    assert pages <= {p.parent.name for p in PAGES}
    shared = [
        p for p in TESTS if not p.name.startswith(("test_", "bench_")) and p.name not in {"conftest.py", "__init__.py"}
    ]
    assert {p.parent.name for p in shared} <= {"helpers", "e2e"}


def loaded_after(statements: str) -> set[str]:
    """The top-level modules of a fresh interpreter after it ran `statements`."""
    code = f"import sys\n{statements}\nprint(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_commands_that_only_read_start_without_torch() -> None:
    """Whole rooms, so that a module that comes later is held to it as well."""
    light = ("spec", "trials", "store", "frontier", "devices", "figures", "export", "cli")
    modules = [module_name(p) for p in ENGINE if room(module_name(p)) in light and "migrations" not in p.parts]
    modules += ["engine.run.planner", "engine.run.forecast", "engine.datasets.load", "engine.models.catalog"]
    assert loaded_after("\n".join(f"import {m}" for m in modules)).isdisjoint({*HEAVY, "streamlit"})


def test_the_command_line_starts_light() -> None:
    """`paretoscope front` has a budget of 1.5 s; what takes a third of that just to import stays out of its start."""
    heavy = {*HEAVY, "streamlit", "distributed", "onnxruntime", "plotly", "pandas"}
    assert loaded_after("import engine.cli.__main__").isdisjoint(heavy)


def test_torchvision_is_loaded_for_its_own_networks_alone() -> None:
    """It takes as long to load as torch (it brings torch's compiler), and every worker and every check would wait for it."""
    torch_rooms = [m for m in map(module_name, ENGINE) if room(m) in ("models", "compress", "quality", "run", "check")]
    own = {"engine.models.scaling"}
    assert "torchvision" not in loaded_after("\n".join(f"import {m}" for m in torch_rooms if m not in own))


def test_samplers_are_loaded_when_one_is_asked_and_torch_not_even_then() -> None:
    """A forecast is made with every click in the browser; the Gaussian process alone brings torch, into the runner, when it is used."""
    starting = "import engine.run.forecast, engine.search.search, engine.run.schedule"
    assert loaded_after(starting).isdisjoint({"optuna", "scipy", *HEAVY})
    assert loaded_after("import engine.search.samplers").isdisjoint({"scipy", *HEAVY})


def test_the_browser_process_never_loads_torch() -> None:
    """Everything that pages and app.py import, at the top or inside a function; running them is for the page tests."""
    wanted = sorted({m for p in PAGES for m in modules_of(p) if m.split(".")[0] not in {"pages", "app", "__future__"}})
    assert any(m.startswith("engine.") for m in wanted)
    assert loaded_after("\n".join(f"import {m}" for m in wanted)).isdisjoint(HEAVY)


@pytest.mark.parametrize("path", ENGINE, ids=module_name)
def test_everything_public_says_what_it_does(path: Path) -> None:
    tree = ast.parse(path.read_text())
    silent = [] if ast.get_docstring(tree) or not tree.body else ["the module itself"]
    for holder in (tree, *(n for n in tree.body if isinstance(n, ast.ClassDef) and not n.name.startswith("_"))):
        for node in holder.body:
            named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if named and not node.name.startswith("_") and not ast.get_docstring(node):
                silent.append(node.name)
    assert not silent, f"{module_name(path)}: no docstring on {', '.join(silent)}"


@pytest.mark.parametrize("path", [*ENGINE, *PAGES, *TESTS], ids=module_name)
def test_a_file_fits_in_a_head(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= MAX_LINES, f"{lines} lines; aim for 250, split by what changes together"
