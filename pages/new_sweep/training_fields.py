"""What the form of a new sweep asks of every kind of training: images, learning rate, augmentation."""

from __future__ import annotations

from typing import Any

import streamlit as st

from pages.new_sweep.draft import (
    ALL,
    IMAGES,
)
from pages.new_sweep.fields import choice, number

_RATE = "How large the first steps of training are. Larger learns faster, until it learns nothing."
_AUGMENT = "Training images changed a little each time they are seen. Mirror only what has no left and right."
_AUGMENTS = {"none": "as they are", "mirror": "mirrored at random", "shift": "mirrored and shifted"}


def percent(share: float) -> str:
    return f"{share * 100:g} %"


def image_count(count: int) -> str:
    """`25,000`, or `all`."""
    return "all" if count == ALL else f"{count:,}"


def images_per_epoch(field: str, place: Any) -> dict[str, Any]:
    told = "Drawn anew for each epoch. Fewer are quicker, and teach less."
    return {field: choice("Training samples per epoch", field, IMAGES, told, image_count, is_open=True, place=place)}


def training(stem: str) -> dict[str, Any]:
    """Learning rate and augmentation of a kind of training."""
    left, right = st.columns(2)
    rate, augment = f"{stem}_rate", f"{stem}_augment"
    return {
        rate: number("Learning rate", rate, _RATE, 0.01, place=left),
        augment: choice("Training images", augment, list(_AUGMENTS), _AUGMENT, _AUGMENTS.__getitem__, place=right),
    }
