"""Compare: two to six recipes of a sweep side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
import streamlit as st

from engine.errors import DatasetError
from engine.explain.compare import QUANTITIES, Pair, Row, layer_groups, metric_rows, pairs, recipe_chains, recipe_rows
from engine.export import tables as table_export
from engine.figures.compare import (
    accuracy_alt,
    accuracy_figure,
    accuracy_info,
    costs_alt,
    costs_figure,
    costs_info,
)
from engine.frontier.columns import Trials
from engine.metrics import METRICS
from engine.store.rows import SweepRow
from engine.trials.text import with_minus
from engine.trials.trial import Trial
from pages.compare import changes, modes, network, sweeps
from pages.shared import answers, comparison, plots, queries, share, shell, widths

LEAST = 2
_FIRST = ("compare accuracy place", "compare costs place")
_NAMES = "compare names"


def render() -> None:
    """Draw the page."""
    mode = modes.pick()
    if mode != modes.RECIPES:
        (sweeps if mode == modes.SWEEPS else changes).show()
        return
    picked = comparison.pick("compare", LEAST)
    if picked is None:
        return
    row, done, chosen = picked
    if len(chosen) < LEAST:
        st.info(
            f"Choose at least {LEAST} recipes above, or put some aside with **Add to comparison** on the Explore page.",
            icon=":material/compare_arrows:",
        )
        return
    with st.container(horizontal=True, vertical_alignment="bottom"):
        device = _device(done)
        all_rows = st.toggle(
            "Also what is the same", key="compare all rows", help="Off: only the rows in which the recipes differ."
        )
        tables = {
            "Numbers": lambda: table_export.number_rows(chosen, (device,)),
            "Pairs": lambda: table_export.records(_paired(chosen)[0]),
        }
        share.popover(f"{row.id}-compared", tables)
    named = dict(zip(comparison.LETTERS, chosen, strict=False))
    baseline = queries.baseline(done)
    _recipes(row, named)
    widths.chart_first(modes.KEY, *_FIRST)
    widths.narrow_only(_NAMES)
    left, right = st.columns(2, gap="medium")
    with left:
        with st.container(key=_FIRST[0]):
            with st.container(key=_NAMES):
                st.caption("  \n".join(f"**{letter}** {shell.plain(t.label)}" for letter, t in named.items()))
            _accuracy(named, baseline)
        _pairs(row, named)
    with right, st.container(key=_FIRST[1]):
        _costs(named, baseline, device)
    st.subheader("Numbers", anchor=False)
    _table(metric_rows(chosen, device), named, all_rows, "Numbers of the recipes side by side")
    st.subheader("Options of the steps", anchor=False)
    _table(recipe_rows(chosen), named, all_rows, "Options of the steps side by side")
    with shell.one_line_errors():
        _layers(row, named, all_rows)
    network.show(row, named)


def _device(done: Trials) -> str:
    names = done.devices
    if st.session_state.get("compare device") not in names:
        st.session_state["compare device"] = names[0]
    return st.selectbox(
        "Device",
        names,
        format_func=lambda d: "this sweep’s host" if d == "host" else d,
        key="compare device",
        width=220,
        help="Latency and energy are those of this device. On the host and on your own boards latency is measured; on others both are "
        "estimated.",
    )


def _recipes(row: SweepRow, named: Mapping[str, Trial]) -> None:
    """Who is who: a letter for each recipe, and its steps, those that not all share in bold."""
    columns = [*st.columns(min(3, len(named))), *(st.columns(3) if len(named) > 3 else [])]
    chains = recipe_chains(list(named.values()))
    for column, (letter, trial), chain in zip(columns, named.items(), chains, strict=False):
        with column, st.container(border=True, height="stretch", gap="small"):
            st.markdown(f"**{letter}** · {shell.plain(trial.label)}")
            steps = [f"{i}. {_marked(text, special)}" for i, (text, special) in enumerate(chain, 1)]
            st.caption("\n".join(steps) or "The network as it came")
            st.page_link(
                shell.pages()["explore"],
                label="Open",
                icon=":material/scatter_plot:",
                query_params={"sweep": row.id, "trial": trial.id},
            )


def _marked(text: str, special: bool) -> str:
    return f"**{shell.plain(text)}**" if special else shell.plain(text)


def _accuracy(named: Mapping[str, Trial], baseline: Trial | None) -> None:
    info = accuracy_info(named, baseline)
    if not info.values:
        return
    st.subheader(
        f"{METRICS[info.key].name}", anchor=False, help="Marks with 95 % intervals; the dashed line is the baseline."
    )
    plots.draw(accuracy_figure(info), key="compare accuracy", alt=accuracy_alt(info))


def _costs(named: Mapping[str, Trial], baseline: Trial | None, device: str) -> None:
    st.subheader("Cost, against the baseline", anchor=False)
    info = costs_info(named, baseline, device) if baseline else None
    if info is None or not info.metrics or not info.bars:
        st.caption("Nothing to draw: the baseline has not been measured, or nothing else is chosen.")
        return
    plots.draw(costs_figure(info), key="compare costs", alt=costs_alt(info))


def _pairs(row: SweepRow, named: Mapping[str, Trial]) -> None:
    """Which recipes the test samples tell apart."""
    letters = {trial.id: letter for letter, trial in named.items()}
    found, trouble = _paired(list(named.values()))
    own = any(trial.score for trial in named.values())
    st.subheader(
        "Can the test samples tell them apart?",
        anchor=False,
        help=f"{'A paired permutation or bootstrap test' if own else 'McNemar’s test (mid-p)'} on the same samples, corrected for the "
        "number of pairs (Holm). Not told apart at 5 %: the difference may be chance.",
    )
    rows = [
        {
            "Pair": f"{letters[p.first]} and {letters[p.second]}",
            "Difference": with_minus(p.difference or "–"),
            **({} if own else {"Right in one alone": _alone(p)}),
            "p": _p(p.p),
            "Corrected": _p(p.p_holm),
            "Verdict": {None: "not known", True: "told apart", False: "not told apart"}[p.told_apart],
        }
        for p in found
    ]
    st.table(pd.DataFrame(rows), border="horizontal", hide_index=True, alt="Significance of each pair")
    if trouble:
        st.caption(f"Pairs without the baseline are not known: {trouble}")
    elif any(p.p is None for p in found):
        st.caption(
            "Not known: the record does not say where the answers to the test samples are, or they are gone. Run the sweep again to test "
            "every pair."
        )


def _alone(pair: Pair) -> str:
    return "–" if pair.n is None else f"{pair.only_first:,} and {pair.only_second:,} of {pair.n:,}"


def _paired(trials: Sequence[Trial]) -> tuple[list[Pair], str | None]:
    """Every pair, and why those without the baseline are not known, if they are not."""
    try:
        if any(t.score for t in trials):
            return pairs(trials, {}, {t.id: answers.scored(t) for t in trials}), None
        return pairs(trials, {t.id: answers.right_answers(t) for t in trials}), None
    except DatasetError as error:
        return pairs(trials, {}), str(error)


def _p(p: float | None) -> str:
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def _table(rows: Sequence[Row], named: Mapping[str, Trial], all_rows: bool, alt: str) -> None:
    """One column a recipe; without `all_rows` only what differs, and how much was left out."""
    shown = [r for r in rows if all_rows or r.differs]
    if shown:
        frame = pd.DataFrame(
            {letter: [with_minus(r.values[i]) for r in shown] for i, letter in enumerate(named)},
            index=[r.name for r in shown],
        )
        st.table(frame, border="horizontal", alt=alt)
    if len(shown) < len(rows):
        st.caption(f"{len(rows) - len(shown)} rows are the same for all and not shown.")
    elif not rows:
        st.caption("No recipe has any.")


def _layers(row: SweepRow, named: Mapping[str, Trial], all_rows: bool) -> None:
    st.subheader("Layer by layer", anchor=False)
    if not st.toggle("Read the layers from the files", key="compare layers"):
        return
    found = {t.id: layers for t in named.values() if (layers := queries.layers(row, t)) is not None}
    letters = {trial.id: letter for letter, trial in named.items()}
    gone = [letters[i] for i in letters if i not in found]
    if gone:
        st.caption(f"The files of {', '.join(gone)} are gone; run the sweep again to read them.")
    quantity = st.selectbox(
        "Of each layer", list(QUANTITIES), format_func=QUANTITIES.__getitem__, key="compare quantity", width=220
    )
    for ids, rows in layer_groups(found, quantity):
        if len(found) > len(ids):
            st.caption(f"{' and '.join(letters[i] for i in ids)}: a network of its own, {len(rows)} layers")
        group = {letters[i]: named[letters[i]] for i in ids}
        _table(rows, group, all_rows or len(ids) == 1, "Layers side by side")


with shell.one_line_errors():
    shell.guard()
    render()
