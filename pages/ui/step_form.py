"""The part of the form of a new sweep that asks for steps: their knobs as chips, the rarer ones behind a fold."""

from __future__ import annotations

from typing import Any

import streamlit as st

from engine.models.catalog import zoo_names
from pages.ui.draft import (
    ALL,
    AS_IT_IS,
    CHANNEL_RATIOS,
    IMAGES,
    MEAN_BITS,
    OWN_WIDTHS,
    PATTERNS,
    QUANTIZATIONS,
    TRAINED,
    WEIGHT_RATIOS,
    Draft,
)

KEEP: dict[str, Any] = {"persist_state": "session"}
"""For every field: the draft survives a visit to another page."""


def _percent(share: float) -> str:
    return f"{share * 100:g} %"


def image_count(count: int) -> str:
    """`25,000`, or `all`."""
    return "all" if count == ALL else f"{count:,}"


def _images_box(place: Any, key: str, default: int) -> int:
    chosen: int = place.selectbox(
        "Training images per epoch", IMAGES, index=IMAGES.index(default), format_func=image_count, key=key, **KEEP
    )
    return chosen


def students(model: str) -> dict[str, Any]:
    """The fields of `Draft` that say how to distil."""
    with st.container(border=True):
        st.markdown("**Distil**: train a smaller network to do as the model does")
        # A student may be of the model's own kind, only then there is nothing gained.
        chosen = st.pills(
            "Students",
            [n for n in zoo_names() if n != model],
            selection_mode="multi",
            default=[n for n in ("ds_cnn",) if n != model],
            help="Each is trained from scratch with the model as its teacher.",
            key="form students",
            **KEEP,
        )
        own_widths = st.pills(
            "The model itself, narrower",
            OWN_WIDTHS,
            selection_mode="multi",
            format_func=lambda w: f"×{w:g}",
            help="The same kind of network with this share of its channels in each layer.",
            key="form own widths",
            **KEEP,
        )
        fields: dict[str, Any] = {"students": tuple(chosen), "own_widths": tuple(own_widths)}
        if not chosen and not own_widths:
            return fields
        left, right = st.columns(2)
        fields["student_epochs"] = left.number_input(
            "Epochs", 1, 1000, Draft.student_epochs, key="form student epochs", **KEEP
        )
        fields["student_images"] = _images_box(right, "form student images", Draft.student_images)
        with st.expander("How the teacher teaches"):
            fields |= _teaching("recursive_resnet" in chosen)
        fields["untaught"] = st.checkbox(
            "and the same students without a teacher",
            help="Trained for as long from the labels alone, so that you see what the teacher bought.",
            key="form untaught",
            **KEEP,
        )
        fields["plain"] = st.checkbox("and recipes without a student", True, key="form plain", **KEEP)
        return fields


def _teaching(recursive: bool) -> dict[str, Any]:
    columns = st.columns(3)
    temperature = columns[0].number_input(
        "Temperature",
        0.5,
        20.0,
        Draft.temperature,
        0.5,
        help="How soft the teacher's answers are made.",
        key="form temperature",
        **KEEP,
    )
    alpha = columns[1].number_input(
        "Weight of its answers",
        0.0,
        1.0,
        Draft.alpha,
        0.1,
        help="Against the labels, which get the rest.",
        key="form alpha",
        **KEEP,
    )
    feature_weight = columns[2].number_input(
        "Weight of its features",
        0.0,
        100.0,
        Draft.feature_weight,
        0.5,
        help="Also imitate what the teacher sees just before it decides.",
        key="form features",
        **KEEP,
    )
    fields: dict[str, Any] = {"temperature": temperature, "alpha": alpha, "feature_weight": feature_weight}
    if recursive:
        repeats = st.pills(
            "Times that recursive_resnet applies each block",
            range(1, 7),
            selection_mode="multi",
            default=[3],
            help="More depth and time from the same weights.",
            key="form repeats",
            **KEEP,
        )
        fields["repeats"] = tuple(sorted(repeats)) if repeats != [3] else ()
    return fields


def pruning() -> dict[str, Any]:
    """The fields of `Draft` that say how to prune."""
    with st.container(border=True):
        st.markdown("**Prune**: remove what matters least")
        left, right = st.columns([2, 1])
        channels = left.pills(
            "Whole channels, share removed",
            CHANNEL_RATIOS,
            selection_mode="multi",
            default=[0.25, 0.5, 0.7],
            format_func=_percent,
            help="Makes the network smaller and faster everywhere.",
            key="form channels",
            wrap=True,
            **KEEP,
        )
        quantity = right.segmented_control(
            "of the",
            ["ratio", "macs_ratio"],
            default="ratio",
            required=True,
            format_func=lambda q: {"ratio": "parameters", "macs_ratio": "MACs"}[q],
            help="MACs: multiply-accumulate operations per image, which is what time mostly follows.",
            key="form channel quantity",
            **KEEP,
        )
        zeros = st.pills(
            "Single weights, share set to zero",
            WEIGHT_RATIOS,
            selection_mode="multi",
            format_func=_percent,
            help="The smallest weights of the whole network. The file gets smaller; a runtime without sparse kernels is no faster.",
            key="form zeros",
            **KEEP,
        )
        patterns = st.pills(
            "Sparse patterns",
            PATTERNS,
            selection_mode="multi",
            help="2:4 keeps the 2 largest of every 4 neighbouring weights, a form that some accelerators run faster.",
            key="form patterns",
            **KEEP,
        )
        fields: dict[str, Any] = {
            "channels": tuple(sorted(channels)),
            "channel_quantity": quantity,
            "zeros": tuple(sorted(zeros)),
            "patterns": tuple(patterns),
        }
        if not channels and not zeros and not patterns:
            return fields
        left, right = st.columns(2)
        epochs = left.number_input(
            "Epochs of training after it", 0, 1000, Draft.finetune_epochs, key="form finetune epochs", **KEEP
        )
        fields["finetune_epochs"] = epochs
        if epochs:
            fields["finetune_images"] = _images_box(right, "form finetune images", Draft.finetune_images)
        with st.expander("What goes first"):
            fields |= _what_goes_first(bool(epochs))
        fields["unpruned"] = st.checkbox("and recipes without pruning", True, key="form unpruned", **KEEP)
        return fields


def _what_goes_first(trains: bool) -> dict[str, Any]:
    importances = st.pills(
        "Channels with the smallest",
        ["l2", "bn_scale", "taylor"],
        selection_mode="multi",
        default=["l2"],
        help="How a channel's worth is told.",
        format_func=lambda i: {"l2": "weights", "bn_scale": "batch-norm scale", "taylor": "effect on the loss"}[i],
        key="form importance",
        **KEEP,
    )
    allocation = st.segmented_control(
        "Spread over layers",
        ["uniform", "global", "sensitivity"],
        default="uniform",
        required=True,
        format_func=lambda a: {
            "uniform": "evenly",
            "global": "where least matters",
            "sensitivity": "where it hurts least",
        }[a],
        key="form allocation",
        **KEEP,
    )
    fields: dict[str, Any] = {"importances": tuple(importances) or Draft.importances, "allocation": allocation}
    if trains:
        fields["rounds"] = st.number_input(
            "Rounds",
            1,
            10,
            1,
            help="Prune a little, train, and again, until the share is reached.",
            key="form rounds",
            **KEEP,
        )
    return fields


def quantizing() -> dict[str, Any]:
    """The fields of `Draft` that say how to quantize."""
    with st.container(border=True):
        st.markdown("**Quantize**: store and compute in fewer bits")
        quantizations = st.pills(
            "Each recipe so far, as",
            list(QUANTIZATIONS),
            selection_mode="multi",
            default=[AS_IT_IS, "int8", "4-bit weights"],
            help="int8 computes in integers; w4a8 too, with weights stored in 4 bits. N-bit weights are stored in exactly N bits and "
            "computed with in floats.",
            key="form quantize",
            **KEEP,
        )
        trained = st.pills(
            "and trained on in low precision, as",
            list(TRAINED),
            selection_mode="multi",
            help="Quantization-aware training: w3a8 is 3 bits per weight, 8 per activation. Takes epochs, and loses less.",
            key="form trained",
            **KEEP,
        )
        fields: dict[str, Any] = {
            "quantizations": tuple(q for q in QUANTIZATIONS if q in quantizations),
            "trained": tuple(t for t in TRAINED if t in trained),
        }
        if trained:
            left, right = st.columns(2)
            fields["trained_epochs"] = left.number_input(
                "Epochs in low precision", 1, 1000, Draft.trained_epochs, key="form trained epochs", **KEEP
            )
            fields["trained_images"] = _images_box(right, "form trained images", Draft.trained_images)
        with st.expander("How numbers are rounded"):
            fields |= _rounding()
        return fields


def _rounding() -> dict[str, Any]:
    mean_bits = st.pills(
        "Bits chosen by layer, on average per weight",
        MEAN_BITS,
        selection_mode="multi",
        help="Mixed precision: layers that lose more get more bits, up to 8.",
        key="form mean bits",
        **KEEP,
    )
    learned = st.checkbox(
        "Learn whether to round up or down, at 4 bits and fewer",
        help="On calibration images, layer by layer; takes a minute or so for each network.",
        key="form learned",
        **KEEP,
    )
    corrected = st.checkbox("Correct biases", help="For what rounding shifts on average.", key="form bias", **KEEP)
    per_channel = st.pills(
        "One scale per",
        [True, False],
        selection_mode="multi",
        default=[True],
        format_func=lambda c: "channel" if c else "layer",
        key="form per channel",
        **KEEP,
    )
    formats = st.pills(
        "Types of activations and weights in integer kernels",
        ["u8s8", "u8u8", "s8s8"],
        selection_mode="multi",
        default=["u8s8"],
        help="u8s8: unsigned activations, signed weights. Which is fastest depends on the processor, so measure.",
        key="form formats",
        **KEEP,
    )
    calibrations = st.pills(
        "Ranges of activations by",
        ["minmax", "percentile", "entropy", "mse"],
        selection_mode="multi",
        default=["percentile"],
        help="How much of the largest values is cut off so that the others get finer steps; minmax cuts nothing.",
        key="form calibration",
        **KEEP,
    )
    return {
        "mean_bits": tuple(mean_bits),
        "learned_rounding": learned,
        "bias_correction": corrected,
        "per_channel": tuple(per_channel) or Draft.per_channel,
        "formats": tuple(formats) or Draft.formats,
        "calibrations": tuple(calibrations) or Draft.calibrations,
    }
