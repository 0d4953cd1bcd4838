"""Uploads a network or data, says what was found in it, and shows some of it."""

from __future__ import annotations

from typing import Any, Literal

import streamlit as st

from engine.errors import InputError
from engine.uploads import bounds, keep
from pages.shared import access, queries, shell

Part = Literal["model", "data"]
_LABELS: dict[Part, str] = {"model": "ONNX file", "data": "Data: .npz, or a zip of pictures"}
_SUFFIXES: dict[Part, list[str]] = {"model": ["onnx"], "data": ["npz", "zip"]}
_MOST_LISTED = 20
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
    _kept_here(part)
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


def _kept_here(part: Part) -> None:
    """What was uploaded for this box, by whomever: taken again without being sent, or removed where no sweep names it."""
    everything = keep.kept_uploads()
    mine = [u for u in everything if (u.kind == "onnx") == (part == "model")]
    if not mine:
        return
    taken = sum(u.n_bytes for u in everything)
    with st.popover(f"Uploaded before ({len(mine)})", icon=":material/folder_open:", type="tertiary"):
        st.caption(f"All uploads take {bounds.size(taken)} of {bounds.size(bounds.kept_at_most())}.")
        used, refused = keep.users(queries.store(), mine[:_MOST_LISTED]), f"{held(part)} not removed"
        if why := st.session_state.pop(refused, None):
            st.error(shell.plain(why), icon=":material/error:")
        for one in mine[:_MOST_LISTED]:
            sweeps = used[one.sha256]
            by = f"in {len(sweeps)} sweep{'s' if len(sweeps) > 1 else ''}" if sweeps else "in no sweep"
            st.markdown(f"**{shell.plain(one.name)}**, {bounds.size(one.n_bytes)}, {by}")
            with st.container(horizontal=True):
                st.button("Use", key=f"use {one.sha256}", on_click=_use, args=(part, one))
                st.button(
                    "Remove",
                    key=f"remove {one.sha256}",
                    icon=":material/delete:",
                    type="tertiary",
                    disabled=bool(sweeps),
                    help="Sweeps name it: delete these first." if sweeps else "For everybody, and for good.",
                    on_click=_remove,
                    args=(part, one),
                )
        if len(mine) > _MOST_LISTED:
            st.caption(f"{len(mine) - _MOST_LISTED} older ones: `paretoscope uploads`")


def _use(part: Part, upload: keep.Upload) -> None:
    st.session_state[held(part)] = str(upload.path)
    st.session_state.pop(f"{held(part)} refused", None)


def _remove(part: Part, upload: keep.Upload) -> None:
    try:
        access.require("editor")
        keep.remove(queries.store(), upload)
    except InputError as error:
        st.session_state[f"{held(part)} not removed"] = str(error)
        return
    if st.session_state.get(held(part)) == str(upload.path):
        st.session_state[held(part)] = ""


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
