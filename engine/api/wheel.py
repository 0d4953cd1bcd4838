"""How a wheel is put together: one package, `paretoscope`, with the program and its data in a folder of its own inside.

So a `pip install` brings no `engine`, `pages` or `app` to the top of the user's environment. setuptools calls this (`pyproject.toml`); an
editable install uses the checkout as it is.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parents[2]
INSIDE = "paretoscope/code"
_PROGRAM = ("engine", "pages", "data", "app.py", ".streamlit")


class Build(build_py):
    """What setuptools copies, less the program at the top, which goes inside."""

    def run(self) -> None:
        """Copy."""
        super().run()
        if self.editable_mode:
            return
        lib = Path(self.build_lib)
        inside = lib / INSIDE
        shutil.rmtree(inside, ignore_errors=True)
        for name in _PROGRAM:
            at = lib / name
            if at.is_dir():
                shutil.rmtree(at)
            at.unlink(missing_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, inside / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                inside.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, inside / name)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """Every file of the wheel."""
        return [str(path) for path in Path(self.build_lib).rglob("*") if path.is_file()]
