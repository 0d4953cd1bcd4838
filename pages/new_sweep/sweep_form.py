"""The form of a new sweep: model, data, steps, what to measure, and what the network is for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

from engine.devices.profiles import Profile, all_profiles
from engine.metrics import METRICS, based, shown
from engine.models.catalog import onnx2torch_installed
from pages.new_sweep import fields, source_form
from pages.new_sweep.distill_form import students
from pages.new_sweep.draft import LIMITED, TEST_IMAGES, Draft
from pages.new_sweep.fields import KEEP, choice, key, number, text, tick
from pages.new_sweep.prune_form import pruning
from pages.new_sweep.quantize_form import quantizing, running
from pages.new_sweep.search_form import search_fields
from pages.new_sweep.training_fields import image_count

_CLASSES = ("host", "microcontroller", "accelerator", "phone", "application", "gpu", "server", "design")


def open_with(draft: Draft) -> None:
    """Fill the form in when it is opened for the first time in a visit."""
    if "form draft" not in st.session_state:
        show(draft)


def show(draft: Draft) -> None:
    """Make the form show a draft; before it is drawn."""
    fields.put(draft)
    st.session_state["form draft"] = draft
    source_form.put(draft)
    limits = dict(draft.limits)
    st.session_state["form limits offered"] = tuple(limits)
    for metric in dict.fromkeys((*METRICS, *limits)):
        st.session_state[f"form limit {metric}"] = (
            round(float(shown(metric, limits[metric])), 9) if metric in limits else None
        )


def current() -> Draft:
    """What the form said when it was last on screen."""
    draft: Draft = st.session_state["form draft"]
    return draft


def stated() -> Draft:
    """The same with model, data and name as their boxes are now: a click may come together with what was typed before it."""
    state, draft = st.session_state, current()
    typed = {name: state.get(key(name), getattr(draft, name)) for name in ("name", "model", "weights", "data")}
    return replace(draft, **typed | source_form.meant(typed))


def fill_in() -> Draft:
    """Draw the form; what it says now. Raises SpecError where there is no network, or no data, yet."""
    found: dict[str, Any] = source_form.sources()
    model = found["model"]
    if not model.endswith(".onnx"):
        found |= students(model, found["data"]) | pruning()
    elif onnx2torch_installed():
        found |= pruning()
    found |= quantizing() | running() | _measuring() | _purpose(found)
    found["name"] = text("Name", "name", "How this sweep is called in lists.")
    draft = Draft(**found)
    st.session_state["form draft"] = draft
    source_form.check_there(draft)
    return draft


def _measuring() -> dict[str, Any]:
    """The fields of `Draft` that say what to measure."""
    with st.container(border=True):
        st.markdown("**Measure**: accuracy and size always")
        found: dict[str, Any] = {
            "test_images": choice(
                "Test samples",
                "test_images",
                TEST_IMAGES,
                "Fewer are quicker and make the accuracy interval wider.",
                image_count,
                is_open=True,
                kind="buttons",
            ),
            "latency": tick("Latency on this machine", "latency", "Each file in turns with the baseline."),
        }
        if found["latency"]:
            left, right = st.columns(2)
            told = "That one inference may use while its latency is measured."
            found["threads"] = number("Threads", "threads", told, place=left)
            told = "1 is one image after the other, as in a camera; a server may collect several."
            found["batch"] = number("Samples per call", "batch", told, place=right)
        found["profiles"] = _profiles()
        with st.expander("More options"):
            found |= _more(found["latency"])
        return found


def _more(latency: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if latency:
        columns = st.columns(3)
        found["half_width"] = number(
            "Ratio known to ± (share)",
            "half_width",
            "Measuring goes on until the 95 % interval of the latency ratio is so narrow: 0.02 is 2 %.",
            0.005,
            place=columns[0],
        )
        found["time_limit_s"] = number(
            "or for seconds", "time_limit_s", "At most so long for each recipe.", 1.0, place=columns[1]
        )
        found["processes"] = number(
            "Fresh processes",
            "processes",
            "Each is measured in so many; what differs between them is in the interval.",
            place=columns[2],
        )
    columns = st.columns(3)
    found["held_back"] = number(
        "Test samples held back (share)",
        "held_back",
        "Kept out of every figure until `paretoscope confirm` looks at them once: picking the best of many flatters it.",
        0.1,
        place=columns[0],
    )
    found["replicates"] = number(
        "Seeds",
        "replicates",
        "Recipes that train are run with so many seeds; charts show mean and range. Takes as many times as long.",
        place=columns[1],
    )
    found["seed"] = number(
        "First seed", "seed", "What chance is drawn from; the same seed, the same result.", place=columns[2]
    )
    return found | search_fields()


def profile_label(profile: Profile) -> str:
    """`Microcontroller · STMicroelectronics NUCLEO-H7A3ZI-Q · X-CUBE-AI 9, int8 · fitted`, or `This machine`."""
    if profile.basis == "measured":
        return "This machine"
    name = profile.device.partition(" (")[0]
    kind = "GPU" if profile.device_class == "gpu" else profile.device_class.capitalize()
    return " · ".join((kind, name, profile.runtime, profile.basis))


def _by_class() -> dict[str, Profile]:
    """Profiles, kinds together: small devices first, own ones at the end of their kind."""
    known = all_profiles()
    return dict(
        sorted(known.items(), key=lambda p: _CLASSES.index(p[1].device_class) if p[1].device_class in _CLASSES else 99)
    )


def _profiles() -> tuple[str, ...]:
    known = _by_class()
    st.session_state[key("profiles")] = [p for p in st.session_state[key("profiles")] if p in known]
    chosen = st.multiselect(
        "Energy, and latency elsewhere, estimated for",
        list(known),
        format_func=lambda p: profile_label(known[p]),
        placeholder="Type a device, a runtime or a kind",
        help="Fitted: to published measurements, with an error that the Devices page tells. Datasheet: a bound that no device reaches "
        "and nobody here has checked. Type a part of a name to find it.",
        key=key("profiles"),
        **KEEP,
    )
    bases = [known[p].basis for p in chosen]
    told = {
        "fitted": "fitted to published measurements",
        "datasheet": "from a datasheet, a bound that nobody validated",
        "design": "a chip that does not exist, a projection",
        "measured": "this machine, energy estimated unless it has a counter",
    }
    st.caption("; ".join(f"{bases.count(b)} {words}" for b, words in told.items() if b in bases))
    return tuple(chosen)


def _purpose(found: dict[str, Any]) -> dict[str, Any]:
    """The fields of `Draft` that say where the network will run and what must hold there."""
    known, offered = all_profiles(), tuple(found.get("profiles", ()))
    with st.expander("Limits to open the results with"):
        st.caption(
            "Explore opens on this device, with these sliders set. What is measured stays the same, unless a search chooses it: that "
            "looks within them."
        )
        device = choice(
            "Device",
            "target_device",
            list(dict.fromkeys(["host", *offered, st.session_state[key("target_device")]])),
            "Where the chosen recipe will run. Its figures are estimated with the sweep.",
            lambda p: profile_label(known[p]) if p in known else p,
        )
        limits: dict[str, float] = {}
        names = list(dict.fromkeys([*LIMITED, *st.session_state["form limits offered"]]))
        # A row of columns for each three: stacked on a narrow screen, they keep their order.
        columns = [column for _ in range(0, len(names), 3) for column in st.columns(3)]
        for metric, column in zip(names, columns, strict=False):
            of = METRICS[metric]
            value = column.number_input(
                f"{of.name}{f' ({of.unit})' if of.unit else ''} {'≥' if of.maximise else '≤'}",
                value=None,
                placeholder="none",
                format="%g",
                help=of.help,
                key=f"form limit {metric}",
                **KEEP,
            )
            if value is not None:
                limits[metric] = round(based(metric, value), 12)
    return {"target_device": device, "limits": tuple(limits.items())}
