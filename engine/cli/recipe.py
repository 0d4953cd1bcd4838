"""`paretoscope recipe`: a trial's recipe as the settings of another tool."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated

import typer

from engine.cli._options import JsonFlag, SweepRef, TrialRef, print_json


class Tool(StrEnum):
    """Whose settings a recipe can be said as."""

    olive = "olive"
    inc = "inc"


def recipe(
    sweep: SweepRef,
    trial: TrialRef,
    tool: Annotated[
        Tool, typer.Option("--as", help="olive: an Olive workflow; inc: Intel Neural Compressor’s settings for torch.")
    ],
    as_json: JsonFlag = False,
) -> None:
    """Print a recipe as settings of Olive or Neural Compressor, as JSON; what they cannot say goes to standard error."""
    from engine.interchange.inc_config import inc_config
    from engine.interchange.olive_config import olive_config
    from engine.store.store import Store

    store = Store.open()
    found = store.trial(store.sweep(sweep).id, trial)
    said = olive_config(found) if tool is Tool.olive else inc_config(found)
    if as_json:
        print_json({"tool": tool.value, "settings": said.settings, "not_said": list(said.not_said)})
        return
    print(json.dumps(said.settings, indent=1, ensure_ascii=False))
    for text in said.not_said:
        print(f"not said: {text}", file=sys.stderr)
