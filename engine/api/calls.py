"""Running, reading and taking home, as functions that give pandas tables."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.api.sweep import Sweep
from engine.errors import InputError, ParetoscopeError
from engine.explain.why import why as explained
from engine.export.bundle import VerifyReport, export_bundle
from engine.export.gate import gate
from engine.export.tables import number_rows
from engine.export.verify_template import Limits
from engine.frontier.front import best_under, find_front, parse_objectives, usual_objectives
from engine.paths import DATA
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.trial import Trial

if TYPE_CHECKING:
    import pandas as pd

BAD_INPUT = 2
"""What the command line ends with where it says what to mend."""


@dataclass(frozen=True)
class Run:
    """A sweep in the store: `sweep` is its id, `state` how its last run ended (`done`, `failed`, `cancelled`, or `running`)."""

    sweep: str
    state: str

    @property
    def trials(self) -> tuple[Trial, ...]:
        """Every trial with all that is known of it, the baseline first."""
        return tuple(Store.open().trials(self.sweep))


def run(sweep: Sweep, scheduler: str | None = None, quiet: bool = False) -> Run:
    """Run what is missing of a sweep, and wait for it; what has been run before is taken from the store.

    It runs in a process of its own, so that a script needs no `if __name__ == "__main__"` and a notebook's memory stays as it is. Unless
    `quiet`, its progress goes to standard error. `scheduler`: a Dask scheduler's address; otherwise this host. Raises InputError for what
    the command line would refuse, with its line; a sweep some of whose recipes fail is `done`, and each such trial says why.
    """
    with tempfile.TemporaryDirectory(prefix="paretoscope-") as folder:
        spec = Path(folder) / "spec.yaml"
        spec.write_text(sweep.to_yaml(), encoding="utf-8")
        command = [sys.executable, "-m", "engine.cli", "run", str(spec), "--json"]
        command += ["--scheduler", scheduler] if scheduler else []
        process = subprocess.Popen(command, cwd=DATA.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        told = list[str]()
        assert process.stdout
        assert process.stderr
        try:
            # Nothing is printed to the other before the end, so neither pipe can fill while this one is read.
            for line in process.stderr:
                told.append(line)
                if not quiet:
                    sys.stderr.write(line)
            said, code = process.stdout.read(), process.wait()
        finally:
            # An interrupt reaches both; the run ends in good order and can be taken up.
            process.wait()
            process.stdout.close()
            process.stderr.close()
    if code == BAD_INPUT:
        raise InputError((told or ["the sweep was refused"])[-1].removeprefix("error: ").strip())
    try:
        outcome = json.loads(said)
    except ValueError:
        raise ParetoscopeError(f"the run ended with {code}: {(told or ['it said nothing'])[-1].strip()}") from None
    return Run(outcome["sweep"], outcome["state"])


def opened(sweep: str) -> Run:
    """A sweep that is in the store, by its id, its name, the start of its id, or `latest`; raises NotFoundError."""
    row = Store.open().sweep(sweep)
    return Run(row.id, row.state)


def sweeps() -> pd.DataFrame:
    """All sweeps in the store: `id`, `name`, `state` and the number of their `trials`."""
    import pandas as pd

    rows = [{"id": r.id, "name": r.name, "state": r.state, "trials": r.trials} for r in Store.open().sweeps()]
    return pd.DataFrame(rows, columns=["id", "name", "state", "trials"])


def trials(run: Run | str, device: str = "host") -> pd.DataFrame:
    """One row a trial, by id: every number with the ends of its interval, in base units (shares, bytes, ms, mJ), NaN where not measured."""
    return _table(_run(run).trials, device)


def front(run: Run | str, objectives: Sequence[str] | None = None, device: str = "host") -> pd.DataFrame:
    """The rows of `trials` that no other beats in every objective, best first objective first; `knee` marks where giving up more stops
    paying.

    `objectives` are keys of metrics; by default what the sweep is judged by, size and latency, as far as they were measured. Raises
    SpecError for unknown ones.
    """
    every = _run(run).trials
    asked = parse_objectives(",".join(objectives), every) if objectives else usual_objectives(every, device)
    found = find_front(every, asked, device)
    table = _table(found.trials, device)
    table.insert(1, "knee", table.index == found.knee)
    return table


def best(run: Run | str, limits: Mapping[str, float], device: str = "host") -> pd.Series[Any]:
    """The row of the best trial within limits, {key of a metric: the most, or the least where more is better}; raises InputError where
    none is, SpecError for unknown keys.
    """
    every = _run(run).trials
    keys = [parse_objectives(key, every)[0] for key in limits]
    found = best_under(every, dict(zip(keys, limits.values(), strict=True)), device)
    if found is None:
        raise InputError(f"no trial keeps {dict(limits)}; give wider limits")
    return _table((found,), device).iloc[0]


def why(run: Run | str, trial: str) -> dict[str, Any]:
    """Where a trial's time goes, beside the baseline's, and what to try; what `paretoscope why --json` prints. Measured here once."""
    return explained(Store.open(), Artifacts.open(), _run(run).sweep, trial)


def export(run: Run | str, trial: str, path: str | Path) -> Path:
    """Write a trial as a bundle; raises InputError for one that is not measured or a path that cannot be written."""
    return export_bundle(Store.open(), Artifacts.open(), _run(run).sweep, trial, Path(path))


def verify(
    bundle: str | Path,
    data: str | Path | None = None,
    against: str | Path | None = None,
    max_ratio: float | None = None,
    **limits: float,
) -> VerifyReport:
    """Check a bundle and hold it against limits, as `paretoscope verify` does; `.ok` says whether it passed, `.lines` is the table.

    `limits`: `max_drop`, `max_worst_class_drop`, `min_metric`, `max_metric`, `max_p95_ms`, `max_kb`.
    """
    other = Path(against) if against else None
    return gate(Path(bundle), Limits(**limits), Path(data) if data else None, other, max_ratio)


def _run(run: Run | str) -> Run:
    return opened(run) if isinstance(run, str) else run


def _table(found: Sequence[Trial], device: str) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(number_rows(found, (device,))).set_index("id")
