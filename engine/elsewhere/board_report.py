"""What a bundle's `verify.py --json` printed on a user's own board, taken back to the sweep that the bundle came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from engine.devices.boards import beside, file_digest
from engine.devices.profiles import find_profile, profile_names
from engine.errors import InputError, NotFoundError, SpecError
from engine.export import verify_main_template
from engine.spec.frozen import Frozen
from engine.spec.names import checked_name, fitting_name
from engine.spec.validation import validated
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.boards import Beside, BoardRun
from engine.trials.evidence import Interval

_HOW = "`python verify.py --json > results.json` in the unpacked bundle, on the board, writes one"
_LARGEST = 1 << 20


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


class _Report(Frozen):
    measurement: Literal[1]
    trial: str
    label: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    when: str = Field(max_length=40)
    machine: _Machine
    runtime: dict[str, Any]
    latency_ms: _Latency
    ok: bool
    checks: tuple[_Check, ...]
    digest: str


def read_report(path: Path) -> _Report:
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
    if found["measurement"] != verify_main_template.MEASUREMENT:
        raise InputError(
            f"{path} has layout {found['measurement']!r}, this program reads {verify_main_template.MEASUREMENT}; update Paretoscope"
        )
    if found.get("digest") != verify_main_template.digest(found):
        raise InputError(
            f"{path} was changed after it was written: its digest does not fit; run verify.py --json again"
        )
    report: _Report = validated(_Report, found, str(path))
    return report


def take_back(
    store: Store, artifacts: Artifacts, sweep_ref: str, path: Path, name: str | None, profile: str | None
) -> tuple[Beside, BoardRun | None]:
    """Keep a board's report with its sweep: what it says, and the measurement that it took the place of.

    Raises InputError, before anything is kept, for a report that cannot be used, that is of no file of this sweep, or whose board's name
    cannot be one.
    """
    row = store.sweep(sweep_ref)
    report = read_report(path)
    if profile is not None:
        find_profile(profile, "--profile")
    board = _board(name, report.machine.cpu)
    try:
        trial = store.trial(row.id, report.trial)
    except NotFoundError:
        raise InputError(
            f"{path} is of trial {report.trial} ({report.label}), which {row.id} does not have; name the sweep that the bundle came from"
        ) from None
    here = file_digest(trial.artifact, artifacts) if trial.artifact else None
    if trial.artifact is None or here is None:
        raise InputError(f"the file of trial {trial.id} is gone; `paretoscope resume {row.id}` makes it again")
    if here != report.sha256:
        raise InputError(
            f"{path} measured a file with SHA-256 {report.sha256[:12]}…, but that of trial {trial.id} ({trial.label}) is {here[:12]}…: "
            "it was altered, or the sweep was run again since; export the bundle anew and measure that"
        )
    latency = report.latency_ms
    run = BoardRun(
        board=board,
        trial=trial.id,
        sha256=report.sha256,
        artifact=trial.artifact,
        profile=profile,
        latency_ms=Interval(latency.p50, latency.low, latency.high),
        p95=latency.p95,
        p99=latency.p99,
        calls=latency.calls,
        batch=latency.batch,
        machine=report.machine.model_dump(),
        runtime=report.runtime,
        checks=tuple(check.model_dump() for check in report.checks),
        when=report.when,
    )
    return beside(trial, run, artifacts), store.boards.keep(row.id, run)


def _board(name: str | None, cpu: str) -> str:
    """What the board is called: as it was told, or as its machine calls itself."""
    board = fitting_name(cpu) if name is None else checked_name(name, "--name")
    if board in profile_names():
        raise SpecError(f"--name: {board!r} is a device profile; give the board a name of its own, as in 'my {board}'")
    return board
