"""The part of the form of a new sweep that asks how to prune."""

from __future__ import annotations

from typing import Any

import streamlit as st

from pages.new_sweep.draft import (
    CHANNEL_RATIOS,
    PART_RATIOS,
    PATTERNS,
    WEIGHT_RATIOS,
)
from pages.new_sweep.fields import chips, choice, number, tick
from pages.new_sweep.training_fields import images_per_epoch, percent, training

_PARTS = {"heads": "attention heads", "mlp": "MLP width", "heads_and_mlp": "both"}


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
                percent,
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
        }
        left, right = st.columns([2, 1])
        fields["parts"] = chips(
            "From a transformer's blocks",
            "parts",
            list(_PARTS),
            "Whole attention heads, or the width between the two layers of an MLP. Makes the network smaller and faster everywhere; "
            "what runs through all blocks stays as wide as it is.",
            _PARTS.__getitem__,
            place=left,
        )
        if fields["parts"]:
            fields["part_ratios"] = chips(
                "share removed",
                "part_ratios",
                PART_RATIOS,
                "Of all heads, of the width of all MLPs; of both where both lose some.",
                percent,
                is_open=True,
                place=right,
            )
        fields |= {
            "zeros": chips(
                "Single weights, share set to zero",
                "zeros",
                WEIGHT_RATIOS,
                "The smallest weights of the whole network. The file gets smaller; a runtime without sparse kernels is no faster.",
                percent,
                is_open=True,
            ),
            "patterns": chips(
                "Sparse patterns",
                "patterns",
                PATTERNS,
                "2:4 keeps the 2 largest of every 4 neighbouring weights, a form that some accelerators run faster.",
            ),
        }
        if not any(fields[name] for name in ("channels", "parts", "zeros", "patterns")):
            return fields
        left, right = st.columns(2)
        told = "Training that repairs what pruning broke; 0 leaves it broken, to see how much that is."
        epochs = number("Epochs of training after it", "finetune_epochs", told, place=left)
        fields["finetune_epochs"] = epochs
        if epochs:
            fields |= images_per_epoch("finetune_images", right)
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
            "Channels or heads with the smallest",
            "importances",
            list(importances),
            "How a channel's or a head's worth is told; heads have no batch norms. None chosen: by its weights.",
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
        fields |= training("finetune")
    return fields
