"""What the command `paretoscope` starts."""

from __future__ import annotations


def main() -> None:
    """The command line."""
    from engine.cli.__main__ import main as command_line

    command_line()
