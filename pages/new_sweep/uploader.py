"""Uploads a network or data, says what was found in it, and shows some of it."""

from __future__ import annotations

from typing import Any, Literal

import streamlit as st

from engine.errors import InputError
from engine.uploads import bounds, keep
from pages.shared import access, shell

Part = Literal["model", "data"]
_LABELS: dict[Part, str] = {"model": "ONNX file", "data": "Data: .npz, or a zip of pictures"}
_SUFFIXES: dict[Part, list[str]] = {"model": ["onnx"], "data": ["npz", "zip"]}
_HELP: dict[Part, str] = {
    "model": "One network in one file, of opset 7 or later; weights in other files are not read.",
    "data": "Arrays x_train, y_train, x_test, y_test, or x and y; without y there are no labels. Pictures in folders named as their "
    "classes, in train/ and test/ if you like, or without folders: then there are no labels.",
}


def held(part: Part) -> str:
    """The key under which the path of what was uploaded is kept for a visit."""
    return f"form {part} upload"


def uploaded(part: Part) -> str:
    """Draw the box; the path of what was uploaded, empty until there is something."""
    source: str = st.session_state.get(held(part), "")
    kept = keep.upload_at(source) if source else None
    if kept is not None:
        st.caption(f":material/check: **{shell.plain(kept.name)}**: {shell.plain(_about(kept))}.")
    round_ = st.session_state.setdefault(f"{held(part)} round", 0)
    sent = st.file_uploader(
        _LABELS[part] if kept is None else f"Another instead ({_LABELS[part]})",
        type=_SUFFIXES[part],
        key=f"{held(part)} {round_}",
        max_upload_size=bounds.MOST_BYTES >> 20,
        help=f"{_HELP[part]} At most {bounds.MOST_BYTES >> 20} MB, {bounds.size(bounds.MOST_UNPACKED)} once it is unpacked. "
        "What it is, its content says. It is looked at before it is kept, and nothing in it is run as Python.",
    )
    failed = f"{held(part)} refused"
    if sent is not None:
        st.session_state[failed] = _take(part, sent)
        # A fresh uploader: what was sent need not stay in memory.
        st.session_state[f"{held(part)} round"] += 1
        st.rerun()
    if why := st.session_state.get(failed):
        st.error(shell.plain(why), icon=":material/error:")
    return source if kept is not None else ""


def _take(part: Part, sent: Any) -> str | None:
    """Look at a file and keep it; why it is not taken, None where it is."""
    bar = st.progress(0.0, f"Looking at {shell.plain(sent.name)}")
    try:
        access.require("editor")
        found = keep.receive(sent, sent.name, part, lambda share: _show(bar, share, sent.name))
    except InputError as error:
        return str(error)
    st.session_state[held(part)] = str(found.path)
    return None


def _show(bar: Any, share: float, name: str) -> None:
    bar.progress(share, f"Looking at {shell.plain(name)}")


def _about(kept: keep.Upload) -> str:
    """What is in it, in a few words."""
    facts, size = kept.facts, bounds.size(kept.n_bytes)
    if kept.kind == "onnx":
        ends = [", ".join(f"{n} {shape}" for n, shape in list(facts[key].items())[:3]) for key in ("inputs", "outputs")]
        return f"{size}, {facts['nodes']:,} nodes, takes {ends[0]}, gives {ends[1]}"
    if kept.kind == "npz":
        arrays = [f"{name} {shape}" for name, shape in facts["arrays"].items()]
        return f"{size}, {'; '.join(arrays[:6])}{'; …' if len(arrays) > 6 else ''}"
    folders = [f"{name} {n:,}" for name, n in list(facts["folders"].items())[:6]]
    more = ", …" if facts["folder_count"] > 6 else ""
    where = f"in folders {', '.join(folders)}{more}" if folders else "without folders, so without labels"
    return f"{size}, {facts['pictures']:,} pictures {where}"
