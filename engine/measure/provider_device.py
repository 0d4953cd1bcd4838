"""Whether a provider has a device here, asked before anything runs: in a process of its own, since a plugin that is loaded stays loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import Any

from engine.errors import StepError
from engine.measure.fresh_process import run_module
from engine.measure.providers import add_provider, check_provider
from engine.spec.providers import provider_of

_PATIENCE_S = 60.0


@cache
def check_device(name: str) -> None:
    """Raises StepError, in one line, for a provider that is not in this onnxruntime, or a plugin that does not start or finds no device."""
    check_provider(name)
    if provider_of(name).plugin is None:
        return
    try:
        done = run_module("engine.measure.provider_device", {"provider": name}, _PATIENCE_S)
    except subprocess.TimeoutExpired:
        # A machine this busy is no reason to refuse; the worker says what is wrong.
        return
    told: Any = None
    try:
        told = json.loads(done.stdout.strip().splitlines()[-1])["error"]
    except (IndexError, ValueError):
        told = f"runtime: provider {name} does not start here: its process ended with code {done.returncode}; choose another provider"
    if told:
        raise StepError(str(told))


def _main() -> None:
    import onnxruntime as ort

    asked, error = json.loads(sys.stdin.read()), None
    try:
        add_provider(ort.SessionOptions(), asked["provider"], 1)
    except StepError as refused:
        error = str(refused)
    sys.stdout.write(json.dumps({"error": error}) + "\n")


if __name__ == "__main__":
    _main()
