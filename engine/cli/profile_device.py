"""`paretoscope profile-device`: timing this machine as a device."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from engine.cli._options import JsonFlag, print_json


def profile_device(
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Where to write it.")] = None,
    name: Annotated[str, typer.Option(help="The profile's name, to be used after --device.")] = "",
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Threads that one inference may use.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.001, help="Least time spent on each layer.")] = 0.2,
    script: Annotated[
        bool, typer.Option("--script", help="Write the stand-alone program for another machine instead.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Time a small set of layers here, and keep a profile of this machine; --script gives the program to run on another."""
    from engine.devices.user_profiles import profile_here, write_script

    if script:
        path = write_script(output)
        note = {"script": str(path)}
        print(
            json.dumps(note) if as_json else f"wrote {path}; on the device: python {path.name} --name NAME -o NAME.json"
        )
        return
    path, record = profile_here(name, output, threads, seconds)
    if as_json:
        print_json({"profile": str(path), **record})
    else:
        held_out = record["held_out"]
        print(
            f"wrote {path}: {record['name']}, held-out error {held_out['mape']:.0%} over {held_out['layers']:.0f} layers"
        )
