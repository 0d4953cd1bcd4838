"""What a user's network and data look like, before a sweep of them starts: samples, the preprocessing that was found, what is wrong."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import streamlit as st

from engine.metrics import METRICS, text_of
from engine.models.catalog import brings_own_weights
from engine.spec.sweep import Sweep, parse_sweep
from pages.shared import runner, shell

_HELD = "form checked"


def ready(sweep: Sweep) -> Sweep | None:
    """The sweep as it can be started, its preprocessing stated; None until its model and data have been checked and nothing is wrong.

    Draws the panel where there is something to check: built-in networks on data that they know need none.
    """
    if not brings_own_weights(sweep.model):
        return sweep
    stamp = (sweep.model, sweep.data, sweep.metric, _written(sweep))
    held: tuple[Any, dict[str, Any]] | None = st.session_state.get(_HELD)
    if held is None or held[0] != stamp:
        st.caption(
            "Your network and data are tried on a few samples first: shapes, labels, and how numbers have to be prepared. It takes seconds."
        )
        if not st.button("Check model and data", icon=":material/fact_check:", type="primary", width="stretch"):
            return None
        with st.spinner("Trying a few samples"):
            st.session_state[_HELD] = (stamp, runner.check(sweep))
        st.rerun()
    _show(held[1])
    if not held[1]["ok"]:
        return None
    # The check says what the spec left out: preprocessing, the task, what it is judged by.
    found = {part: held[1]["spec"][part] for part in ("data", "metric")}
    return parse_sweep(sweep.model_dump(mode="json") | found)


def _written(sweep: Sweep) -> tuple[int, ...]:
    """When the files of a sweep were last changed."""
    paths = (sweep.model.source.rpartition(":")[0] or sweep.model.source, sweep.model.weights or "", sweep.data.source)
    return tuple(path.stat().st_mtime_ns for path in map(Path, paths) if path.exists())


def _show(report: dict[str, Any]) -> None:
    with st.container(border=True):
        baseline = report["baseline"]
        if baseline:
            st.markdown(_baseline(baseline))
        for finding in report["findings"]:
            text = shell.plain(f"{finding['what']}; {finding['remedy']}")
            if finding["level"] == "error":
                st.error(text, icon=":material/error:")
            else:
                st.warning(text, icon=":material/warning:")
        if report["ok"] and not report["findings"]:
            st.success("Nothing is wrong with model and data.", icon=":material/check:")
        if report["inputs"]:
            _data(report)
        if report["samples"]:
            _samples(report["samples"], bool(report["classes"]))
        if report["preprocessing"]:
            _preprocessing(report["preprocessing"])


def _baseline(found: dict[str, Any]) -> str:
    """How good the network is on the samples, in its metric's own words."""
    key = found.get("key", "accuracy")
    value, low, high = (text_of(key, found[end], unit=end != "low") for end in ("value", "low", "high"))
    if "key" in found:
        return f"**{shell.plain(METRICS[key].name)} is {value}** on {found['n']} samples ({low} to {high})."
    return f"**The network is right on {value}** of {found['n']} samples ({low} to {high})."


def _data(report: dict[str, Any]) -> None:
    """What the data are, in a line."""
    stored, classes = report["inputs"], report["classes"]
    arrays = stored if all(isinstance(part, dict) for part in stored.values()) else {"": stored}
    items = "; ".join(f"{name} {_array(part)}".strip() for name, part in arrays.items())
    splits = ", ".join(f"{n:,} {s}" for s, n in report["splits"].items() if n)
    told = f"Items: {items}; {splits}."
    if classes:
        told += f" {len(classes):,} classes: {', '.join(classes[:8])}{', …' if len(classes) > 8 else ''}."
    elif report["spec"]:
        told += f" Task: {report['spec']['data'].get('task')}."
    st.caption(shell.plain(told))


def _array(stored: dict[str, Any]) -> str:
    shape = "×".join(map(str, stored["shape"]))
    return f"{shape} of {stored['dtype']}, {stored['least']:g} to {stored['largest']:g}"


def _samples(samples: list[dict[str, Any]], classes: bool) -> None:
    st.caption("Some samples: what each is, and below what the network says.")
    with st.container(horizontal=True, gap="small"):
        for sample in samples:
            with st.container(width=72, gap=None):
                if sample["png"]:
                    st.image(base64.b64decode(sample["png"]), width=64)
                told = "" if sample["label"] is None else f"{shell.plain(sample['label'])}  \n"
                mark = "" if not classes or sample["label"] in (None, sample["predicted"]) else ":red"
                said = shell.plain(sample["predicted"])
                st.caption(told + (f"{mark}[{said}]" if mark else said))


def _preprocessing(tried: list[dict[str, Any]]) -> None:
    chosen = next(t for t in tried if t["chosen"])
    with st.expander(f"Numbers are read: {shell.plain(chosen['name'])}", icon=":material/tune:"):
        st.caption("Each way in which numbers are usually prepared, and how the network answers then.")
        st.table(
            [{"": "✓" if t["chosen"] else "", "Preprocessing": t["name"]} | _rated(t, tried) for t in tried],
            border="horizontal",
        )


def _rated(way: dict[str, Any], tried: list[dict[str, Any]]) -> dict[str, str]:
    """How the network answers after one way of preparing numbers; nothing where nothing tells."""
    if any(t["right"] is not None for t in tried):
        return {"Right": f"{way['right']} of {way['n']}"}
    if any(t["error"] is not None for t in tried):
        return {"Error, of the targets’ deviation": "–" if way["error"] is None else f"{way['error']:.3g}"}
    return {"Sure and different (nats)": f"{way['information']:.2f}"} if way["information"] else {}
