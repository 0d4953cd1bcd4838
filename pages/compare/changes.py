"""What changed between two runs of the same recipes, regressions first.

`?mode=runs&then=ID&now=ID`; `ID@before` is a sweep's run before its last one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from engine.explain.run_changes import Change
from engine.explain.run_diff import STANDINGS, RecipeDiff, RunDiff, Standing, run_diff
from engine.explain.run_fronts import FrontDiff, front_diff, recommended
from engine.explain.run_sides import BEFORE, Side, check_sides, earlier_side, stored_side, what_differs
from engine.explain.run_texts import HEADINGS, HOW, alone, cell_text, front_lines, summary_text, then_now_text
from engine.frontier.verdict import Verdict
from engine.metrics import METRICS
from engine.store.rows import SweepRow
from engine.store.target import model_and_data_of
from pages.shared import address, pickers, queries, share, shell
from pages.shared.explore_address import LONGEST

PAGE = "compare runs"
_OWN = frozenset({"then", "now"})
_THEN, _NOW = "compare runs then", "compare runs now"
_ICONS: dict[Standing, str] = {
    "regression": ":material/trending_down:", "new failure": ":material/error:", "improvement": ":material/trending_up:",
    "unchanged": ":material/drag_handle:",
}  # fmt: skip
LOOKED_AT = 20
"""So many of the newest sweeps are looked through for two of the same network and data."""
FRONT_SHOWN = 8
"""So many recipes that left or came to the frontier are in sight, the others folded."""
MOST_TRIALS = 200
"""So many recipes that are new or gone are named."""


@dataclass(frozen=True)
class _Compared:
    differs: tuple[str, ...]
    recipes: RunDiff
    fronts: FrontDiff
    verdicts: tuple[Verdict, Verdict]


def show() -> None:
    """Draw the page's part."""
    rows = [r for r in queries.sweeps() if r.trials]
    offered = _offered(rows)
    params, news = address.read(PAGE, _OWN)
    if len(offered) < 2:
        st.info(
            "There is one run. A sweep that is measured anew, as after an update, keeps its run before the last one; then both are here.",
            icon=":material/info:",
        )
        return
    usual = _usual(rows, offered)
    for key, name, default in ((_THEN, "then", usual[0]), (_NOW, "now", usual[1])):
        asked = params.get(name, "")[: LONGEST + len(BEFORE)]
        if news and asked and asked not in offered:
            st.warning(f"There is no run {shell.plain(repr(asked))} here.", icon=":material/link_off:")
        if news or st.session_state.get(key) not in offered:
            st.session_state[key] = asked if asked in offered else default
    left, right = st.columns(2, gap="small")
    then = left.selectbox(
        "Then", list(offered), format_func=offered.__getitem__, key=_THEN, index=None, placeholder="Choose a run"
    )
    now = right.selectbox("Now", list(offered), format_func=offered.__getitem__, key=_NOW)
    address.write(PAGE, {"now": now} | ({"then": then} if then else {}), _OWN)
    if then is None:
        st.info(
            "No network was run twice on the same data here. A sweep that is measured anew, as after an update, keeps its run before the "
            "last one, and both open here. Any other two are compared, too: choose one as “Then”.",
            icon=":material/info:",
        )
        return
    if then == now:
        st.info("Choose two different runs.", icon=":material/tune:")
        return
    by_id = {r.id: r for r in rows}
    runs = tuple((ref, by_id[i].created, by_id[i].revision) for ref in (then, now) for i in (ref.removesuffix(BEFORE),))
    _told(_compared(queries.address(), runs), now.removesuffix(BEFORE))


def _offered(rows: Sequence[SweepRow]) -> dict[str, str]:
    """Every run there is, by how the address calls it."""
    found = {}
    kept = queries.store().earlier
    for row in rows:
        name = pickers.sweep_name(row)
        until = None if row.example else kept.kept(row.id)
        found[row.id] = f"{name} · {f'since {until[:16]}'.replace('T', ' ') if until else row.created[:10]}"
        if until:
            found[row.id + BEFORE] = f"{name} · the run before, until {until[:16].replace('T', ' ')}"
    return found


def _usual(rows: Sequence[SweepRow], offered: dict[str, str]) -> tuple[str | None, str]:
    """The newest sweep that has an earlier run, against that; otherwise the newest of a network and its data against the one of both before
    it. None and the newest where there is neither: what is unlike is compared when somebody asks for it.
    """
    if again := next((r.id for r in rows if r.id + BEFORE in offered), None):
        return again + BEFORE, again
    newer: dict[str, str] = {}
    for row in rows[:LOOKED_AT]:
        about = model_and_data_of(queries.store(), row.id)
        if about in newer:
            return row.id, newer[about]
        newer[about] = row.id
    return None, rows[0].id


@st.cache_resource(max_entries=8, ttl=3600, show_spinner="Comparing the runs …")
def _compared(home: tuple[str, str], key: tuple[tuple[str, str, int], ...]) -> _Compared:
    then, now = (_side(ref) for ref, _, _ in key)
    check_sides(then, now)
    return _Compared(
        what_differs(then, now),
        run_diff(then.trials, now.trials, then.find, now.find),
        front_diff(then, now),
        (recommended(then), recommended(now)),
    )


def _side(ref: str) -> Side:
    if ref.endswith(BEFORE):
        return earlier_side(queries.store(), ref.removesuffix(BEFORE))
    return stored_side(queries.store(), ref, queries.artifacts().local)


def _told(found: _Compared, sweep_id: str) -> None:
    if found.differs:
        with st.expander(f"What differs between the two: {len(found.differs)}", icon=":material/difference:"):
            st.markdown("\n".join(f"- {shell.plain(line)}" for line in found.differs))
    for line in found.recipes.left_out:
        st.warning(f"{shell.plain(line)}.", icon=":material/balance:")
    _counts(found.recipes)
    if not any(found.recipes.of(s) for s in STANDINGS[:3]):
        st.success("Nothing that both runs have is told apart.", icon=":material/check:")
    for standing in STANDINGS:
        _group(standing, found.recipes.of(standing), sweep_id)
    _alone(found.recipes)
    left, right = st.columns(2, gap="medium")
    with left:
        st.subheader("The frontier", anchor=False)
        _front(front_lines(found.fronts))
    with right:
        st.subheader("What to ship", anchor=False)
        for when, told in zip(("Then", "Now"), found.verdicts, strict=True):
            st.markdown(f"**{when}**: {shell.plain(told.sentence or 'no recommendation')}")
    share.popover("what-changed", {"Changes": lambda: _records(found.recipes)})


def _front(lines: Sequence[str]) -> None:
    """What became of the frontier; a long list is folded after its beginning."""
    told = [f"- {shell.plain(line)}" for line in lines]
    st.markdown("\n".join(told[: 1 + FRONT_SHOWN]))
    if more := told[1 + FRONT_SHOWN :]:
        with st.expander(f"and {len(more):,} more"):
            st.markdown("\n".join(more))


def _counts(found: RunDiff) -> None:
    st.markdown(f"**{shell.plain(summary_text(found))}**", help=HOW)


def _group(standing: Standing, recipes: Sequence[RecipeDiff], sweep_id: str) -> None:
    """One kind of change as a table; the unchanged are folded."""
    if not recipes:
        return
    if standing == "unchanged":
        with st.expander(f"Unchanged: {len(recipes):,}", icon=_ICONS[standing]):
            _table(standing, recipes, sweep_id)
    else:
        st.subheader(f"{_ICONS[standing]} {HEADINGS[standing]}", anchor=False)
        _table(standing, recipes, sweep_id)


def _table(standing: Standing, recipes: Sequence[RecipeDiff], sweep_id: str) -> None:
    keys = list(dict.fromkeys(c.key for r in recipes for c in r.changes))
    moved = {c.key for r in recipes for c in r.changes if c.then != c.now}
    records = []
    for r in recipes:
        by_key: dict[str, Change] = {c.key: c for c in r.changes}
        record = {"Recipe": r.label}
        if standing == "new failure" or any(x.error for x in recipes):
            record["Why"] = r.error or ""
        for key in keys:
            name = "Time" if key == "latency_ratio" else METRICS[key].name
            change = by_key.get(key)
            record[name] = cell_text(change)
            if key in moved:
                record[f"{name}, then → now"] = then_now_text(change) if change else "–"
        if standing == "improvement" and r.then.state == "failed":
            record["Why"] = f"failed then: {r.then.error or 'no reason kept'}"
        record["Open"] = f"explore?sweep={sweep_id}&trial={r.now.id}"
        records.append(record)
    st.dataframe(
        pd.DataFrame(records).fillna(""), hide_index=True, key=f"compare runs {standing}",
        column_config={"Open": st.column_config.LinkColumn("Open", display_text="Open", width="small")},
    )  # fmt: skip


def _alone(found: RunDiff) -> None:
    """What one run has alone."""
    for title, trials in alone(found):
        with st.expander(f"{title}: {len(trials):,}"):
            st.markdown("\n".join(f"- {shell.plain(t.label)}" for t in trials[:MOST_TRIALS]))
            if len(trials) > MOST_TRIALS:
                st.caption(f"and {len(trials) - MOST_TRIALS:,} more")


def _records(found: RunDiff) -> list[dict[str, object]]:
    """A row for each recipe and metric, in base units."""
    return [
        {
            "recipe": r.label, "trial": r.now.id, "standing": r.standing, "metric": c.key, "then": c.then, "now": c.now,
            "change": c.estimate.value, "low": c.estimate.low, "high": c.estimate.high, "paired": c.paired, "p_holm": c.p_holm,
            "verdict": c.verdict,
        }
        for r in found.recipes
        for c in r.changes
    ]  # fmt: skip
