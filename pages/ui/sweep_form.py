"""The form of a new sweep: model, data, steps and what to measure."""

from __future__ import annotations

from typing import Any

import streamlit as st

from engine.devices import profile_names
from engine.models.catalog import DESCRIPTIONS, zoo_index
from pages.ui.draft import ALL, TEST_IMAGES, Draft
from pages.ui.step_form import KEEP, image_count, pruning, quantizing, students

OTHER = "my own file …"


def fill_in() -> Draft:
    """Draw the form; what it says now."""
    model, weights, data = _what()
    fields: dict[str, Any] = {"model": model, "weights": weights, "data": data}
    if not model.endswith(".onnx"):
        fields |= students(model) | pruning()
    fields |= quantizing() | _measuring()
    fields["name"] = st.text_input(
        "Name", Draft.name, max_chars=200, help="How this sweep is called in lists.", key="form name", **KEEP
    )
    return Draft(**fields)


def _what() -> tuple[str, str, str]:
    """Model source, weights (may be empty) and dataset."""
    left, right = st.columns(2)
    with left:
        names = [*zoo_index(), OTHER]
        model = st.selectbox(
            "Model",
            names,
            key="form model",
            help="A built-in network, trained and shipped, or one of your own.",
            **KEEP,
        )
        weights = ""
        if model == OTHER:
            model = st.text_input(
                "Path on this machine",
                key="form model path",
                placeholder="/path/to/model.onnx or /path/to/net.py:build",
                help="An ONNX file (quantization only), a Python function that builds the network, or torchvision:NAME.",
                **KEEP,
            )
            if not model.endswith(".onnx"):
                weights = st.text_input(
                    "Checkpoint",
                    key="form weights",
                    placeholder="/path/to/weights.safetensors",
                    help="The trained weights of a Python function's network.",
                    **KEEP,
                )
        else:
            st.caption(f"{DESCRIPTIONS[model]} {zoo_index()[model].accuracy * 100:.2f} % right on the test images.")
    with right:
        data = st.selectbox(
            "Dataset", ["fashion_mnist", OTHER], key="form data", help="What to train and measure on.", **KEEP
        )
        if data == OTHER:
            data = st.text_input(
                "Path of an .npz on this machine",
                key="form data path",
                placeholder="/path/to/data.npz",
                help="With x_train, y_train, x_test and y_test.",
                **KEEP,
            )
        else:
            st.caption("60,000 training and 10,000 test images of clothes, grey, 28×28; shipped.")
    return model, weights, data


def _measuring() -> dict[str, Any]:
    """The fields of `Draft` that say what to measure."""
    with st.container(border=True):
        st.markdown("**Measure**: accuracy and size always")
        test_images = st.pills(
            "Test images",
            TEST_IMAGES,
            default=ALL,
            required=True,
            format_func=image_count,
            help="Fewer are quicker and make the accuracy interval wider.",
            key="form test images",
            **KEEP,
        )
        latency = st.checkbox(
            "Latency on this machine", True, help="Each file in turns with the baseline.", key="form latency", **KEEP
        )
        threads = 1
        if latency:
            threads = st.number_input(
                "Threads",
                1,
                1024,
                1,
                help="That one inference may use while its latency is measured.",
                key="form threads",
                **KEEP,
            )
        profiles = st.pills(
            "Energy, and latency elsewhere, estimated for",
            profile_names(),
            selection_mode="multi",
            default=list(profile_names()[:2]),
            format_func=lambda p: "this machine" if p == "host" else p,
            key="form profiles",
            **KEEP,
        )
        return {"test_images": test_images, "latency": latency, "threads": threads, "profiles": tuple(profiles)}
