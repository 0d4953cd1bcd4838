"""The command line. Bad input: one clear line on stderr, exit code 2. `--json` on everything that prints."""

from __future__ import annotations

import os
import sys

import typer

from engine.cli.app import open_app
from engine.cli.cancel import cancel
from engine.cli.confirm import confirm
from engine.cli.datasets import datasets
from engine.cli.delete import delete
from engine.cli.devices import devices
from engine.cli.doctor import doctor
from engine.cli.export import export
from engine.cli.fleet import fleet
from engine.cli.front import front
from engine.cli.models import models
from engine.cli.plan import plan
from engine.cli.portability import portability
from engine.cli.profile_device import profile_device
from engine.cli.report import report
from engine.cli.resume import resume
from engine.cli.run import run
from engine.cli.scenarios import scenarios
from engine.cli.sweeps import sweeps
from engine.cli.trials import trials
from engine.cli.verify import verify
from engine.cli.why import why
from engine.errors import InputError

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

# Typer carries its own copy of click and exports of its errors only the leaves; this is the base that all usage errors share.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def main() -> None:
    """Entry point: every mistake of the user ends in one line and exit code 2."""
    try:
        sys.exit(app(standalone_mode=False, prog_name="paretoscope") or 0)
    except InputError as error:
        _fail(str(error))
    except _UsageError as error:
        context = getattr(error, "ctx", None)
        _fail(f"{error.format_message()} (`{context.command_path if context else 'paretoscope'} --help` shows how)")  # type: ignore[attr-defined]
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has left (`paretoscope trials … | head`); that is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _fail(message: str) -> None:
    print(f"paretoscope: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


@app.callback(invoke_without_command=True)
def overview(context: typer.Context) -> None:
    """Which compressed version of my model should I ship?"""
    if context.invoked_subcommand is None:
        print(context.get_help())


# In the order in which `--help` lists them.
app.command("app")(open_app)
for command in (
    models, datasets, devices, scenarios, fleet, profile_device,
    plan, run, resume, cancel, delete,
    sweeps, trials, front, confirm, why, portability,
    export, report, verify, doctor,
):  # fmt: skip
    app.command()(command)


if __name__ == "__main__":
    main()
