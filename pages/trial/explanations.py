"""What is worked out about a trial when somebody asks: why it is not faster, how it does on other CPUs, what held-back samples say.

An answer that is there is drawn; otherwise there is a button, and while a process works on it, how long it has been at it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from engine.explain.portability import SAMPLES, kept_portability
from engine.explain.why import kept_why
from engine.figures.trial_latency import times_alt, times_figure, times_info
from engine.metrics import text_of
from engine.spec.recipe import Recipe
from engine.spec.sweep import Sweep
from engine.store.rows import SweepRow
from engine.trials.text import apart_text, confirmation_text, duration, risk_text, share_text
from engine.trials.trial import Trial
from pages.shared import access, jobs, plots, queries, shell
from pages.shared.jobs import Job

POLL_S = 1.0
_PROCESS = "job of "


# An answer of the command line shows within a minute, one that was asked for here at once: its job's stamp changes.
@st.cache_data(ttl=60, max_entries=256, show_spinner=False)
def _kept_why(
    job: str, revision: int, stamp: tuple[int, bool], _sweep: Sweep, _trial: Trial, _baseline: Trial
) -> dict[str, Any] | None:
    # Spec and trials follow from the job, whose file lies in this home, and the revision.
    return kept_why(queries.store(), _sweep, _trial, _baseline)


@st.cache_data(ttl=60, max_entries=256, show_spinner=False)
def _kept_portability(
    job: str, revision: int, stamp: tuple[int, bool], _sweep: Sweep, _trial: Trial
) -> dict[str, Any] | None:
    return kept_portability(queries.store(), _sweep, _trial)


def why(row: SweepRow, trial: Trial, baseline: Trial) -> None:
    """Why it is not faster: the answer, or the way to it."""
    job = Job("why", row.id, trial.id)
    found = _kept_why(str(job.log), row.revision, jobs.stamp(job), queries.spec(row), trial, baseline)
    if found:
        _why(found)
    else:
        ask(
            job,
            "Profile it beside the baseline",
            "Runs both files on this server’s machine with ONNX Runtime’s own profiler, a few seconds, and keeps what it found.",
        )


def portability(row: SweepRow, trial: Trial) -> None:
    """How an int8 file would answer on CPUs without VNNI: the answer, or the way to it."""
    job = Job("portability", row.id, trial.id)
    found = _kept_portability(str(job.log), row.revision, jobs.stamp(job), queries.spec(row), trial)
    if found:
        _portability(found)
    else:
        ask(
            job,
            "Predict it",
            f"Emulates saturating sums on {SAMPLES} test samples, layer by layer, and keeps what it found.",
        )


def confirmation(row: SweepRow, trial: Trial) -> None:
    """What held-back samples say: the answer, the way to it, or how there could be any."""
    held_back = queries.spec(row).measure.held_back
    if trial.confirmation:
        st.markdown(f":material/verified: {confirmation_text(trial)}.")
    elif not held_back:
        st.caption(
            "This sweep held no test samples back, so there are none that played no part in choosing. To keep a fifth of them apart, write "
            "`measure: {held_back: 0.2}` into the spec and run it as a new sweep."
        )
    else:
        ask(
            Job("confirm", row.id, trial.id),
            "Confirm on held-back samples",
            f"Evaluates the file once on the {share_text(held_back)} of the test samples that no figure of this sweep has seen.",
        )


def ask(job: Job, label: str, about: str) -> None:
    """A button that starts a job, and its progress while it runs; the page is drawn anew when it has ended."""
    waiting = jobs.elapsed_s(job) is not None

    @shell.fragment(run_every=POLL_S if waiting else None)
    def poll() -> None:
        seconds = jobs.elapsed_s(job)
        if (seconds is not None) != waiting:
            st.rerun()
        if seconds is None:
            _button(job, label, about)
        else:
            _progress(job, seconds)

    poll()


def _button(job: Job, label: str, about: str) -> None:
    last = jobs.last_words(job)
    if last:
        st.warning(f"The last try did not work: {shell.plain(last)}", icon=":material/error:")
    elif last is not None:
        st.caption("The last try was stopped before it was done.")
    if not access.may("editor"):
        st.caption("Nobody has asked for this yet. It runs something on this server, which takes the role editor.")
        return
    reason = jobs.in_the_way()
    if st.button(label, key=f"{_PROCESS}{job}", icon=":material/play_arrow:", disabled=reason is not None, help=about):
        # Kept, so that the process is waited for when it has ended.
        st.session_state[f"{_PROCESS}{job} process"] = jobs.start(job)
        st.rerun()
    st.caption(f"Not now: {shell.plain(reason)}." if reason else about)


def _progress(job: Job, seconds: float) -> None:
    usual = queries.store().rates().get(job.command)
    text = f"{duration(seconds)} so far"
    if usual is None:
        st.info(f"Working it out: {text}. You may leave this page.", icon=":material/hourglass_top:")
    else:
        left = max(0.0, usual - seconds)
        tail = f"about {duration(left)} to go" if left else "longer than others took"
        st.progress(min(0.97, seconds / usual) if usual else 0.97, f"{text}, {tail}. You may leave this page.")
    if access.may("editor") and st.button("Cancel", key=f"{_PROCESS}{job} cancel", icon=":material/stop_circle:"):
        jobs.cancel(job)
        st.rerun()


def _why(found: Mapping[str, Any]) -> None:
    lines = found["advice"]
    first = lines[0][:1].upper() + lines[0][1:]
    st.markdown(f"**{shell.plain(first)}.**")
    if len(lines) > 1:
        st.markdown("\n".join(f"- {shell.plain(line[:1].upper() + line[1:])}." for line in lines[1:]))
    with st.container(horizontal=True):
        for label, value, about in (
            ("MACs saved", f"{found['macs_saved'] * 100:.0f} %", "Multiply-accumulates against the baseline’s."),
            ("Time saved", f"{found['time_saved'] * 100:.0f} %", "Time in kernels against the baseline’s, per sample."),
            ("In kernels", f"{found['trial_ms']:.3g} ms", "Time in kernels, per sample."),
            ("Outside kernels", f"{found['call_ms']:.3g} ms", "The rest of one call: what calling the network costs."),
        ):
            st.metric(label, value, help=about, border=True, width=158)
    left, right = st.columns(2, gap="medium")
    for column, title, rows, nameless in (
        (left, "Time by operator type", found["by_type"], "unnamed"),
        (right, "Time by layer", found["by_layer"], "no layer’s own"),
    ):
        with column:
            info = times_info(rows, nameless=nameless)
            st.markdown(f"###### {title}")
            plots.draw(times_figure(info), key=f"trial {title}", alt=times_alt(info))
    layerless = sum(row["trial_ms"] or 0 for row in found["by_layer"] if not row["name"])
    if layerless > found["trial_ms"] / 2:
        st.caption(
            "Of most kernels of this file the runtime does not say which layer they are: here they are no layer’s own."
        )
    st.markdown("\n".join(f"- {line}" for line in why_details(found)))
    st.caption(f"Kernels of one sample, profiled on {shell.plain(found['machine'])}.")


def why_details(found: Mapping[str, Any]) -> list[str]:
    """What stands behind the advice, a line of Markdown each: rounding that did not fuse, layers in floats, odd channels."""

    def some(names: list[str]) -> str:
        rest = f" and {len(names) - 5} more" if len(names) > 5 else ""
        return shell.plain(", ".join(names[:5])) + rest

    unfused, width, off = found["unfused"], found["vector_width"], found["off_width"]
    lost = sum(k["ms"] for k in unfused)
    return [
        f"**Quantize and Dequantize nodes that did not fuse: {len(unfused)}**"
        + (f", {lost:.3g} ms a call: {some([k['name'] for k in unfused])}" if unfused else ""),
        f"**Layers that still multiply in floats in an integer file: {len(found['float_layers'])}**"
        + (f": {some(found['float_layers'])}" if found["float_layers"] else ""),
        f"**Convolutions whose channels are no multiple of {width}, what a vector of this CPU holds: {len(off)}**"
        + (f": {some([f'{name} ({n})' for name, n in off.items()])}" if off else ""),
    ]


def _portability(found: Mapping[str, Any]) -> None:
    run = "As run on the CPU that worked this out."
    exact = run if found["here"] == "exact" else "The same samples, with kernels that are exact on every CPU."
    saturating = (
        run if found["here"] == "saturating" else "The same samples with sums that saturate, emulated pair by pair."
    )
    st.markdown(f"**Risk {risk_text(found)}.**")
    if found["accuracy"] is None:
        st.markdown(f"{apart_text(found)}.")
    with st.container(horizontal=True):
        for label, value, about in (
            ()
            if found["accuracy"] is None
            else (
                (
                    "Exact sums",
                    text_of("accuracy", found["accuracy"]),
                    f"Right of {found['images']:,} test samples on CPUs with VNNI or AMX, and on Arm. {exact}",
                ),
                (
                    "Saturating sums" + ("" if found["here"] == "saturating" else " (sim.)"),
                    text_of("accuracy", found["saturated_accuracy"]),
                    f"Right on x86 without VNNI. {saturating}",
                ),
                (
                    "Other answers",
                    f"{found['flips']:,}",
                    f"{found['harmed']} turn wrong, {found['helped']} turn right (p = {found['p_value']:.3g}, McNemar).",
                ),
            )
        ):
            st.metric(label, value, help=about, border=True, width=180)
    touched = [x for x in found["layers"] if x["saturated"]]
    if touched:
        with st.expander(f"{len(touched)} layers saturate", icon=":material/layers:"):
            columns = {
                "Layer": [x["name"] for x in touched],
                "Pairs saturated": [f"{x['saturated']:.3%}" for x in touched],
                "Outputs changed": [f"{x['outputs_changed']:.2%}" for x in touched],
            }
            st.table(pd.DataFrame(columns).set_index("Layer"), border="horizontal")
    if found["safe_recipe"]:
        safe = Recipe.from_json(found["safe_recipe"])
        st.markdown(
            f"Safe everywhere: **{shell.plain(safe.label)}**, whose weights have 7 bits. As a line of `recipes:` in a spec:"
        )
        st.code(f"- {json.dumps(found['safe_recipe'])}", language="yaml", wrap_lines=True)
