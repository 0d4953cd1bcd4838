"""The part of the form that says which recipes a run takes: budgets, the search, and recipes in short."""

from __future__ import annotations

from typing import Any

import streamlit as st

from engine.trials.text import duration
from pages.new_sweep.fields import choice, number, tick
from pages.new_sweep.searching import SEARCHES, Searching

_SAY = {
    "random": "Any recipe may be next. What every search has to beat.",
    "nsga2": "The best recipes so far are crossed and varied. Wants budgets of hundreds.",
    "tpe": "Learns which options the good recipes have in common. For budgets of 20 and more.",
    "gp": "Predicts every recipe’s figures from those measured and takes the one that promises most. For few options in numbers and small "
    "budgets; each choice takes about a second.",
    "gain": "Predicts every recipe’s figures from those measured, here and in earlier sweeps, and takes the one that promises most for "
    "the time that its missing steps take. What shares a training that is done costs little and comes early.",
}
_HELP = (
    "In order: every combination as the steps list them. At random: any. The others look where the frontier over accuracy, size and "
    "latency may grow, within the limits below: evolution crosses good recipes and wants budgets of hundreds; learned odds finds which "
    "options pay, from 20 on; the Gaussian process is for few options in numbers and small budgets; most gain for its time also counts "
    "what each costs."
)


def search_fields() -> dict[str, Any]:
    """The fields of `Searching`: how much one run may do, and which recipes it takes first."""
    columns = st.columns(3)
    recipes = number(
        "Recipes in one run, at most",
        "budget_trials",
        "0: all of them. The rest stay “not measured yet”, and the next run goes on with them.",
        place=columns[0],
    )
    minutes = number(
        "Minutes of one run, at most",
        "budget_minutes",
        "0: as long as it takes. What is finished when the time is over is kept, and the next run goes on there.",
        1.0,
        place=columns[1],
    )
    seconds = number(
        "Node seconds, at most",
        "budget_node_seconds",
        "0: as many as it takes. Seconds of one core for all steps and measurements of a run together, whatever else the machine does "
        "meanwhile; no recipe is begun that they are not left for by the forecast.",
        60.0,
        place=columns[2],
    )
    if minutes:
        st.caption(f"A run stops after about {duration(minutes * 60)}.")
    budget = {"budget_trials": recipes, "budget_minutes": minutes, "budget_node_seconds": seconds}
    return budget | _search(bool(recipes or minutes or seconds))


def _search(limited: bool) -> dict[str, Any]:
    """Which recipes a run takes first."""
    usual = Searching.search_method
    method = choice("Which recipes first", "search_method", list(SEARCHES), _HELP, SEARCHES.__getitem__)
    if method == "gain":
        st.caption(_SAY[method])
        return {"search_method": method} | _screening()
    if method != usual:
        told = "" if limited else " Without a budget every recipe is measured all the same; this is only the order."
        st.caption(f"{_SAY[method]}{told}")
    return {"search_method": method}


def _screening() -> dict[str, Any]:
    found: dict[str, Any] = {
        "screen": tick(
            "See recipes in short first, and stop those that show nothing",
            "screen",
            "Each training with a share of its epochs, fewer test samples, no latency. A recipe that hardly has a chance to add to the "
            "frontier is stopped then, with the reason; all others are measured in full.",
        )
    }
    if found["screen"]:
        left, right = st.columns(2)
        found["screen_share"] = number(
            "Share of each training",
            "screen_share",
            "0.25: one of four epochs, or a quarter of the samples of one.",
            0.05,
            place=left,
        )
        found["screen_samples"] = number(
            "Test samples in short", "screen_samples", "So many of the test samples.", place=right
        )
    found["enough"] = number(
        "End when so much of the frontier is found",
        "enough",
        "0: never. 0.99: a run ends when the search expects to have 99 % of the volume of the whole frontier, since what is left is "
        "unlikely to improve it.",
        0.01,
    )
    return found
