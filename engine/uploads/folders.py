"""Which paths, and whose code, a sweep that is started in the browser may name: those of folders that the operator lists, and uploads.

On the operator's own machine, without a login, any path may be named, unless folders are listed all the same. The command line is not held
to this: who can use it reads these files anyway.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from engine.errors import AccessError, ModelError, SetupError
from engine.models.catalog import source_kind
from engine.models.functions import builder_file, names_file, names_module, split_function
from engine.paths import uploads_path
from engine.spec.sections import EMBEDDED
from engine.spec.steps import CURRENT, SELF
from engine.spec.sweep import Sweep
from engine.uploads.keep import FILES

VARIABLE = "PARETOSCOPE_FOLDERS"
_PREPARED = re.compile(r"(torchvision|medmnist):[A-Za-z0-9_]+")
_PLAIN = re.compile(r"[\w-]+")
_UPLOADED = re.compile(rf"[0-9a-f]{{64}}/({'|'.join(map(re.escape, FILES.values()))})")
# Keys whose text is a source, whatever it looks like; and those whose text is never read as one, whatever it looks like.
_SOURCES = {"source", "weights", "labels", "teacher", "student"}
_FREE_TEXT = {"name", "classes", "target", "slices", "outputs", "inputs", "unit", "sha256", "device", "profiles"}

Place = tuple[str, str]
"""Where in a spec (`model.source`), and what it says."""


def listed() -> tuple[Path, ...]:
    """The folders that `PARETOSCOPE_FOLDERS` lists, links followed; SetupError for one that is none."""
    return checked(part for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part)


def checked(folders: Collection[str] | Iterator[str]) -> tuple[Path, ...]:
    """Folders as real paths; SetupError for one that is not there, or cannot be listed."""
    found = []
    for text in folders:
        path = Path(text)
        if not path.is_dir():
            raise SetupError(f"--folder {text} (or {VARIABLE}) is no folder; list folders that are there")
        if os.pathsep in text:
            raise SetupError(f"--folder {text} has a {os.pathsep!r} in its name; list a folder without one")
        found.append(path.resolve())
    return tuple(dict.fromkeys(found))


def open_to_browsers(is_own_machine: bool) -> tuple[Path, ...] | None:
    """Where a form may read; None: anywhere. `is_own_machine`: nobody else reaches the server, and there is no login."""
    found = listed()
    return None if is_own_machine and not found else found


def check_places(sweep: Sweep, folders: tuple[Path, ...] | None) -> None:
    """Raises AccessError, in one line, where a sweep names a file or code outside of the folders and the uploads; reads no file."""
    if folders is None:
        return
    for place in _places(sweep.model_dump(mode="json"), ""):
        _check_place(place, folders)
    _check_options(sweep)


def _places(value: Any, where: str) -> Iterator[Place]:
    """Every text in a spec that is read as a source, or looks like one."""
    key = where.rpartition(".")[2]
    if isinstance(value, dict):
        if where == "model":
            # What options hold is looked at by itself.
            value = {k: v for k, v in value.items() if k != "options"}
        for name, inner in value.items():
            yield from _places(inner, f"{where}.{name}" if where else str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _places(inner, where)
    elif isinstance(value, str) and (key in _SOURCES or (key not in _FREE_TEXT and _looks_like_one(value))):
        yield where, value


def _looks_like_one(text: str) -> bool:
    return any(c in text for c in "/\\") or names_file(text) or names_module(text)


def _is_name(place: Place) -> bool:
    """Whether a source is a name that this program knows what to do with, and no path."""
    where, text = place
    if where == "model.source" or where.endswith(("teacher", "student")):
        try:
            return text in {"baseline", "previous", SELF, CURRENT} or source_kind(text) in {
                "zoo",
                "torchvision",
                "timm",
            }
        except ModelError:
            return True  # of no kind at all, which is told where it is read as one
    if where == "data.source":
        return text in EMBEDDED or _PREPARED.fullmatch(text) is not None
    return where not in {"model.weights", "data.labels"} and _PLAIN.fullmatch(text) is not None


def _check_place(place: Place, folders: tuple[Path, ...]) -> None:
    if _is_name(place):
        return
    where, text = place
    if names_file(text) or names_module(text):
        _check_code(place, folders)
        return
    path = Path(text)
    real = path.resolve()
    if path.is_absolute() and any(real.is_relative_to(folder) for folder in folders):
        return
    uploads = uploads_path()
    if (
        path.is_absolute()
        and real.is_relative_to(uploads)
        and _UPLOADED.fullmatch(real.relative_to(uploads).as_posix())
    ):
        return
    what = f"{where} {text!r:.200}"
    if not folders:
        raise AccessError(
            f"{what} is a path, and this server reads none; upload the file, or whoever runs the server lists folders "
            "(`paretoscope app --folder PATH`)"
        )
    raise AccessError(
        f"{what} lies outside of the folders that this server reads ({_listing(folders)}); upload the file, or name one that lies in them"
    )


def _check_code(place: Place, folders: tuple[Path, ...]) -> None:
    """Python is run where it lies in a folder of the operator's, never from an upload, whatever lies there."""
    where, text = place
    what = f"{where} {text!r:.200} is Python code"
    remedy = f"which this server runs from {_listing(folders)} alone" if folders else "which this server does not run"
    use = "; upload an .onnx file, name a network of torchvision or timm, or use the command line"
    path: Path | None
    if names_file(text):
        path = Path(split_function(text)[0])
    else:
        try:
            path = builder_file(text) if folders else None
        except ModelError:
            path = None
    real = path.resolve() if path is not None and path.is_absolute() else None
    inside = real is not None and any(real.is_relative_to(folder) for folder in folders)
    if not inside or (real is not None and real.is_relative_to(uploads_path())):
        raise AccessError(f"{what}, {remedy}{use}")


def _check_options(sweep: Sweep) -> None:
    """timm takes paths and addresses of pickled weights among its options; functions of the operator's folders may take anything."""
    try:
        if source_kind(sweep.model.source) == "python":
            return
    except ModelError:
        pass  # of no kind at all, which is told where it is read as one
    for name, value in sweep.model.options.items():
        if "pretrained" in name or not _is_number(value):
            raise AccessError(
                f"model.options.{name} is not a number, and this server hands nothing else to {sweep.model.source}; leave it out, or use "
                "the command line"
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, list) and all(map(_is_number, value)))


def _listing(folders: tuple[Path, ...]) -> str:
    return ", ".join(map(str, folders[:3])) + (", …" if len(folders) > 3 else "")
