"""`paretoscope doctor`: is everything in place, and what can this machine do?"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
from rich.text import Text

from engine.cli._options import JsonFlag, print_json
from engine.cli._tables import print_table
from engine.errors import InputError, StepError
from engine.measure.energy_counter import open_meter
from engine.measure.latency_process import EMPTY_MODEL
from engine.measure.machine import integer_sums, machine
from engine.measure.providers import available_providers
from engine.measure.session import Runner
from engine.paths import home
from engine.run.installed import REMEDY, missing_packages
from engine.spec.providers import provider_of

_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}


@dataclass(frozen=True)
class Check:
    """One finding; `failed` means that something will not work."""

    name: str
    state: Literal["ok", "warning", "failed"]
    finding: str


def examine() -> list[Check]:
    """Every check; none of them changes anything but an empty home folder."""
    checks: list[tuple[str, Callable[[], tuple[Literal["ok", "warning", "failed"], str]]]] = [
        ("machine", _machine),
        ("int8 kernels", _int8),
        ("torch", _torch),
        ("training", _training),
        ("onnxruntime", _onnxruntime),
        ("providers", _providers),
        ("energy", _energy),
        ("home", lambda: ("ok", str(home()))),
        ("store", _store),
        ("artifacts", _artifacts),
        ("disk", _disk),
        ("dataset", _dataset),
        ("checkpoints", _checkpoints),
        ("browser tests", _chromium),
    ]
    return [_run(name, check) for name, check in checks]


def _run(name: str, check: Callable[[], tuple[Literal["ok", "warning", "failed"], str]]) -> Check:
    try:
        state, finding = check()
        return Check(name, state, finding)
    except InputError as error:
        return Check(name, "failed", str(error))
    except (ImportError, OSError, RuntimeError) as error:
        return Check(name, "failed", f"{type(error).__name__}: {error}")


def _machine() -> tuple[Literal["ok"], str]:
    found = machine()
    return (
        "ok",
        f"{found.cpu}, {found.cores} cores, {found.memory_gib:.0f} GiB, {found.os}; flags {' '.join(found.flags) or 'none'}",
    )


def _int8() -> tuple[Literal["ok", "warning"], str]:
    flags = machine().flags
    # Tried in the runtime itself.
    if integer_sums(machine()) == "saturating":
        return "warning", "no VNNI: int8 products can saturate here, so int8 accuracy may differ from CPUs that have it"
    if any("vnni" in flag or flag.startswith("amx") or flag == "asimddp" for flag in flags):
        return "ok", "this CPU multiplies int8 without overflow (VNNI, AMX or dot product)"
    return "warning", "no int8 instructions known here: int8 may be slower than fp32"


def _torch() -> tuple[Literal["ok", "warning"], str]:
    if missing := missing_packages():
        return "warning", f"a viewer: sweeps cannot be run here without {', '.join(missing)}; {REMEDY}"
    import torch
    import torchvision

    return "ok", f"torch {torch.__version__}, torchvision {torchvision.__version__}"


def _training() -> tuple[Literal["ok", "warning"], str]:
    if missing_packages():
        return "warning", "nothing is trained here"
    from engine.run.training_device import gpus, training_device

    there = ", ".join(f"{gpu.name} ({gpu.title})" for gpu in gpus()) or "no GPU (none is needed)"
    return "ok", f"on {training_device()}; torch finds {there}"


def _onnxruntime() -> tuple[Literal["ok"], str]:
    import onnxruntime

    versions = machine().versions
    there = []
    for name in available_providers():
        brought = [f"{p} {versions[p]}" for p in provider_of(name).packages if p in versions]
        there.append(f"{name} ({', '.join(brought)})" if brought else name)
    return "ok", f"{onnxruntime.__version__}, providers {', '.join(there)}"


def _providers() -> tuple[Literal["ok", "warning"], str]:
    """Whether those that are there also start; a library may lack another, a card its driver."""
    started, failed = [], []
    for name in available_providers():
        try:
            Runner(EMPTY_MODEL, 1, provider=name)(np.zeros((1, 1, 1, 1), np.float32))
            started.append(name)
        except StepError as error:
            failed.append(str(error))
    return (
        ("warning", "; ".join(failed))
        if failed
        else ("ok", f"{', '.join(started)}: each ran a network of one operator")
    )


def _energy() -> tuple[Literal["ok"], str]:
    found = {name: open_meter(name) for name in available_providers()}
    counted = [f"{meter.name} for {name}" for name, meter in found.items() if meter]
    return "ok", f"counted by {', '.join(counted)}" if counted else "no counter can be read: energy is estimated"


def _store() -> tuple[Literal["ok"], str]:
    from engine.store.migrations.upgrade import SCHEMA_REVISION
    from engine.store.store import Store

    return "ok", f"version {SCHEMA_REVISION}, {len(Store.open().sweeps())} sweeps"


def _artifacts() -> tuple[Literal["ok"], str]:
    from engine.store.artifacts import Artifacts

    artifacts = Artifacts.open()
    artifacts.check()
    return "ok", f"{artifacts.url} can be written and read"


def _disk() -> tuple[Literal["ok", "warning"], str]:
    from engine.datasets.cache import taken

    free, cached = shutil.disk_usage(home()).free / 1e9, taken() / 1e9
    told = (
        f"; what large data were decoded into takes {cached:.1f} GB (`paretoscope datasets --clear-cache`)"
        if cached
        else ""
    )
    return ("ok" if free > 1 else "warning"), f"{free:.1f} GB free under {home()}{told}"


def _dataset() -> tuple[Literal["ok"], str]:
    from engine.datasets.load import load_dataset
    from engine.spec.sections import EMBEDDED, Data

    found = [load_dataset(Data(source=name)) for name in EMBEDDED]
    counts = [f"{d.name}, {len(d.train):,} training and {len(d.test):,} test items" for d in found]
    return "ok", f"checksums right: {'; '.join(counts)}"


def _checkpoints() -> tuple[Literal["ok"], str]:
    from engine.models.catalog import check_shipped, zoo_index

    index = zoo_index()
    for entry in index.values():
        check_shipped(entry)
    return "ok", f"{len(index)} checkpoints, checksums right"


def _chromium() -> tuple[Literal["ok", "warning"], str]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return ("ok", path) if path else ("warning", "no Chromium here; `make test` will say which tests it leaves out")


def doctor(as_json: JsonFlag = False) -> None:
    """Check this installation and say what the machine can do."""
    checks = examine()
    print_json([asdict(c) for c in checks]) if as_json else print_checks(checks)
    if any(c.state == "failed" for c in checks):
        sys.exit(1)


def print_checks(checks: Sequence[Check]) -> None:
    """What `doctor` found."""
    print_table(
        {"check": "left", "": "left", "finding": "left"},
        [(c.name, Text(c.state, _COLOURS[c.state]), c.finding) for c in checks],
    )
