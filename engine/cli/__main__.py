"""The command line. Bad input: one clear line on stderr, exit code 2. `--json` on everything that prints."""

from __future__ import annotations

import os
import sys

import typer

from engine.cli.commands import app
from engine.errors import InputError
from engine.scratch import own_temporary_files

# Typer carries its own copy of click and exports of its errors only the leaves; this is the base that all usage errors share.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def main() -> None:
    """Entry point: every mistake of the user ends in one line and exit code 2."""
    own_temporary_files()
    try:
        sys.exit(app(standalone_mode=False, prog_name="paretoscope") or 0)
    except InputError as error:
        _fail(str(error))
    except _UsageError as error:
        context = getattr(error, "ctx", None)
        # What a check of a value raised is told as that check put it.
        message = error.format_message().replace("Value error, ", "").rstrip(".")  # type: ignore[attr-defined]
        _fail(f"{message} (`{context.command_path if context else 'paretoscope'} --help` shows how)")
    except ModuleNotFoundError as error:
        from engine.run.installed import PACKAGES, require_run

        if (error.name or "").partition(".")[0] not in PACKAGES:
            raise
        try:
            require_run("this")
        except InputError as told:
            _fail(str(told))
        raise
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has left (`paretoscope trials … | head`); that is no error.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as error:
        # Asked by name: what reads no store need not load its library.
        if not type(error).__module__.startswith("sqlalchemy."):
            raise
        from engine.store.patience import reason

        _fail(f"the store cannot be used: {reason(error)}; check PARETOSCOPE_STORE, or the home folder and its disk")  # type: ignore[arg-type]


def _fail(message: str) -> None:
    print(f"paretoscope: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
