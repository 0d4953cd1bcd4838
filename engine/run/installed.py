"""Whether what computes sweeps is installed: a viewer shows, compares, exports, verifies and serves what is there, without torch."""

from __future__ import annotations

from importlib.util import find_spec

from engine.errors import SetupError

PACKAGES = ("torch", "torchvision", "torch_pruning", "distributed")
"""What the extra `run` brings, by the names of imports."""
REMEDY = "pip install 'paretoscope[run]'"


def missing_packages() -> tuple[str, ...]:
    """Those of `PACKAGES` that are not installed."""
    return tuple(name for name in PACKAGES if find_spec(name) is None)


def require_run(what: str) -> None:
    """Raise SetupError, in one line, where `what` needs what a viewer does not have."""
    if missing := missing_packages():
        raise SetupError(f"{what} needs {', '.join(missing)}, which this viewer does not have; {REMEDY}")
