"""Cached reads of what trials say of the test samples, and of the samples themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from engine.datasets.load import load_dataset, reported
from engine.datasets.splits import Split
from engine.errors import NotFoundError
from engine.export.opened import HowToAsk, labels_of, runtime_of, settings_of
from engine.quality.predictions import Predictions
from engine.quality.scored import Scored
from engine.quality.statistics import Bools
from engine.quality.values import Values
from engine.store.rows import SweepRow
from engine.trials.trial import Trial
from pages.shared import queries


@st.cache_resource(max_entries=16, ttl=3600, show_spinner=False)
def _predictions(address: tuple[str, str], name: str) -> Predictions | None:
    try:
        return Predictions.load(queries.artifacts().local(name))
    except NotFoundError:
        return None


def predictions(trial: Trial) -> Predictions | None:
    """What a trial said of every test image; None where that was not kept, and of values."""
    return _predictions(queries.address(), trial.predictions) if trial.predictions and not gives_values(trial) else None


@st.cache_resource(max_entries=32, ttl=3600, show_spinner=False)
def _values(address: tuple[str, str], name: str) -> Values | None:
    try:
        return Values.load(queries.artifacts().local(name))
    except NotFoundError:
        return None


def gives_values(trial: Trial) -> bool:
    """Whether a trial's outputs are values, not scores of classes."""
    return trial.fidelity is not None and trial.fidelity.agreement is None


def values(trial: Trial) -> Values | None:
    """The outputs of a trial for every test sample; None where they were not kept, and of classes."""
    return _values(queries.address(), trial.predictions) if trial.predictions and gives_values(trial) else None


@dataclass(frozen=True)
class TestImages:
    """The samples that a sweep measured on, images or not; `settings` is how networks read them, as a bundle's preprocess.json has it."""

    split: Split
    classes: tuple[str, ...]
    settings: dict[str, Any]
    are_pictures: bool

    @property
    def noun(self) -> str:
        """What one of them is called."""
        return "image" if self.are_pictures else "sample"


@st.cache_resource(max_entries=2, ttl=3600, show_spinner="Reading the test samples …")
def _test_images(address: tuple[str, str], sweep_id: str, created: str) -> TestImages:
    sweep = queries.store().spec(sweep_id)
    data = load_dataset(sweep.data)
    split = reported(data.test, sweep.measure)
    return TestImages(split, labels_of(data), settings_of(sweep, data), data.is_images)


def test_images(row: SweepRow) -> TestImages:
    """Those test images of a sweep that its trials were measured on; raises DatasetError when they are not there any more."""
    return _test_images(queries.address(), row.id, row.created)


def how_to_ask(row: SweepRow, trial: Trial, images: TestImages) -> HowToAsk:
    """How a trial's file is asked: the samples' settings and classes, and the runtime with which it was measured."""
    return HowToAsk(images.settings, images.classes, runtime_of(trial, queries.spec(row)))


def scored(trial: Trial) -> Scored | None:
    """What the sweep's own metric says of the test samples; None where it has none, or it was not kept."""
    found = values(trial) if gives_values(trial) else predictions(trial)
    return found.scored if found else None


def right_answers(trial: Trial) -> Bools | None:
    """Which test images a trial has right; None where its answers are not stored."""
    found = predictions(trial)
    return found.right if found else None
