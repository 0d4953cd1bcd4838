"""Which paths the dashboard may be told to read: on the operator's own machine any, else those of listed folders and of uploads."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from engine import access
from engine.errors import SetupError
from engine.spec.sweep import Sweep
from engine.uploads.folders import check_places, open_to_browsers


def is_own_machine() -> bool:
    """Whether this server is reached from its own machine alone, by that machine's names, and asks for no login."""
    try:
        if access.load() is not None:
            return False
    except SetupError:
        return False
    names = [st.get_option("server.address"), *(st.get_option("server.allowedHosts") or [None])]
    return all(access.is_local(name) for name in names)


def folders() -> tuple[Path, ...] | None:
    """Where paths may lie; None: anywhere."""
    return open_to_browsers(is_own_machine())


def require(sweep: Sweep) -> None:
    """AccessError where a sweep names a path, or code, that may not be named here: for everything that plans, checks or starts one."""
    check_places(sweep, folders())
