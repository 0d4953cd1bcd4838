"""The table of a report: every recipe with its numbers, in a form that the report's script can filter, sort and hold against limits."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from engine.frontier.columns import Trials
from engine.frontier.front import Front
from engine.metrics import METRICS, SHORT_PARTS, score_part, text_of
from engine.spec.sentences import recipe_texts
from engine.trials.metric_values import is_slice, measured_metrics, metric_value, worst_slice
from engine.trials.text import is_estimated, metric_range, sums_text
from engine.trials.trial import Trial

MOST_ROWS = 2_000
"""A longer table makes browsers slow; every frontier recipe is in it, then the others in their order."""
SHOWN = ("size_bytes", "latency_ms", "latency_ratio", "energy_mj", "nonzero_params", "macs")
"""Columns that are there from the start, beside what the sweep is judged by; the rest can be chosen."""

LIMITS = """
<section aria-label="Limits"><p class="verdict" id="verdict" aria-live="polite"></p>
<div class="tools" id="limits"></div><p class="buttons"><button type="button" id="reset">Reset all</button></p></section>
"""
_TOOLS = """
<div class="tools"><label>Find a recipe<input type="search" id="find" placeholder="int8, channels, distil …"></label>
<details class="columns"><summary>Columns</summary><fieldset id="columns"></fieldset></details></div>
"""
# What report.js fills with sliders and boxes.


def text_html(text: str) -> str:
    """Text on one line, safe between tags and in attributes."""
    return html.escape(" ".join(text.split()))


def table(trials: Sequence[Trial], front: Front, device: str) -> str:
    """The tools and the table, and how many recipes are left out of it."""
    on_front = {t.id for t in front.trials}
    done = [t for t in trials if t.state == "done"]
    first = [t for t in done if t.id in on_front or not t.recipe.steps]
    others = [t for t in done if t.id not in on_front and t.recipe.steps]
    ids = {t.id for t in [*first, *others[: max(0, MOST_ROWS - len(first))]]}
    listed = [t for t in done if t.id in ids]
    measured = measured_metrics(listed, device)
    judged_by = Trials.of(trials).judged_by
    slices = [score_part(judged_by, part) for part in SHORT_PARTS]
    shown = [key for key in (judged_by, *slices, *SHOWN) if key in measured]
    columns = [*shown, *(key for key in measured if key not in shown)]
    head = "".join(_head(key, key in shown, listed, device) for key in columns)
    body = "\n".join(_row(t, columns, t.id in on_front, t.id == front.knee, device) for t in listed)
    left = (
        f"<p>{len(done) - len(listed):,} more recipes, all beaten, are left out.</p>" if len(listed) < len(done) else ""
    )
    return (
        f"{_TOOLS}"
        f'<div class="wide" tabindex="0" role="region" aria-label="Table of recipes"><table id="recipes" data-judged="{judged_by}">'
        f"<thead><tr><th scope=col></th>"
        f"<th scope=col>Recipe</th>{head}<th scope=col>Truth</th></tr></thead><tbody>{body}</tbody></table></div>{left}"
    )


def _head(key: str, shown: bool, trials: Sequence[Trial], device: str) -> str:
    off = "" if shown else " data-off=1"
    return f'<th scope=col data-key="{key}" data-up="{int(METRICS[key].maximise)}"{off}>{_column(key, trials, device)}</th>'


def _column(key: str, trials: Sequence[Trial], device: str) -> str:
    metric = METRICS[key]
    estimated = ", estimated" if any(is_estimated(t, key, device) for t in trials) else ""
    where = f" on {device}" if device != "host" and key in {"latency_ms", "energy_mj"} else ""
    unit = f" ({metric.unit})" if metric.unit else ""
    return f'<abbr title="{text_html(metric.help)}">{text_html(metric.name + where + estimated + unit)}</abbr>'


def _row(trial: Trial, columns: Sequence[str], on_front: bool, is_knee: bool, device: str) -> str:
    mark = ("◆" if is_knee else "●") if on_front else "□" if not trial.recipe.steps else ""
    told = {"◆": "knee of the frontier", "●": "on the frontier", "□": "baseline"}.get(mark, "")
    steps = "".join(f"<li>{text_html(text)}</li>" for text in recipe_texts(trial.recipe))
    notes = "".join(f"<p>{text_html(note)}</p>" for note in (sums_text(trial), *trial.notes) if note)
    cells = "".join(_cell(trial, key, device) for key in columns)
    return (
        f'<tr id="t-{text_html(trial.id)}"{" class=front" if on_front else ""}><td title="{told}">{mark}</td>'
        f"<td><details><summary>{label_html(trial)}</summary><ol>{steps}</ol>{notes}</details></td>{cells}"
        f"<td>{text_html(trial.provenance)}</td></tr>"
    )


def label_html(trial: Trial) -> str:
    """The recipe in words; a space that does not break keeps numbers and their unit together."""
    return text_html(trial.label).replace(" %", "\u00a0%")


def _cell(trial: Trial, key: str, device: str) -> str:
    value = metric_value(trial, key, device)
    known = value is not None and math.isfinite(value)
    start = f'<td data-v="{value:.9g}">' if known else "<td>"
    text = start + text_of(key, value, unit=False)
    ends = metric_range(trial, key, device)
    slice_ = worst_slice(trial.slices, key) if is_slice(key) else None
    where = f" <small>{text_html(slice_.array)} {text_html(slice_.value)}</small>" if slice_ else ""
    if not ends:
        return f"{text}{where}</td>"
    return f"{text} <small>({text_of(key, ends[0], unit=False)} to {text_of(key, ends[1], unit=False)})</small>{where}</td>"
