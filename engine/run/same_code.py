"""Whether a worker elsewhere has the Paretoscope that a run was planned with, and the same libraries."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from engine import __version__
from engine.run.code_digest import code_text_digest, library_versions


@cache
def revision() -> dict[str, Any]:
    """What of this process a result depends on, whichever node it is of: release, code, libraries."""
    return {"version": __version__, "code": code_text_digest(), "libraries": library_versions()}


def same_code(theirs: Mapping[str, Any]) -> str | None:
    """Of a worker: in what its Paretoscope, or a library that figures depend on, differs from that where the run was started; or None."""
    own = revision()
    if own["version"] != theirs["version"]:
        return f"has Paretoscope {own['version']}, but the run is of {theirs['version']}; install {theirs['version']} there"
    if own["code"] != theirs["code"]:
        return f"its code of Paretoscope {own['version']} is not that of the run; install the same revision there"
    for name, version in theirs["libraries"].items():
        # A build for a GPU (2.14.0+cu130) counts as the same release.
        mine = own["libraries"].get(name)
        if (mine or "none").partition("+")[0] != (version or "none").partition("+")[0]:
            return f"has {name} {mine or 'not'}, but the run {version or 'none'}, and figures depend on it; install the same there"
    return None
