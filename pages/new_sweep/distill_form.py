"""The part of the form of a new sweep that asks for students and how they are taught."""

from __future__ import annotations

from typing import Any

import streamlit as st

from engine.models.catalog import zoo_index
from pages.new_sweep.draft import (
    OWN_DEPTHS,
    OWN_WIDTHS,
    readers_of,
)
from pages.new_sweep.fields import chips, choice, number, tick
from pages.new_sweep.training_fields import images_per_epoch, training

_STARTS = {"taken": "its own", "fresh": "new"}


def students(model: str, data: str) -> dict[str, Any]:
    """The fields of `Draft` that say how to distil."""
    with st.container(border=True):
        st.markdown("**Distil**: train a smaller network to do as the model does")
        # A student may be of the model's own kind, only then there is nothing gained.
        others = [n for n in readers_of(data) if n != model]
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
        left, right = st.columns([2, 1])
        fields["own_depths"] = chips(
            "The model itself, shorter",
            "own_depths",
            OWN_DEPTHS,
            "The same network with this share of its layers: of blocks that follow each other, or of a recurrent layer.",
            lambda d: f"×{d:g}",
            is_open=True,
            place=left,
        )
        if fields["own_depths"]:
            fields["own_start"] = choice(
                "Its layers are",
                "own_start",
                list(_STARTS),
                "The model's own layers, the first and the last among them, have learnt already: few epochs do. New ones begin at random.",
                _STARTS.__getitem__,
                place=right,
                kind="buttons",
            )
        if not any(fields[name] for name in ("students", "own_widths", "own_depths")):
            return fields
        left, right = st.columns(2)
        told = "How often the student sees the training samples."
        fields["student_epochs"] = number("Epochs", "student_epochs", told, place=left)
        fields |= images_per_epoch("student_images", right)
        with st.expander("How the teacher teaches"):
            fields |= _teaching(model, data, "recursive_resnet" in fields["students"]) | training("student")
        fields["untaught"] = tick(
            "and the same students without a teacher",
            "untaught",
            "Trained for as long from the labels alone, so that you see what the teacher bought.",
        )
        fields["plain"] = tick("and recipes without a student", "plain", "The other steps on the model itself as well.")
        return fields


def _teaching(model: str, data: str, recursive: bool) -> dict[str, Any]:
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
            ["baseline", *(n for n in readers_of(data) if n in zoo_index() and n != model)],
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
