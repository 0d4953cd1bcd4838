"""What a bundle's `verify.py --json`, or a frontier's `measure.py`, found on a user's own board, taken back to its sweep."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from engine.devices.boards import beside, file_digest
from engine.devices.profiles import find_profile, profile_names
from engine.errors import InputError, NotFoundError, SpecError
from engine.export import board_template
from engine.spec.frozen import Frozen
from engine.spec.names import checked_name, fitting_name
from engine.spec.validation import validated
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.boards import Beside, BoardRun
from engine.trials.evidence import Interval
from engine.trials.trial import Trial

_HOW = "`python verify.py --json > results.json` in the unpacked bundle, or `python measure.py` in a frontier, on the board, writes one"
_LARGEST = 16 << 20


class _Latency(Frozen):
    p50: float = Field(gt=0, allow_inf_nan=False)
    p95: float = Field(gt=0, allow_inf_nan=False)
    p99: float = Field(gt=0, allow_inf_nan=False)
    low: float = Field(gt=0, allow_inf_nan=False)
    high: float = Field(gt=0, allow_inf_nan=False)
    calls: int = Field(ge=1)
    batch: int = Field(ge=1)


class _Machine(Frozen):
    cpu: str
    cores: int = Field(ge=1)
    os: str
    onnxruntime: str


class _Check(Frozen):
    name: str
    ok: bool
    found: str
    expected: str


class _Share(Frozen):
    value: float = Field(gt=0, allow_inf_nan=False)
    low: float = Field(gt=0, allow_inf_nan=False)
    high: float = Field(gt=0, allow_inf_nan=False)


class _File(Frozen):
    trial: str
    label: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    runtime: dict[str, Any]
    ok: bool


class _Ran(_File):
    latency_ms: _Latency
    checks: tuple[_Check, ...]
    ratio: _Share | None = None
    reference_ms: _Latency | None = None
    as_timed_ms: _Latency | None = None
    moved: float | None = Field(None, ge=0, allow_inf_nan=False)
    alone: str | None = None


class _Failed(_File):
    error: str
    late: bool = False


class _Report(Frozen):
    measurement: Literal[1]
    when: str = Field(max_length=40)
    machine: _Machine
    digest: str


class _OfBundle(_Report, _Ran):
    @property
    def models(self) -> tuple[_Ran | _Failed, ...]:
        return (self,)


class _OfFrontier(_Report):
    sweep: str
    baseline: str
    models: tuple[_Ran | _Failed, ...]


@dataclass(frozen=True)
class Failure:
    """A file that did not run on the board, and why, in its runtime's words."""

    trial: str
    label: str
    reason: str


@dataclass(frozen=True)
class Taken:
    """What was taken back from a board.

    `kept`: each measurement beside an estimate, with the one that it took the place of. `failed`: the files that did not run. `alone`: by
    trial, why it was not timed in turns with the baseline. `moved`: how far the baseline's own medians lay apart during the session, as
    a share; None where nothing was timed in turns.
    """

    board: str
    kept: tuple[tuple[Beside, BoardRun | None], ...]
    failed: tuple[Failure, ...] = ()
    alone: Mapping[str, str] = field(default_factory=dict)
    moved: float | None = None


def read_report(path: Path) -> _OfBundle | _OfFrontier:
    """A report, unaltered as far as its digest tells; raises InputError, in one line, for anything else."""
    try:
        content = path.read_bytes()
        # Bytes, since a shell may have written them as UTF-16.
        found = json.loads(content) if len(content) <= _LARGEST else None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); {_HOW}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path} is not JSON; {_HOW}") from None
    if not isinstance(found, dict) or "measurement" not in found:
        old = isinstance(found, dict) and "checks" in found
        what = "has no latency in it: `paretoscope verify` or an older bundle wrote it" if old else "is no measurement"
        raise InputError(f"{path} {what}; {_HOW}; bundles of before can be exported again")
    if found["measurement"] != board_template.MEASUREMENT:
        raise InputError(
            f"{path} has layout {found['measurement']!r}, this program reads {board_template.MEASUREMENT}; update Paretoscope"
        )
    if found.get("digest") != board_template.digest(found):
        raise InputError(
            f"{path} was changed after it was written: its digest does not fit; measure on the board again"
        )
    kind: type[_OfBundle | _OfFrontier] = _OfFrontier if "models" in found else _OfBundle
    report: _OfBundle | _OfFrontier = validated(kind, found, str(path))
    return report


def take_back(
    store: Store, artifacts: Artifacts, sweep_ref: str, path: Path, name: str | None, profile: str | None
) -> Taken:
    """Keep a board's report, of one file or of a frontier's, with its sweep.

    Raises InputError, before anything is kept, for a report that cannot be used, that is of no file of this sweep, or whose board's name
    cannot be one.
    """
    row = store.sweep(sweep_ref)
    report = read_report(path)
    if profile is not None:
        find_profile(profile, "--profile")
    board = _board(name, report.machine.cpu)
    trials = {one.trial: _measured_trial(store, artifacts, row.id, path, one) for one in report.models}
    ran = [one for one in report.models if isinstance(one, _Ran)]
    runs = [_run(report, one, board, str(trials[one.trial].artifact), profile) for one in ran]
    return Taken(
        board,
        tuple((beside(trials[run.trial], run, artifacts), store.boards.keep(row.id, run)) for run in runs),
        tuple(Failure(one.trial, one.label, one.error) for one in report.models if isinstance(one, _Failed)),
        {one.trial: one.alone for one in ran if one.alone},
        next((one.moved for one in ran if one.moved is not None), None),
    )


def _measured_trial(store: Store, artifacts: Artifacts, sweep: str, path: Path, one: _File) -> Trial:
    """The trial whose very file was measured; raises InputError where there is none."""
    try:
        trial = store.trial(sweep, one.trial)
    except NotFoundError:
        raise InputError(
            f"{path} is of trial {one.trial} ({one.label}), which {sweep} does not have; name the sweep that it was exported from"
        ) from None
    here = file_digest(trial.artifact, artifacts) if trial.artifact else None
    if here is None:
        raise InputError(f"the file of trial {trial.id} is gone; `paretoscope resume {sweep}` makes it again")
    if here != one.sha256:
        raise InputError(
            f"{path} measured a file with SHA-256 {one.sha256[:12]}…, but that of trial {trial.id} ({trial.label}) is {here[:12]}…: "
            "it was altered, or the sweep was run again since; export the bundle anew and measure that"
        )
    return trial


def _run(report: _Report, one: _Ran, board: str, artifact: str, profile: str | None) -> BoardRun:
    latency, ratio = one.latency_ms, one.ratio
    return BoardRun(
        board=board,
        trial=one.trial,
        sha256=one.sha256,
        artifact=artifact,
        profile=profile,
        latency_ms=Interval(latency.p50, latency.low, latency.high),
        p95=latency.p95,
        p99=latency.p99,
        calls=latency.calls,
        batch=latency.batch,
        machine=report.machine.model_dump(),
        runtime=one.runtime,
        checks=tuple(check.model_dump() for check in one.checks),
        when=report.when,
        ratio=Interval(ratio.value, ratio.low, ratio.high) if ratio else None,
    )


def _board(name: str | None, cpu: str) -> str:
    """What the board is called: as it was told, or as its machine calls itself."""
    board = fitting_name(cpu) if name is None else checked_name(name, "--name")
    if board in profile_names():
        raise SpecError(f"--name: {board!r} is a device profile; give the board a name of its own, as in 'my {board}'")
    return board
