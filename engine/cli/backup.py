"""`paretoscope backup` and `paretoscope restore`: a home as one file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from engine.cli._options import JsonFlag, print_json
from engine.cli._tables import counted


def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE.zip", help="The file to write.")],
    without_datasets: Annotated[
        bool, typer.Option("--without-datasets", help="Leave prepared datasets out; they can be prepared again.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write the home (sweeps, files, uploads, own devices, access rules) into one zip. Sweeps may run meanwhile."""
    from engine.export.zips import check_target
    from engine.store.backup import back_up

    check_target(target, "home.zip")
    done = back_up(target, not without_datasets)
    if as_json:
        print_json({"backup": str(target), **asdict(done)})
        return
    print(f"{target}: the database and {counted(done.files, 'file')}, {done.n_bytes / 1e6:.1f} MB")
    if done.artifacts_elsewhere:
        print("not in it: the artifacts that PARETOSCOPE_ARTIFACTS keeps elsewhere")


def restore(
    source: Annotated[Path, typer.Argument(metavar="FILE.zip", help="What `paretoscope backup` wrote.")],
    home: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where to; left out: PARETOSCOPE_HOME, or this user's.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Unpack a backup into a home that is empty or not there yet. Every file is checked first."""
    from engine.paths import home_path
    from engine.store.backup import restore as unpack

    into = home or home_path()
    done = unpack(source, into)
    if as_json:
        print_json({"home": str(into), "files": done.files, "n_bytes": done.n_bytes})
    else:
        print(
            f"{into}: the database and {counted(done.files, 'file')}, {done.n_bytes / 1e6:.1f} MB; `paretoscope resume SWEEP` goes on"
        )
