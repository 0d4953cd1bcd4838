"""A folder of pictures, or of sounds: of class folders, of `train/`, `test/` and the like, of Parquet files, or of files without labels.

A class is called as its folder; their order is that of text, as in torchvision's ImageFolder and Keras, unless `data.classes` names them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.datasets import sound_files
from engine.datasets.file_hash import file_sha256
from engine.datasets.items import ALL, SPLIT_NAMES, Gathered, Items
from engine.datasets.picture import Picture
from engine.datasets.picture_files import SUFFIXES, look_at
from engine.datasets.splits import SPLIT_SEED, Array
from engine.datasets.table_files import parquet_parts
from engine.datasets.tables import gather_parquet_folder, hash_of, named_files
from engine.errors import DatasetError
from engine.spec.canonical import digest
from engine.spec.sections import Data

# Pictures, or things that somebody may take for some, that are not read.
_LEFT_OUT = {".heic", ".heif", ".avif", ".jp2", ".jxl", ".svg", ".ppm", ".pgm", ".dcm", ".raw", ".cr2", ".nef", ".psd"}


@dataclass(frozen=True)
class _Wanted:
    """What is looked for in a folder, and what messages call it."""

    one: str
    many: str
    suffixes: frozenset[str]


_PICTURES = _Wanted("picture", "pictures", frozenset(SUFFIXES))
_SOUNDS = _Wanted("sound", "sounds", frozenset(sound_files.SUFFIXES))


def _wanted(data: Data) -> _Wanted:
    """Sounds where preprocessing says so, or where there are some and no picture."""
    stated = data.preprocess
    if stated and (stated.audio or stated.resize or stated.crop):
        return _SOUNDS if stated.audio else _PICTURES
    some = False
    for path in Path(data.source).rglob("*"):
        if path.suffix.lower() in SUFFIXES:
            return _PICTURES
        some = some or path.suffix.lower() in sound_files.SUFFIXES
    return _SOUNDS if some else _PICTURES


Group = list[tuple[Path, str | None]]
"""Picture files and the name of each one's class, None where they have none."""


def folder_checksum(data: Data) -> str:
    """SHA-256, in hex, of the names and contents of all files that are read. Raises DatasetError."""
    root = Path(data.source)
    wanted, parts = _wanted(data), parquet_parts(root)
    groups = [] if parts else [[path for path, _ in group] for group in _groups(root, wanted).values()]
    paths = [path for group in groups or parts.values() for path in group]
    remedy = "make it readable, or remove it"
    made_of = [
        [path.relative_to(root).as_posix(), file_sha256(path, f"{wanted.one} {path}", remedy)] for path in sorted(paths)
    ]
    named = [hash_of(file) for path in sorted(paths) for file in named_files(path)] if parts else []
    return digest([*made_of, named] if named else made_of)


def gather_folder(data: Data) -> Gathered:
    """What a folder holds; pictures are looked at, not yet read. Raises DatasetError."""
    root = Path(data.source)
    name = root.resolve().name
    if parts := parquet_parts(root):
        return gather_parquet_folder(data, name, parts)
    if data.target is not None:
        raise DatasetError(
            f"data.target {data.target!r} names a table's column, but {root} holds pictures; leave it out"
        )
    if data.slices:
        raise DatasetError(
            f"data.slices names {', '.join(data.slices)}, but {root} holds files alone; list them in a table (.csv) with columns path, "
            f"label, {data.slices[0]}"
        )
    wanted = _wanted(data)
    groups = {split: _shuffled(group) for split, group in _groups(root, wanted).items()}
    files = {s: [(p.relative_to(root).as_posix(), p) for p, _ in group] for s, group in groups.items()}
    items: Mapping[str, Items]
    if wanted is _SOUNDS:
        items, notes = sound_files.look_at_sounds(files, data)
    else:
        items, notes = look_at({s: [Picture(*file) for file in group] for s, group in files.items()}, data)
    labels: dict[str, Array | None] = {
        split: None if group[0][1] is None else np.array([label for _, label in group])
        for split, group in groups.items()
    }
    _check_labelled(root, labels)
    called = {
        s: (f"its {wanted.many}" if s == ALL else f"{s}/", "its folders" if s == ALL else f"{s}/") for s in groups
    }
    return Gathered(name, items, labels, called, None, (*notes, *_left_out(root)))


def _shuffled(group: Group) -> Group:
    """In a random order, the same every time: the first few are then some of every class."""
    return [group[i] for i in np.random.default_rng(SPLIT_SEED).permutation(len(group))]


def _check_labelled(root: Path, labels: dict[str, Array | None]) -> None:
    bare = [split for split, found in labels.items() if found is None]
    if bare and len(bare) < len(labels) and bare != ["test"]:
        raise DatasetError(
            f"{root}: {bare[0]}/ has pictures without class folders, but others have; sort them into class folders"
        )


def _left_out(root: Path) -> tuple[str, ...]:
    found = [p for p in sorted(root.rglob("*")) if p.suffix.lower() in _LEFT_OUT]
    what = (
        "files are of kinds that are not read, and were left out"
        if len(found) > 1
        else "file is of a kind that is not read, and was left out"
    )
    return (f"{root.name}: {len(found)} {what}, for example {found[0].relative_to(root)}",) if found else ()


def _groups(root: Path, wanted: _Wanted) -> dict[str, Group]:
    """Split -> its pictures and their classes, sorted by path. Raises DatasetError where the folders cannot be told apart."""
    folders = _folders(root)
    splits = {f.name: SPLIT_NAMES[f.name.lower()] for f in folders if f.name.lower() in SPLIT_NAMES}
    others = [f.name for f in folders if f.name not in splits]
    if splits and others and any(_folders(root / name) for name in splits):
        raise DatasetError(f"{root} holds {', '.join(splits)} beside {others[0]}; move what is no split elsewhere")
    if not splits or others:
        return {ALL: _group(root, folders, wanted)}
    if len(set(splits.values())) < len(splits):
        raise DatasetError(f"{root} holds {' and '.join(sorted(splits))}, two of which mean the same; keep one of them")
    if "train" not in splits.values():
        raise DatasetError(
            f"{root} holds {', '.join(sorted(splits))} but no train/; add it, or point data.source at {root / folders[0].name}"
        )
    return {split: _group(root / name, _folders(root / name), wanted) for name, split in splits.items()}


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))
    except OSError as error:
        raise DatasetError(f"{root} cannot be read ({error.strerror}); give the path of a folder of pictures") from None


def _those(files: list[Path], wanted: _Wanted) -> list[Path]:
    return sorted(
        p for p in files if p.suffix.lower() in wanted.suffixes and not p.name.startswith(".") and p.is_file()
    )


def _group(root: Path, folders: list[Path], wanted: _Wanted) -> Group:
    """Files of class folders, whatever lies below these, or of a folder without any."""
    flat = _those(list(root.iterdir()), wanted)
    classes = {folder.name: _those(list(folder.rglob("*")), wanted) for folder in folders}
    filled = {name: found for name, found in classes.items() if found}
    if flat and filled:
        raise DatasetError(
            f"{root} holds {wanted.many}, such as {flat[0].name}, beside class folders, such as {next(iter(filled))}; keep one kind"
        )
    if flat:
        return [(path, None) for path in flat]
    if not filled:
        kinds = ", ".join(sorted(s[1:] for s in wanted.suffixes))
        raise DatasetError(
            f"{root} holds no {wanted.many} ({kinds}); give a folder of class folders, or of {wanted.many}"
        )
    empty = [name for name in classes if name not in filled]
    if empty:
        raise DatasetError(f"{root}: the class folder {empty[0]!r} holds no {wanted.many}; fill it, or remove it")
    return [(path, name) for name, found in filled.items() for path in found]
