"""Cached reads of the store. Keys hold the store's address and the sweep's revision, so nothing stale is shown."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from threading import Lock

import streamlit as st

from engine.devices.boards import current_runs, on_boards
from engine.devices.cost import Scenario, read_scenarios
from engine.devices.profiles import Profile, all_profiles
from engine.devices.projected import Projector, under_scenario
from engine.devices.validation import Check, ErrorLine, all_checks, error_table
from engine.explain import compare
from engine.explain import latency_samples as samples
from engine.figures.frontier_info import FrontierInfo, frontier_info
from engine.figures.thumbnail import Summary, summarise_sweep
from engine.frontier.certainty import Certainty, certainty
from engine.frontier.columns import Trials
from engine.frontier.joined import with_points, without_points
from engine.frontier.kept_columns import SweepColumns
from engine.frontier.recommendation import View
from engine.spec.sweep import Sweep
from engine.store.artifacts import Artifacts
from engine.store.rows import SweepRow
from engine.store.store import Store
from engine.trials.trial import Trial
from engine.uploads.keep import names_upload
from engine.uploads.networks import NetworkFile


def address() -> tuple[str, str]:
    """Where the store is: part of every key."""
    return os.environ.get("PARETOSCOPE_HOME", ""), os.environ.get("PARETOSCOPE_STORE", "")


@st.cache_resource(max_entries=4, show_spinner=False)
def _store(address: tuple[str, str]) -> Store:
    return Store.open()


def store() -> Store:
    """The store of this home; safe to share between sessions."""
    return _store(address())


@st.cache_resource(max_entries=4, show_spinner=False)
def _artifacts(address: tuple[str, str], elsewhere: str) -> Artifacts:
    return Artifacts.open()


def artifacts() -> Artifacts:
    """The artifacts of this home; opened once, since each opening tries whether the home can be written."""
    return _artifacts(address(), os.environ.get("PARETOSCOPE_ARTIFACTS", ""))


def sweeps() -> list[SweepRow]:
    """Every sweep, newest first. Not cached: one short query, and states change with time alone."""
    return store().sweeps()


def _at(row: SweepRow) -> tuple[str, str, int]:
    """What a sweep's trials follow from: one that was deleted and made anew counts its revisions from the beginning."""
    return row.id, row.created, row.revision


class _Columns:
    """A sweep's trials as columns, as last read; shared by all sessions, since nothing in them changes."""

    def __init__(self, sweep_id: str) -> None:
        self._sweep_id = sweep_id
        self._lock = Lock()
        self._revision = -1
        self._stored = SweepColumns(store(), sweep_id)
        self._table = Trials.of(())

    def at(self, row: SweepRow) -> Trials:
        """The columns at the row's revision or a later one."""
        with self._lock:
            if row.revision != self._revision:
                self._table = self._with_boards(self._stored.read())
                self._revision = row.revision
            return self._table

    def _with_boards(self, stored: Trials) -> Trials:
        runs = store().boards.of(self._sweep_id)
        if not runs:
            return stored
        files = {
            run.trial: stored.fact("artifact")[stored.place[run.trial]] for run in runs if run.trial in stored.place
        }
        return on_boards(stored, current_runs(runs, files, artifacts()))


@st.cache_resource(max_entries=8, ttl=3600, show_spinner="Reading the recipes …")
def _columns(address: tuple[str, str], sweep_id: str, created: str) -> _Columns:
    return _Columns(sweep_id)


def columns(row: SweepRow) -> Trials:
    """Every recipe of a sweep, in the order of the plan, as columns; a whole trial is read when it is looked at."""
    return _columns(address(), row.id, row.created).at(row)


def baseline(trials: Trials) -> Trial | None:
    """The network as it came, None where it is not among these."""
    return None if trials.baseline is None else trials[trials.baseline]


@st.cache_resource(max_entries=64, ttl=3600, show_spinner=False)
def _certainty(
    address: tuple[str, str],
    at: tuple[str, str, int],
    axes: tuple[str, str, str],
    profile: str,
    limits: tuple[tuple[str, float], ...],
    imported: bool,
    only: str,
    _known: Trials,
) -> Certainty:
    # Which trials are meant follows from the sweep, its revision, the device and what they were narrowed by, so they are not in the key.
    x, y, device = axes
    return certainty(_known, (x, y), dict(limits), device, artifacts().local)


def profile_key(device: str) -> str:
    """What a profile says, as part of a key; empty where the device has none."""
    profiles = all_profiles()
    return _named(device, profiles) if device in profiles else ""


def sureness(row: SweepRow, view: View, counted: Trials, only: str = "") -> Certainty:
    """How sure the front, the knee and the best of a view are; `counted` are the trials that count in it, narrowed by `only`."""
    limits = tuple(sorted(view.limits.items()))
    axes = (view.x, view.y, view.device)
    return _certainty(address(), _at(row), axes, profile_key(view.device), limits, view.imported, only, counted)


def info(
    row: SweepRow, view: View, selected: str | None = None, left: Trials | None = None, only: str = ""
) -> FrontierInfo:
    """What the frontier chart of a sweep shows, and how sure that is; of very many trials the `selected` one is always drawn.

    `left`: the trials to look at, where they were narrowed by `only`; all there are if None.
    """
    known = explored(row, view.device) if left is None else left
    counted = known if view.imported else without_points(known)
    return frontier_info(known, view, sureness(row, view, counted, only), selected)


@st.cache_resource(max_entries=8, ttl=3600, show_spinner=False)
def _spec(address: tuple[str, str], sweep_id: str, created: str) -> Sweep:
    return store().spec(sweep_id)


def spec(row: SweepRow) -> Sweep:
    """The spec that a sweep was made from; reading one expands all its recipes."""
    return _spec(address(), row.id, row.created)


@st.cache_resource(max_entries=16, ttl=3600, show_spinner=False)
def _latency_samples(
    address: tuple[str, str], at: tuple[str, str, int], trial_id: str, _sweep: Sweep, _trial: Trial
) -> samples.Samples | None:
    # Spec and trial follow from the other arguments.
    return samples.latency_samples(store(), _sweep, _trial)


def latency_samples(row: SweepRow, trial: Trial) -> samples.Samples | None:
    """Every timed call behind a trial's latency; None where they are not kept. Raises InputError where the model or the data are gone."""
    return _latency_samples(address(), _at(row), trial.id, spec(row), trial)


# A card needs a dozen numbers of a sweep, its trials may be many: only the former are kept.
@st.cache_resource(max_entries=512, ttl=24 * 3600, show_spinner=False)
def _summary(address: tuple[str, str], at: tuple[str, str, int], _row: SweepRow) -> Summary:
    return summarise_sweep(columns(_row))


def summary(row: SweepRow) -> Summary:
    """What the card of a sweep says."""
    return _summary(address(), _at(row), row)


# A few megabytes each: enough of them for a page that compares.
def file_of(trial: Trial) -> str | None:
    """The artifact that is a trial's ONNX file; None when it is gone, or was never made."""
    return trial.artifact if trial.artifact is not None and artifacts().has(trial.artifact) else None


def network_file(row: SweepRow, trial: Trial) -> NetworkFile | None:
    """A trial's file, to be asked in a process of its own; None when it is gone."""
    name = file_of(trial)
    return NetworkFile(artifacts().local(name), trial.label, is_uploaded(row)) if name else None


def is_uploaded(row: SweepRow) -> bool:
    """Whether a sweep's network was sent by a browser, and may be hostile."""
    return names_upload(spec(row).model.source)


@st.cache_resource(max_entries=128, ttl=3600, show_spinner="Reading the files …")
def _layers(home: tuple[str, str], name: str, _file: NetworkFile) -> tuple[compare.Layer, ...]:
    return _file.layers()


def layers(row: SweepRow, trial: Trial) -> tuple[compare.Layer, ...] | None:
    """What a trial's file says of its layers; None when the file is gone. Raises as NetworkFile."""
    file = network_file(row, trial)
    return _layers(address(), trial.artifact or "", file) if file else None


@st.cache_data(ttl=3600, show_spinner=False)
def scenarios() -> dict[str, Scenario]:
    """Ready uses of a network, by name."""
    return read_scenarios()


@st.cache_resource(max_entries=8, ttl=3600, show_spinner=False)
def _projector(address: tuple[str, str], sweep_id: str, created: str) -> Projector:
    return Projector(artifacts())


# Of 100,000 recipes each device that is looked at takes some megabytes, hence so few.
@st.cache_resource(max_entries=6, ttl=3600, show_spinner="Projecting onto the devices …")
def _on_devices(
    address: tuple[str, str],
    at: tuple[str, str, int],
    devices: tuple[str, ...],
    use: str,
    _row: SweepRow,
    _profiles: Sequence[Profile],
    _scenario: Scenario | None,
) -> Trials:
    # What is not in the key follows from what is.
    seen = _projector(address, _row.id, _row.created).on(columns(_row), _profiles)
    return under_scenario(seen, [p.name for p in _profiles], _scenario)


def on_devices(row: SweepRow, devices: Sequence[str], scenario: Scenario | None = None) -> Trials:
    """The finished trials with what every device says of them and, under a scenario, what a million inferences on each take."""
    return _seen_on(row, devices, scenario).done


def _seen_on(row: SweepRow, devices: Sequence[str], scenario: Scenario | None = None) -> Trials:
    known = all_profiles()
    names = tuple(_named(device, known) for device in devices)
    profiles, use = [known[device] for device in devices], scenario.name if scenario else ""
    return _on_devices(address(), _at(row), names, use, row, profiles, scenario)


def _named(device: str, profiles: Mapping[str, Profile]) -> str:
    """A key for what a profile says: one of the user's own may be removed and made anew under the same name."""
    return f"{device} {hash(repr(profiles[device]))}"


def columns_on(row: SweepRow, device: str) -> Trials:
    """The columns of a sweep as it was measured or, for a device that it did not ask for, with what that device's profile says."""
    stored = columns(row)
    if device in stored.devices or device not in all_profiles():
        return stored
    return _seen_on(row, (device,))


@st.cache_resource(max_entries=16, ttl=3600, show_spinner=False)
def _points(address: tuple[str, str], at: tuple[str, str, int]) -> tuple[Trial, ...]:
    return tuple(store().points.of(at[0]))


@st.cache_resource(max_entries=16, ttl=3600, show_spinner=False)
def _explored(
    address: tuple[str, str], at: tuple[str, str, int], device: str, _known: Trials, _more: Sequence[Trial]
) -> Trials:
    return with_points(_known, _more)


def explored(row: SweepRow, device: str) -> Trials:
    """As `columns_on`, and after the trials the points that were imported, which were not measured here."""
    known, more = columns_on(row, device), _points(address(), _at(row))
    profiles = all_profiles()
    named = _named(device, profiles) if device in profiles else device
    return _explored(address(), _at(row), named, known, more) if more else known


@st.cache_resource(show_spinner="Predicting what was published …")
def device_checks(everywhere: bool) -> tuple[Check, ...]:
    """Every published value and what a fit that had not seen it says; `everywhere`: that had seen its network on no device."""
    return all_checks(everywhere)


@st.cache_resource(show_spinner="Predicting what was published …")
def device_errors() -> list[ErrorLine]:
    """How wrong the fits are, by class of device."""
    return error_table()
