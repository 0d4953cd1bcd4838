"""The part of the form of a new sweep that asks for steps: their knobs as chips, the rarer ones behind a fold."""

from __future__ import annotations

from typing import Any

import streamlit as st

from engine.models.catalog import zoo_index, zoo_names
from engine.run.plan import providers_here
from pages.new_sweep.draft import (
    ALL,
    BATCHES,
    CHANNEL_RATIOS,
    IMAGES,
    MEAN_BITS,
    OWN_WIDTHS,
    PATTERNS,
    QUANTIZATIONS,
    THREADS,
    TIME_SHARES,
    TRAINED,
    WEIGHT_RATIOS,
)
from pages.new_sweep.fields import chips, choice, number, tick

_RATE = "How large the first steps of training are. Larger learns faster, until it learns nothing."
_AUGMENT = "Training images changed a little each time they are seen. Mirror only what has no left and right."
_AUGMENTS = {"none": "as they are", "mirror": "mirrored at random", "shift": "mirrored and shifted"}


def _percent(share: float) -> str:
    return f"{share * 100:g} %"


def image_count(count: int) -> str:
    """`25,000`, or `all`."""
    return "all" if count == ALL else f"{count:,}"


def _images(field: str, place: Any) -> dict[str, Any]:
    told = "Drawn anew for each epoch. Fewer are quicker, and teach less."
    return {field: choice("Training images per epoch", field, IMAGES, told, image_count, is_open=True, place=place)}


def _training(stem: str) -> dict[str, Any]:
    """Learning rate and augmentation of a kind of training."""
    left, right = st.columns(2)
    rate, augment = f"{stem}_rate", f"{stem}_augment"
    return {
        rate: number("Learning rate", rate, _RATE, 0.01, place=left),
        augment: choice("Training images", augment, list(_AUGMENTS), _AUGMENT, _AUGMENTS.__getitem__, place=right),
    }


def students(model: str) -> dict[str, Any]:
    """The fields of `Draft` that say how to distil."""
    with st.container(border=True):
        st.markdown("**Distil**: train a smaller network to do as the model does")
        # A student may be of the model's own kind, only then there is nothing gained.
        others = [n for n in zoo_names() if n != model]
        fields: dict[str, Any] = {
            "students": chips(
                "Students", "students", others, "Each is trained from scratch with the model as its teacher."
            ),
            "own_widths": chips(
                "The model itself, narrower",
                "own_widths",
                OWN_WIDTHS,
                "The same kind of network with this share of its channels in each layer.",
                lambda w: f"×{w:g}",
                is_open=True,
            ),
        }
        if not fields["students"] and not fields["own_widths"]:
            return fields
        left, right = st.columns(2)
        told = "How often the student sees the training images."
        fields["student_epochs"] = number("Epochs", "student_epochs", told, place=left)
        fields |= _images("student_images", right)
        with st.expander("How the teacher teaches"):
            fields |= _teaching(model, "recursive_resnet" in fields["students"]) | _training("student")
        fields["untaught"] = tick(
            "and the same students without a teacher",
            "untaught",
            "Trained for as long from the labels alone, so that you see what the teacher bought.",
        )
        fields["plain"] = tick("and recipes without a student", "plain", "The other steps on the model itself as well.")
        return fields


def _teaching(model: str, recursive: bool) -> dict[str, Any]:
    columns = st.columns(3)
    fields: dict[str, Any] = {
        "temperature": number(
            "Temperature", "temperature", "How soft the teacher's answers are made.", 0.5, place=columns[0]
        ),
        "alpha": number(
            "Weight of its answers", "alpha", "Against the labels, which get the rest.", 0.1, place=columns[1]
        ),
        "feature_weight": number(
            "Weight of its features",
            "feature_weight",
            "Also imitate what the teacher sees just before it decides.",
            0.5,
            place=columns[2],
        ),
        "teacher": choice(
            "Teacher",
            "teacher",
            ["baseline", *(n for n in zoo_index() if n != model)],
            "Whose answers the students imitate: the model's, or those of another trained network, which may know more.",
            lambda t: "the model" if t == "baseline" else t,
            is_open=True,
        ),
    }
    if recursive:
        fields["repeats"] = chips(
            "Times that recursive_resnet applies each block",
            "repeats",
            range(1, 7),
            "More depth and time from the same weights. None chosen: three times.",
            is_open=True,
        )
    return fields


def pruning() -> dict[str, Any]:
    """The fields of `Draft` that say how to prune."""
    with st.container(border=True):
        st.markdown("**Prune**: remove what matters least")
        left, right = st.columns([2, 1])
        fields: dict[str, Any] = {
            "channels": chips(
                "Whole channels, share removed",
                "channels",
                CHANNEL_RATIOS,
                "Makes the network smaller and faster everywhere.",
                _percent,
                is_open=True,
                place=left,
            ),
            "channel_quantity": choice(
                "of the",
                "channel_quantity",
                ["ratio", "macs_ratio"],
                "MACs: multiply-accumulate operations per image, which is what time mostly follows.",
                lambda q: {"ratio": "parameters", "macs_ratio": "MACs"}[q],
                place=right,
                kind="buttons",
            ),
            "zeros": chips(
                "Single weights, share set to zero",
                "zeros",
                WEIGHT_RATIOS,
                "The smallest weights of the whole network. The file gets smaller; a runtime without sparse kernels is no faster.",
                _percent,
                is_open=True,
            ),
            "patterns": chips(
                "Sparse patterns",
                "patterns",
                PATTERNS,
                "2:4 keeps the 2 largest of every 4 neighbouring weights, a form that some accelerators run faster.",
            ),
        }
        if not fields["channels"] and not fields["zeros"] and not fields["patterns"]:
            return fields
        left, right = st.columns(2)
        told = "Training that repairs what pruning broke; 0 leaves it broken, to see how much that is."
        epochs = number("Epochs of training after it", "finetune_epochs", told, place=left)
        fields["finetune_epochs"] = epochs
        if epochs:
            fields |= _images("finetune_images", right)
        with st.expander("What goes first, and how it is repaired"):
            fields |= _what_goes_first(bool(epochs))
        fields["unpruned"] = tick(
            "and recipes without pruning", "unpruned", "The other steps on the whole network as well."
        )
        return fields


def _what_goes_first(trains: bool) -> dict[str, Any]:
    importances = {"l2": "weights", "bn_scale": "batch-norm scale", "taylor": "effect on the loss"}
    spread = {"uniform": "evenly", "global": "where least matters", "sensitivity": "where it hurts least"}
    fields: dict[str, Any] = {
        "importances": chips(
            "Channels with the smallest",
            "importances",
            list(importances),
            "How a channel's worth is told. None chosen: by its weights.",
            importances.__getitem__,
        )
        or ("l2",),
        "allocation": choice(
            "Spread over layers",
            "allocation",
            list(spread),
            "How the removal of channels is shared out: the same share of each layer, or more where less is lost.",
            spread.__getitem__,
            kind="buttons",
        ),
        "round_to": number(
            "Channels left in multiples of",
            "round_to",
            "Processors compute several channels at once; a layer of 13 takes as long as one of 16.",
        ),
    }
    if trains:
        fields["rounds"] = number("Rounds", "rounds", "Prune a little, train, and again, until the share is reached.")
        fields |= _training("finetune")
    return fields


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
        if fields["trained"]:
            left, right = st.columns(2)
            told = "How often the network sees the training images while its numbers are rounded."
            fields["trained_epochs"] = number("Epochs in low precision", "trained_epochs", told, place=left)
            fields |= _images("trained_images", right)
        with st.expander("Mixed precision"):
            fields |= _mixed()
        with st.expander("How numbers are rounded"):
            fields |= _rounding()
            if fields["trained"]:
                fields["trained_rate"] = number("Learning rate in low precision", "trained_rate", _RATE, 0.01)
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
            _percent,
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
        "learned_rounding": tick(
            "Learn whether to round up or down, at 4 bits and fewer",
            "learned_rounding",
            "On calibration images, layer by layer; takes a minute or so for each network.",
        ),
        "bias_correction": tick("Correct biases", "bias_correction", "For what rounding shifts on average."),
        "equalize": tick(
            "Equalize channels first",
            "equalize",
            "Scales of neighbouring layers are evened out, which changes no answer of the float network and helps where one scale "
            "serves a whole layer.",
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
            ["minmax", "percentile", "entropy", "mse"],
            "How much of the largest values is cut off so that the others get finer steps; minmax cuts nothing.",
        )
        or ("percentile",),
        "calibration_images": number(
            "Images that the ranges are read from",
            "calibration_images",
            "Of the calibration images, never of the test images.",
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
                "Images per call",
                "run_batches",
                BATCHES,
                "More at once give more images a second, and each waits longer.",
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
                "and as the sweep measures", "run_usual", "With the threads and images per call under **Measure**."
            )
        return fields
