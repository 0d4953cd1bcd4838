"""The form of a new sweep: model, data, steps with their knobs as chips, and what to measure."""

from __future__ import annotations

from typing import Any

import streamlit as st

from engine.devices import profile_names
from engine.models.catalog import DESCRIPTIONS, zoo_index, zoo_names
from pages.ui.draft import ALL, AS_IT_IS, CHANNEL_RATIOS, IMAGES, QUANTIZATIONS, TEST_IMAGES, WEIGHT_RATIOS, Draft

OTHER = "my own file …"
# The draft survives a visit to another page.
KEEP: dict[str, Any] = {"persist_state": "session"}


def _percent(share: float) -> str:
    return f"{share * 100:g} %"


def _images(count: int) -> str:
    return "all" if count == ALL else f"{count:,}"


def fill_in() -> Draft:
    """Draw the form; what it says now."""
    model, weights, data = _what()
    students, student_epochs, student_images, plain = _students(model)
    channels, zeros, unpruned, finetune_epochs, finetune_images = _pruning()
    with st.container(border=True):
        st.markdown("**Quantize**: store and compute in fewer bits")
        quantizations = st.pills(
            "Each recipe so far, as",
            list(QUANTIZATIONS),
            selection_mode="multi",
            default=[AS_IT_IS, "int8", "4-bit weights"],
            help="int8 computes in integers. N-bit weights are stored in exactly N bits and computed with in floats.",
            key="form quantize",
            **KEEP,
        )
    test_images, latency, threads, profiles = _measuring()
    name = st.text_input(
        "Name", Draft.name, max_chars=200, help="How this sweep is called in lists.", key="form name", **KEEP
    )
    return Draft(
        name=name,
        model=model,
        weights=weights,
        data=data,
        students=tuple(students),
        student_epochs=student_epochs,
        student_images=student_images,
        plain=plain,
        channels=tuple(sorted(channels)),
        zeros=tuple(sorted(zeros)),
        unpruned=unpruned,
        finetune_epochs=finetune_epochs,
        finetune_images=finetune_images,
        quantizations=tuple(q for q in QUANTIZATIONS if q in quantizations),
        test_images=test_images,
        latency=latency,
        threads=threads,
        profiles=tuple(profiles),
    )


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


def _students(model: str) -> tuple[list[str], int, int, bool]:
    with st.container(border=True):
        st.markdown("**Distil**: train a smaller network to do as the model does")
        # A student may be of the model's own kind, only then there is nothing gained.
        students = st.pills(
            "Students",
            [n for n in zoo_names() if n != model],
            selection_mode="multi",
            default=[n for n in ("ds_cnn",) if n != model],
            help="Each is trained from scratch with the model as its teacher.",
            key="form students",
            **KEEP,
        )
        if not students:
            return [], Draft.student_epochs, Draft.student_images, True
        left, right = st.columns(2)
        epochs = left.number_input("Epochs", 1, 1000, Draft.student_epochs, key="form student epochs", **KEEP)
        images = _images_box(right, "form student images", Draft.student_images)
        plain = st.checkbox("and recipes without a student", True, key="form plain", **KEEP)
        return students, epochs, images, plain


def _pruning() -> tuple[list[float], list[float], bool, int, int]:
    with st.container(border=True):
        st.markdown("**Prune**: remove what matters least")
        channels = st.pills(
            "Whole channels, share removed",
            CHANNEL_RATIOS,
            selection_mode="multi",
            default=[0.25, 0.5, 0.7],
            format_func=_percent,
            help="Makes the network smaller and faster everywhere.",
            key="form channels",
            **KEEP,
        )
        zeros = st.pills(
            "Single weights, share set to zero",
            WEIGHT_RATIOS,
            selection_mode="multi",
            format_func=_percent,
            help="The smallest weights of the whole network. The file zips smaller; a runtime without sparse kernels is no faster.",
            key="form zeros",
            **KEEP,
        )
        if not channels and not zeros:
            return [], [], True, Draft.finetune_epochs, Draft.finetune_images
        left, right = st.columns(2)
        epochs = left.number_input(
            "Epochs of training after it", 0, 1000, Draft.finetune_epochs, key="form finetune epochs", **KEEP
        )
        images = _images_box(right, "form finetune images", Draft.finetune_images) if epochs else ALL
        unpruned = st.checkbox("and recipes without pruning", True, key="form unpruned", **KEEP)
        return channels, zeros, unpruned, epochs, images


def _images_box(place: Any, key: str, default: int) -> int:
    chosen: int = place.selectbox(
        "Training images per epoch", IMAGES, index=IMAGES.index(default), format_func=_images, key=key, **KEEP
    )
    return chosen


def _measuring() -> tuple[int, bool, int, list[str]]:
    with st.container(border=True):
        st.markdown("**Measure**: accuracy and size always")
        test_images = st.pills(
            "Test images",
            TEST_IMAGES,
            default=ALL,
            required=True,
            format_func=_images,
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
        return test_images, latency, threads, profiles
