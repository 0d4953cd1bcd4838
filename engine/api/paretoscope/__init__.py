"""Which compressed version of my model should I ship? The same from Python as from the command line and the browser.

    import paretoscope as ps

    sweep = ps.Sweep.load("spec.yaml")
    run = ps.run(sweep)
    print(ps.front(run))

Errors that a change of the input mends are `ps.ParetoscopeError`, with one line that says which. State is in `PARETOSCOPE_HOME`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine import __version__
    from engine.api.calls import Run, best, export, front, opened, run, sweeps, trials, verify, why
    from engine.api.sweep import Sweep
    from engine.errors import ParetoscopeError

# In a wheel, this package is all that others see: the program lies in its folder `code`, beside its data.
_CODE = Path(__file__).resolve().parent / "code"
if _CODE.is_dir() and str(_CODE) not in sys.path:
    sys.path.insert(0, str(_CODE))

_FROM = {
    "engine": ("__version__",),
    "engine.api.calls": ("Run", "best", "export", "front", "opened", "run", "sweeps", "trials", "verify", "why"),
    "engine.api.sweep": ("Sweep",),
    "engine.errors": ("ParetoscopeError",),
}

__all__ = [
    "ParetoscopeError", "Run", "Sweep", "__version__",
    "best", "export", "front", "opened", "run", "sweeps", "trials", "verify", "why",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Names when they are asked for: the command line, which comes this way too, starts in a tenth of the time that all of them take."""
    for module, names in _FROM.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
