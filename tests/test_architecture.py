"""The import rules of the design, and the size and documentation of every module."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGINE = sorted((ROOT / "engine").rglob("*.py"))
PAGES = sorted([*(ROOT / "pages").rglob("*.py"), *ROOT.glob("app.py")])
MAX_LINES = 350

# A unit (a module of engine, or one of its packages) imports only from its own layer or the layers below.
LAYERS = (
    {
        "access",
        "demand",
        "errors",
        "evidence",
        "extremes",
        "frozen",
        "runtime",
        "npz",
        "paths",
        "profile_template",
        "spec",
        "statistics",
        "steps",
        "record",
        "words",
        "zips",
        "verify_template",
    },
    {
        "certainty",
        "columns",
        "cost",
        "datasets",
        "diagnose",
        "frontier",
        "models",
        "named_datasets",
        "onnx_demand",
        "onnx_graph",
        "onnx_tidy",
        "broken",
        "predictions",
        "quality",
        "records",
        "selection",
        "thinning",
    },
    {"compress", "devices", "measure"},
    {"code_digest", "forecast", "plan", "samplers", "search", "search_space", "turns"},
    {"confirm", "demands", "fleet", "insight", "projected", "trials", "worker"},
    {"run"},
)
# These serve several layers; each may import what is named here and nothing else of engine.
SIDE = {
    "artifacts": {"errors", "paths", "spec", "steps", "record"},
    "store": {"errors", "migrations", "notes", "schema", "paths", "spec", "steps", "record"},
    "migrations": {"errors"},
    "notes": {"errors"},
    "schema": set(),
    "cluster": {"errors", "measure", "paths", "spec", "steps", "record"},
    "card": {"datasets", "record", "spec", "steps", "words"},
    "bundle": {
        "words",
        "artifacts",
        "card",
        "datasets",
        "errors",
        "record",
        "spec",
        "steps",
        "store",
        "verify_template",
        "zips",
    },
    "choice": {"certainty", "columns", "errors", "frontier", "record", "selection", "spec", "steps", "words"},
    "figure_style": set(),
    "device_figures": {"columns", "devices", "figures", "record", "selection", "words"},
    "heat_map": {"columns", "figures", "record", "selection", "words"},
    "broken_figures": {"broken", "figures"},
    "lineage": {"choice", "columns", "figures", "record", "steps", "words"},
    "figures": {"choice", "errors", "frontier_info", "record", "spec", "steps", "words"},
    "frontier_info": {
        "certainty",
        "choice",
        "columns",
        "evidence",
        "frontier",
        "record",
        "selection",
        "thinning",
        "words",
    },
    "compare": {"artifacts", "errors", "evidence", "onnx_graph", "record", "spec", "statistics", "steps", "words"},
    "compare_figures": {"record", "words"},
    "pictures": {"errors"},
    "playground": {"datasets", "errors", "measure"},
    "figures_many": {"choice", "columns", "figures", "frontier_info", "frontier", "record", "selection", "words"},
    "figures_many_drawn": {"figures", "frontier_info", "figures_many", "record", "words"},
    "figures_matrix": {"figures", "frontier_info", "figures_many", "figures_many_drawn", "record"},
    "figures_progress": {"choice", "columns", "figures", "frontier_info", "frontier", "record", "selection", "words"},
    "figures_selected": set(),
    "report": {
        "choice",
        "errors",
        "figures",
        "frontier_info",
        "record",
        "selection",
        "spec",
        "steps",
        "store",
        "words",
        "zips",
    },
    "table_export": {"choice", "columns", "record", "words"},
    "thumbnail": {"columns", "frontier", "record", "selection", "words"},
    "trial_figures": {"figures", "record", "statistics", "steps", "words"},
}
TOP = {"cli", "cli_datasets", "cli_devices", "cli_options", "cli_sweeps", "doctor", "tables", "tables_devices"}
# Beside the bare facts (errors, paths), what the browser's process may use.
FOR_PAGES = {
    "errors", "paths", "spec", "steps", "record", "words", "plan", "forecast", "store", "artifacts", "frontier", "choice", "selection",
    "access", "broken", "broken_figures", "certainty", "figures", "heat_map", "lineage", "predictions", "device_figures",
    "cost", "demand", "demands", "projected", "fleet", "diagnose", "bundle", "devices", "datasets", "insight", "trial_figures",
    "named_datasets", "notes", "models.catalog", "doctor", "compare", "compare_figures", "pictures", "playground", "report", "statistics",
    "table_export", "thumbnail", "figure_style", "figures_many", "figures_many_drawn", "figures_matrix",
    "figures_progress", "figures_selected", "columns", "frontier_info", "records",
}  # fmt: skip
HEAVY = ("torch", "torchvision", "torch_pruning")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports_of(path: Path) -> frozenset[str]:
    """Every module that a file names in an import, wherever in the file, `from package import module` resolved."""
    found = set()
    package = module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                deeper = ROOT.joinpath(*base.split("."), alias.name)
                is_module = deeper.with_suffix(".py").is_file() or (deeper / "__init__.py").is_file()
                found.add(f"{base}.{alias.name}" if is_module else base)
    return frozenset(found)


def unit(module: str) -> str:
    """`engine.models.zoo` -> `models`; `engine` itself -> ``."""
    return module.partition(".")[2].partition(".")[0]


def allowed_for(name: str) -> set[str] | None:
    """The units that one may import; None for those on top, which may import all."""
    if name in TOP or name == "":
        return None
    if name in SIDE:
        return SIDE[name] | {name}
    level = next((i for i, layer in enumerate(LAYERS) if name in layer), None)
    assert level is not None, f"engine/{name} has no layer; give it one in {Path(__file__).name}"
    below = set().union(*LAYERS[: level + 1])
    # The bookkeeping is for what plans and runs sweeps, never for what computes.
    return below | ({"artifacts", "store", "cluster"} if level >= 3 else set())


@pytest.mark.parametrize("path", ENGINE, ids=module_name)
def test_imports_point_one_way(path: Path) -> None:
    allowed = allowed_for(unit(module_name(path)))
    wrong = {m for m in imports_of(path) if m.startswith("engine.") and allowed is not None and unit(m) not in allowed}
    assert not wrong, f"{module_name(path)} must not import {sorted(wrong)}"


@pytest.mark.parametrize("path", ENGINE, ids=module_name)
def test_the_engine_never_imports_the_browser_side(path: Path) -> None:
    wrong = {m for m in imports_of(path) if m.split(".")[0] in {"streamlit", "pages", "app"}}
    assert not wrong


@pytest.mark.parametrize("path", PAGES, ids=module_name)
def test_pages_use_only_what_the_design_lets_them(path: Path) -> None:
    engine = {m.removeprefix("engine.") for m in imports_of(path) if m.startswith("engine.")}
    assert engine <= FOR_PAGES
    assert not {m for m in imports_of(path) if m.split(".")[0] in {*HEAVY, "onnxruntime", "distributed", "dask"}}


def test_modules_do_not_import_each_other_in_a_circle() -> None:
    graph = {module_name(p): {m for m in imports_of(p) if m.startswith("engine.")} for p in ENGINE}
    done: set[str] = set()

    def walk(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for below in graph.get(module, ()):
                walk(below, (*path, module))
            done.add(module)

    for module in graph:
        walk(module, ())


def loaded_after(statements: str) -> set[str]:
    """The top-level modules of a fresh interpreter after it ran `statements`."""
    code = f"import sys\n{statements}\nprint(*sorted({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_commands_that_only_read_start_without_torch() -> None:
    modules = (
        "cli",
        "store",
        "artifacts",
        "plan",
        "frontier",
        "figures",
        "devices.projection",
        "cost",
        "fleet",
        "device_figures",
        "bundle",
        "datasets",
        "models.catalog",
    )
    present = [
        f"import engine.{m}" for m in modules if ROOT.joinpath("engine", *m.split(".")).with_suffix(".py").is_file()
    ]
    assert len(present) == len(modules)
    assert loaded_after("\n".join(present)).isdisjoint({*HEAVY, "streamlit"})


def test_the_command_line_starts_light() -> None:
    """`paretoscope front` has a budget of 1.5 s; what takes a third of that just to import stays out of its start."""
    assert loaded_after("import engine.cli.__main__").isdisjoint(
        {*HEAVY, "streamlit", "distributed", "onnxruntime", "plotly", "pandas"}
    )


def test_samplers_are_loaded_when_one_is_asked_and_torch_not_even_then() -> None:
    """A forecast is made with every click in the browser; the Gaussian process alone brings torch, into the runner, when it is used."""
    assert loaded_after("import engine.run.forecast, engine.search.search, engine.run.schedule").isdisjoint(
        {"optuna", "scipy", *HEAVY}
    )
    assert loaded_after("import engine.search.samplers").isdisjoint({"scipy", *HEAVY})


def test_the_browser_process_never_loads_torch() -> None:
    """Everything that pages and app.py import, at the top or inside a function; running them is for the page tests."""
    wanted = sorted({m for p in PAGES for m in imports_of(p) if m.split(".")[0] not in {"pages", "app", "__future__"}})
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


@pytest.mark.parametrize("path", [*ENGINE, *PAGES], ids=module_name)
def test_a_file_fits_in_a_head(path: Path) -> None:
    lines = sum(bool(line.strip()) for line in path.read_text().splitlines())
    assert lines <= MAX_LINES, f"{lines} lines, blank ones left out; aim for 250, split by what changes together"
