"""Which commands there are, in the order in which `--help` lists them."""

from __future__ import annotations

import typer

from engine.cli.add import add
from engine.cli.app import open_app
from engine.cli.backup import backup, restore
from engine.cli.cancel import cancel
from engine.cli.check import check
from engine.cli.compare import compare
from engine.cli.confirm import confirm
from engine.cli.datasets import datasets
from engine.cli.delete import delete
from engine.cli.devices import devices
from engine.cli.diff import diff
from engine.cli.doctor import doctor
from engine.cli.effects import effects
from engine.cli.export import export
from engine.cli.fleet import fleet
from engine.cli.front import front
from engine.cli.gc import du, gc
from engine.cli.graph import graph
from engine.cli.import_points import import_points
from engine.cli.layers import layers
from engine.cli.mcp import mcp
from engine.cli.measured import measured
from engine.cli.models import models
from engine.cli.plan import plan
from engine.cli.portability import portability
from engine.cli.profile_device import profile_device
from engine.cli.publish import publish
from engine.cli.recipe import recipe
from engine.cli.report import report
from engine.cli.resume import resume
from engine.cli.run import run
from engine.cli.scenarios import scenarios
from engine.cli.sensitivity import sensitivity
from engine.cli.serve import serve
from engine.cli.sweeps import sweeps
from engine.cli.trials import trials
from engine.cli.uploads import uploads
from engine.cli.verify import verify
from engine.cli.why import why

app = typer.Typer(
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def overview(context: typer.Context) -> None:
    """Which compressed version of my model should I ship?"""
    if context.invoked_subcommand is None:
        print(context.get_help())


app.command("app")(open_app)
for command in (
    models, datasets, devices, scenarios, fleet, profile_device,
    check, plan, run, add, measured, import_points, resume, cancel, delete, uploads, du, gc, backup, restore,
    sweeps, trials, front, effects, compare, diff, confirm, why, portability, graph, sensitivity, layers,
    export, report, recipe, publish, verify, serve, mcp, doctor,
):  # fmt: skip
    app.command("import" if command is import_points else None)(command)
