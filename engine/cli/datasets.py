"""`paretoscope datasets`: those that are ready, and making another one ready."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from engine.cli._options import JsonFlag, print_json
from engine.cli._tables import console, print_table
from engine.errors import SpecError
from engine.spec.sections import EMBEDDED, Data


def datasets(
    prepare: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make torchvision:NAME or medmnist:NAME ready to be used.")
    ] = None,
    origin: Annotated[Path | None, typer.Option("--from", metavar="FOLDER", help="Where its files lie.")] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch its files from where its authors keep them.")
    ] = False,
    side: Annotated[
        int | None, typer.Option(min=8, max=1024, help="Resize every image to so many pixels each way.")
    ] = None,
    clear_cache: Annotated[
        bool,
        typer.Option(
            "--clear-cache", help="Remove what large data were decoded into; it is made again when asked for."
        ),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """The datasets that are ready: those that ship with Paretoscope, and those that were prepared."""
    from engine.datasets import named as named_datasets

    if clear_cache:
        if prepare is not None:
            raise SpecError("--clear-cache stands beside --prepare; give one of them")
        _clear(as_json)
        return
    if prepare is not None:
        named_datasets.prepare(prepare, origin, download, side)
    elif origin or download or side:
        raise SpecError("--from, --download and --side are about a dataset to prepare; give --prepare NAME")
    names = [prepare] if prepare else [*EMBEDDED, *named_datasets.prepared()]
    rows = [_row(name) for name in names]
    print_json(rows) if as_json else print_datasets(rows)


def _clear(as_json: bool) -> None:
    from engine.datasets.cache import cache_folder, freed

    n_bytes = freed()
    if as_json:
        print_json({"freed_bytes": n_bytes})
    else:
        console().print(f"{n_bytes / 1e9:,.2f} GB freed in {cache_folder()}", soft_wrap=True)


def _row(source: str) -> dict[str, Any]:
    from engine.datasets.load import load_dataset

    data = load_dataset(Data(source=source))
    return {
        "name": source,
        "input_shape": list(data.input_shape) if isinstance(data.input_shape, tuple) else [],
        "classes": list(data.classes),
        **{s: len(getattr(data, s)) for s in ("train", "calibration", "validation", "test")},
        "checksum": data.checksum,
    }


def print_datasets(rows: list[dict[str, Any]]) -> None:
    """Datasets that are ready."""
    columns = {"name": "left", "input": "left", "classes": "right", "train": "right", "calibration": "right"}
    columns |= {"validation": "right", "test": "right"}
    print_table(
        columns,
        [
            (
                r["name"],
                "×".join(map(str, r["input_shape"])),
                str(len(r["classes"])),
                *(f"{r[s]:,}" for s in ("train", "calibration", "validation", "test")),
            )
            for r in rows
        ],
    )
