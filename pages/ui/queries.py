"""Cached reads of the store. Keys hold the store's address and the sweep's revision, so nothing stale is shown."""

from __future__ import annotations

import os
from dataclasses import dataclass

import streamlit as st

from engine import compare, playground
from engine.artifacts import Artifacts
from engine.choice import View
from engine.datasets import Preprocessing, Split, load_dataset
from engine.figures import FrontierInfo, frontier_info
from engine.record import Trial
from engine.store import Store, SweepRow
from engine.thumbnail import Summary, summarise_sweep


def _address() -> tuple[str, str]:
    return os.environ.get("PARETOSCOPE_HOME", ""), os.environ.get("PARETOSCOPE_STORE", "")


@st.cache_resource(max_entries=4, show_spinner=False)
def _store(address: tuple[str, str]) -> Store:
    return Store.open()


def store() -> Store:
    """The store of this home; safe to share between sessions."""
    return _store(_address())


def artifacts() -> Artifacts:
    """The artifacts of this home."""
    return Artifacts.open()


def sweeps() -> list[SweepRow]:
    """Every sweep, newest first. Not cached: one short query, and states change with time alone."""
    return store().sweeps()


# Trials are frozen, so all sessions may share one copy; `cache_data` would pickle them on every read.
@st.cache_resource(max_entries=32, ttl=3600, show_spinner=False)
def _trials(address: tuple[str, str], sweep_id: str, revision: int) -> tuple[Trial, ...]:
    return tuple(_store(address).trials(sweep_id))


def trials(row: SweepRow) -> tuple[Trial, ...]:
    """Every recipe of a sweep, in the order of the plan."""
    return _trials(_address(), row.id, row.revision)


def info(row: SweepRow, view: View) -> FrontierInfo:
    """What the frontier chart of a sweep shows."""
    return frontier_info(trials(row), view)


# A card needs a dozen numbers of a sweep, its trials may be many: only the former are kept.
@st.cache_resource(max_entries=512, ttl=24 * 3600, show_spinner=False)
def _summary(address: tuple[str, str], sweep_id: str, revision: int) -> Summary:
    return summarise_sweep(_store(address).trials(sweep_id))


def summary(row: SweepRow) -> Summary:
    """What the card of a sweep says."""
    return _summary(_address(), row.id, row.revision)


@dataclass(frozen=True)
class TestImages:
    """The images that a sweep measured on, and how they are read."""

    split: Split
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    input_shape: tuple[int, int, int]


@st.cache_resource(max_entries=2, ttl=3600, show_spinner="Reading the test images …")
def _test_images(address: tuple[str, str], sweep_id: str) -> TestImages:
    sweep = _store(address).spec(sweep_id)
    data, samples = load_dataset(sweep.data), sweep.measure.test_samples
    split = data.test.head(None if samples == "all" else samples)
    return TestImages(split, data.classes, data.preprocessing, data.input_shape)


def test_images(row: SweepRow) -> TestImages:
    """The test images of a sweep; raises DatasetError when they are not there any more."""
    return _test_images(_address(), row.id)


@st.cache_resource(max_entries=256, ttl=3600, show_spinner=False)
def _right(address: tuple[str, str], sweep_id: str, trial_id: str, name: str) -> compare.Bools | None:
    trial = _store(address).trial(sweep_id, trial_id)
    return compare.right_answers(trial, artifacts(), _test_images(address, sweep_id).split.labels)


def right_answers(row: SweepRow, trial: Trial) -> compare.Bools | None:
    """Which test images a trial has right; None where its answers are not stored."""
    return _right(_address(), row.id, trial.id, trial.predictions) if trial.predictions else None


@st.cache_resource(max_entries=128, ttl=3600, show_spinner="Reading the files …")
def _layers(home: tuple[str, str], name: str) -> tuple[compare.Layer, ...]:
    return compare.read_layers(name, artifacts())


def layers(trial: Trial) -> tuple[compare.Layer, ...] | None:
    """What a trial's file says of its layers; None when the file is gone."""
    has_file = trial.artifact is not None and artifacts().has(trial.artifact)
    return _layers(_address(), trial.artifact) if has_file and trial.artifact else None


# Sessions of ONNX Runtime may run in several threads at once; twelve small networks are a few dozen MB.
@st.cache_resource(max_entries=12, ttl=600, show_spinner=False)
def _model(home: tuple[str, str], name: str) -> playground.Model:
    return playground.open_model(artifacts().local(name))


def model(trial: Trial) -> playground.Model | None:
    """A trial's file, opened; None when it is gone. Raises StepError when it cannot be opened."""
    has_file = trial.artifact is not None and artifacts().has(trial.artifact)
    return _model(_address(), trial.artifact) if has_file and trial.artifact else None
