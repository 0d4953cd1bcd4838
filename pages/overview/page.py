"""Overview: what this is, the sweeps there are, and where to begin."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from engine.figures.thumbnail import Summary, summary_text, thumbnail_alt, thumbnail_svg
from engine.store.rows import SweepRow
from pages.shared import access, deletion, queries, recommended, shell

CARDS, PER_ROW = 12, 3
MATCHES = 30
"""A longer list is searched, not read."""
_STATES = {
    "done": (":material/check_circle:", "green", "done"),
    "running": (":material/progress_activity:", "blue", "running"),
    "cancelled": (":material/stop_circle:", "gray", "cancelled"),
    "failed": (":material/error:", "red", "failed"),
    "interrupted": (":material/warning:", "orange", "interrupted"),
}


def render() -> None:
    """Draw the page."""
    st.markdown(
        "## Which compressed version of my model should I ship?\n"
        "Paretoscope compresses a trained network in many ways, measures every version in ONNX Runtime, and shows accuracy against "
        "size, latency and energy."
    )
    rows = queries.sweeps()
    own = [r for r in rows if not r.example]
    with st.container(horizontal=True):
        if access.may("editor") and st.button("New sweep", type="primary", icon=":material/add_circle:"):
            st.switch_page(shell.pages()["new-sweep"])
        for place, row in enumerate(r for r in rows if r.example):
            label = f"Open the {'second ' * bool(place)}example"
            if st.button(label, icon=":material/scatter_plot:", key=f"open {row.id}", help=shell.plain(row.name)):
                st.switch_page(shell.pages()["explore"], query_params={"sweep": row.id})
    if not own:
        st.info(
            "No sweep of your own yet. Open an example to see what you get, or start one with **New sweep**: a first look at a "
            "built-in network takes a few minutes.",
            icon=":material/info:",
        )
    if not rows:
        return
    _advice(next((r for r in rows if r.trials), None))
    st.markdown(f"**{'Recent sweeps' if len(rows) > 1 else 'Sweeps'}**")
    st.caption(_LEGEND)
    shown = rows[:CARDS]
    for start in range(0, len(shown), PER_ROW):
        for column, row in zip(st.columns(PER_ROW), shown[start : start + PER_ROW], strict=False):
            with column:
                _card(row)
    if len(rows) > CARDS:
        _search(rows)


def _advice(row: SweepRow | None) -> None:
    """What to ship of the newest sweep that has measured anything."""
    if row is None:
        return
    found = recommended.unless_refused(row)
    if found.sentence:
        st.markdown(f"What to ship from **{shell.plain(row.name)}**")
        recommended.box(row, found, "overview advice")


_LEGEND = (
    "Charts: accuracy (up is better) over latency, or file size (left is better); ● frontier, ○ beaten, □ baseline."
)


def _card(row: SweepRow) -> None:
    """One sweep: name, state, picture, best numbers, and the way in."""
    summary = queries.summary(row)
    icon, colour, name = _STATES[row.state]
    with st.container(border=True, height="stretch", gap="small"):
        st.markdown(f"**{shell.plain(row.name)}**")
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.badge(name, icon=icon, color=colour)  # type: ignore[arg-type]
            st.caption(_counts(row, summary))
        picture = thumbnail_svg(summary)
        if picture:
            st.image(picture, width="stretch", alt=thumbnail_alt(summary))
            st.caption(summary_text(summary))
        elif row.state == "running":
            st.caption("The first point appears when the baseline has been measured.")
        else:
            st.caption(f"Nothing was measured. {shell.plain(row.error) if row.error else 'Open it to go on with it.'}")
        _links(row, summary)


def _links(row: SweepRow, summary: Summary) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if summary.measured:
            _link("explore", "Explore", {"sweep": row.id}, ":material/scatter_plot:")
        if row.state != "done":
            label = "Follow it" if row.state == "running" else "Open it"
            _link("new-sweep", label, {"run": row.id}, ":material/monitoring:")
        deletion.button(row, "card")


def _link(page: str, label: str, params: dict[str, str], icon: str) -> None:
    st.page_link(shell.pages()[page], label=label, icon=icon, query_params=params)


def _counts(row: SweepRow, summary: Summary) -> str:
    when = "example" if row.example else row.created[:16].replace("T", " ") + " UTC"
    failed = f", {summary.failed} failed" if summary.failed else ""
    return f"{row.trials} of {row.recipes} recipes{failed} · {when}"


def _search(rows: Sequence[SweepRow]) -> None:
    """Every sweep by name, since only the newest have cards."""
    st.markdown(f"**All {len(rows):,} sweeps**")
    wanted = st.text_input(
        "Find a sweep",
        placeholder="A part of its name or id",
        key="find sweep",
        max_chars=200,
        icon=":material/search:",
    )
    found = [r for r in rows if wanted.casefold().strip() in f"{r.name} {r.id}".casefold()]
    if not found:
        st.caption("No sweep has this in its name or id. Try less of it.")
    for row in found[:MATCHES]:
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            target = ("explore", {"sweep": row.id}) if row.trials else ("new-sweep", {"run": row.id})
            _link(target[0], shell.plain(row.name), target[1], _STATES[row.state][0])
            st.caption(f"{row.state} · {row.trials} of {row.recipes} recipes · {row.created[:10]}")
            deletion.button(row, "list")
    if len(found) > MATCHES:
        st.caption(f"and {len(found) - MATCHES:,} more; type a part of the name to find them.")


with shell.one_line_errors():
    shell.guard()
    render()
