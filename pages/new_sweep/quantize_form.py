"""The part of the form of a new sweep that asks how to quantize, and how to run."""

from __future__ import annotations

from typing import Any

import streamlit as st

from engine.run.planner import providers_here
from pages.new_sweep.draft import (
    BATCHES,
    MATRICES,
    MEAN_BITS,
    QUANTIZATIONS,
    SWITCH,
    THREADS,
    TIME_SHARES,
    TRAINED,
    Draft,
)
from pages.new_sweep.fields import chips, choice, number, tick
from pages.new_sweep.training_fields import _RATE, images_per_epoch, percent

_SWITCHED = {"auto": "automatic", "yes": "yes", "no": "no"}


def quantizing() -> dict[str, Any]:
    """The fields of `Draft` that say how to quantize."""
    with st.container(border=True):
        st.markdown("**Quantize**: store and compute in fewer bits")
        fields: dict[str, Any] = {
            "quantizations": chips(
                "Each recipe so far, as",
                "quantizations",
                QUANTIZATIONS,
                "int8 computes in integers; w4a8 too, with weights stored in 4 bits. N-bit weights are stored in exactly N bits and "
                "computed with in floats.",
                is_open=True,
            ),
            "trained": chips(
                "and trained on in low precision, as",
                "trained",
                TRAINED,
                "Quantization-aware training: w3a8 is 3 bits per weight, 8 per activation. Takes epochs, and loses less.",
                is_open=True,
            ),
        }
        fields["matrices"] = chips(
            "and for transformers and recurrent networks, matrices as",
            "matrices",
            list(MATRICES),
            "Dynamic: multiplied in integers, activations rounded as they come, nothing calibrated; usually the fastest there. Blocks: a "
            "scale for every 32 weights, multiplied as they are stored; smallest at a given loss, and fast for short inputs.",
        )
        if fields["trained"]:
            left, right = st.columns(2)
            told = "How often the network sees the training samples while its numbers are rounded."
            fields["trained_epochs"] = number("Epochs in low precision", "trained_epochs", told, place=left)
            fields |= images_per_epoch("trained_images", right)
        with st.expander("Mixed precision"):
            fields |= _mixed()
        with st.expander("How numbers are rounded"):
            fields |= _rounding()
            if fields["trained"]:
                fields["trained_rate"] = number(
                    "Learning rate in low precision",
                    "trained_rate",
                    f"{_RATE} 0: 0.001 at 7 and 8 bits, 0.01 below.",
                    0.001,
                )
        return fields


def _mixed() -> dict[str, Any]:
    ends = {"auto": "below 4 bits", "yes": "always", "no": "never"}
    return {
        "mean_bits": chips(
            "Bits chosen by layer, on average per weight",
            "mean_bits",
            MEAN_BITS,
            "Layers that lose more get more bits, up to 8.",
            lambda b: f"{b:g}",
            is_open=True,
        ),
        "time_shares": chips(
            "int8, but layers that lose most stay in float within this share of the float network's time",
            "time_shares",
            TIME_SHARES,
            "Each layer is timed on this machine first. 80 %: as many layers in float as leave the network a fifth faster.",
            percent,
            is_open=True,
        ),
        "ends_8bit": choice(
            "First and last layer kept at 8 bits",
            "ends_8bit",
            list(ends),
            "They are small and lose most.",
            ends.__getitem__,
            kind="buttons",
        ),
    }


def _rounding() -> dict[str, Any]:
    return {
        "rounding": choice(
            "Weights are rounded",
            "rounding",
            ["auto", "learned", "nearest"],
            "As learned: up or down, whichever changes the answers on calibration samples least; seconds for a small network, a minute or "
            "so for a large one. To the nearest is quick, and loses more. Automatic: as learned in integer networks.",
            {
                "auto": "automatic: as learned in integer networks",
                "learned": "as learned",
                "nearest": "to the nearest",
            }.__getitem__,
        ),
        "weight_range": choice(
            "8-bit weights of integer kernels take",
            "weight_range",
            ["auto", "safe", "full"],
            "Processors without VNNI add products of 8-bit weights in 16 bits, which can overflow; weights in 7 bits cannot. Automatic: "
            "what this machine computes exactly. 7 bits are also right for a file that will travel.",
            {
                "auto": "automatic: what this machine adds exactly",
                "safe": "7 bits, safe anywhere",
                "full": "all 8 bits",
            }.__getitem__,
        ),
        "bias_correction": choice(
            "Biases take up what rounding shifts on average",
            "bias_correction",
            list(SWITCH),
            "Automatic: where weights are rounded to the nearest; learned rounding does so anyway.",
            _SWITCHED.__getitem__,
        ),
        "equalize": choice(
            "Scales of neighbouring layers are evened out first",
            "equalize",
            list(SWITCH),
            "This changes no answer of the float network. Automatic: with one scale per layer, where it helps on calibration samples.",
            _SWITCHED.__getitem__,
        ),
        "per_channel": chips(
            "One scale per",
            "per_channel",
            [True, False],
            "A scale says what number a step of the rounded weights stands for. None chosen: one per channel.",
            lambda c: "channel" if c else "layer",
        )
        or (True,),
        "formats": chips(
            "Types of activations and weights in integer kernels",
            "formats",
            ["u8s8", "u8u8", "s8s8"],
            "u8s8: unsigned activations, signed weights. Which is fastest depends on the processor, so measure.",
        )
        or ("u8s8",),
        "calibrations": chips(
            "Ranges of activations by",
            "calibrations",
            ["auto", "minmax", "percentile", "entropy", "mse"],
            "How much of the largest values is cut off so that the others get finer steps; minmax cuts nothing, auto chooses for each "
            "tensor by what it does to the layers that read it.",
        )
        or Draft.calibrations,
        "calibration_images": number(
            "Samples that the ranges are read from",
            "calibration_images",
            "Of the calibration samples, never of the test samples.",
        ),
    }


def running() -> dict[str, Any]:
    """The fields of `Draft` that say how finished files are run."""
    levels = {"disable": "as stored", "basic": "basic", "extended": "extended", "all": "all"}
    with st.container(border=True):
        st.markdown("**Run**: the same file in other ways")
        fields: dict[str, Any] = {
            "run_threads": chips(
                "Threads", "run_threads", THREADS, "Processor cores that one inference may use.", is_open=True
            ),
            "run_batches": chips(
                "Samples per call",
                "run_batches",
                BATCHES,
                "More at once give more samples a second, and each waits longer.",
                is_open=True,
            ),
        }
        here = providers_here()
        with st.expander("More options"):
            fields["run_levels"] = chips(
                "The graph, rewritten by ONNX Runtime when it is loaded",
                "run_levels",
                list(levels),
                "How far it fuses and simplifies layers; usually all.",
                levels.__getitem__,
            )
            fields["run_providers"] = chips(
                "On",
                "run_providers",
                here,
                "The part of ONNX Runtime that computes; those that are installed here.",
                is_open=True,
            )
        if any(fields.values()):
            fields["run_usual"] = tick(
                "and as the sweep measures", "run_usual", "With the threads and samples per call under **Measure**."
            )
        return fields
