"""`paretoscope mcp`: a server of tools for agents, on standard input and output."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def mcp(
    folder: Annotated[
        Path, typer.Option(metavar="PATH", help="Where specs lie, and all that they name; Python there is run.")
    ] = Path(),
    allow_run: Annotated[bool, typer.Option("--allow-run", help="Let agents run specs too.")] = False,
    exports: Annotated[
        Path | None, typer.Option(metavar="PATH", help="With --allow-run: where agents may write bundles.")
    ] = None,
) -> None:
    """Serve tools to agents (Model Context Protocol, stdio): sweeps, trials, front, why, compare, plan; run and export where allowed."""
    from engine.interchange.agents import Leave, serve

    serve(Leave.of(folder, allow_run, exports))
