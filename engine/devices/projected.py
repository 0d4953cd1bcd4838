"""Many trials on devices that their sweep did not ask for, as columns: every recipe counts, and few are ever made into whole trials.

Recipes of a sweep that differ in weights alone ask the same of a device. So the different demands are told apart by their text, each
is projected once per device, and what a device says of them is kept as arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import Lock

import numpy as np
from pydantic_core import from_json, to_json

from engine.devices.cost import Scenario, all_per_million, under
from engine.devices.many_demands import Demands, Said, said_of
from engine.devices.missing_demands import demand_of_file
from engine.devices.profiles import HOST, Profile
from engine.devices.projection import project
from engine.frontier.columns import Fact, Numbers, Objects, Rows, Trials
from engine.frontier.dominance import Bools, Floats
from engine.graph.demand import Demand
from engine.metrics import DEVICE_METRICS, SCENARIO_METRICS
from engine.store.artifacts import Artifacts
from engine.trials.trial import Trial

MOST_FILES = 500
"""So many files of a sweep are opened at the most where records do not say what they ask; a file takes about 10 ms."""
_MOST_PROFILES = 64
_AT_ONCE = 500


def _parsed(text: bytes) -> Demand:
    return Demand.from_json(from_json(text))


class Projector:
    """What the recipes of a sweep ask of a device, and what devices say of it, as it is asked for; safe to share between threads."""

    def __init__(self, artifacts: Artifacts) -> None:
        """`artifacts` hold the files of the trials."""
        self._artifacts = artifacts
        self._lock = Lock()
        self._numbers: dict[bytes, int] = {}
        self._demands: list[bytes] = []
        self._files: dict[str, bytes | None] = {}
        self._said: dict[str, Said] = {}

    def on(self, trials: Trials, profiles: Sequence[Profile]) -> Trials:
        """The trials with what every profile says of them; the host is measured and stays as it is.

        What a trial asks is in its record or, as long as there are no more than `MOST_FILES` of these, in its file. Nothing is said of a
        trial of which it is not known: it keeps what it came with.
        """
        with self._lock:
            asked = trials.fact("demand").copy()
            for row in _silent(trials)[:MOST_FILES]:
                asked[row] = self._of_file(trials.fact("artifact")[row])
            of = np.array([-1 if demand is None else self._number(demand) for demand in asked], np.intp)
            seen = self._say([p for p in profiles if p.name != HOST.name])
            return Trials(_Projected(trials, of, tuple(self._demands), seen)) if seen else trials

    def _of_file(self, name: str) -> bytes | None:
        if name not in self._files:
            demand = demand_of_file(name, self._artifacts)
            self._files[name] = to_json(demand.to_json()) if demand else None
        return self._files[name]

    def _number(self, demand: bytes) -> int:
        if demand not in self._numbers:
            self._numbers[demand] = len(self._demands)
            self._demands.append(demand)
        return self._numbers[demand]

    def _say(self, profiles: Sequence[Profile]) -> dict[str, tuple[Profile, Said]]:
        """What the profiles say of all demands, by name; only what they have not said before is worked out."""
        # One of the user's own may be removed and made anew under the same name.
        by_key = {repr(p): p for p in profiles}
        said = {k: self._said.pop(k) if k in self._said else Said.nothing(0) for k, p in by_key.items()}
        first = min((len(s.fits) for s in said.values()), default=0)
        for start in range(first, len(self._demands), _AT_ONCE):
            end, read = min(start + _AT_ONCE, len(self._demands)), dict[int, Demands]()
            for key, profile in by_key.items():
                # Reading them takes as long as projecting them, so they are read once for all devices that have said as much.
                if (begin := len(said[key].fits)) < end:
                    read[begin] = read.get(begin) or Demands(self._demands[begin:end])
                    said[key] = said[key].and_then(said_of(profile, read[begin]))
        self._said |= said
        while len(self._said) > _MOST_PROFILES:
            del self._said[next(iter(self._said))]
        return {profile.name: (profile, said[key]) for key, profile in by_key.items()}


def unread(trials: Trials) -> int:
    """How many trials no device says anything of because their records do not say what they ask and their files are too many to open."""
    return max(0, len(_silent(trials)) - MOST_FILES)


def _silent(trials: Trials) -> Rows:
    """The finished trials with a file whose records do not say what they ask."""
    no_demand, has_file = trials.fact("demand") == None, trials.fact("artifact") != None  # noqa: E711
    return np.flatnonzero(no_demand & has_file & (trials.fact("state") == "done"))


class _Over:
    """Other trials, of which most is as it was."""

    def __init__(self, whole: Trials) -> None:
        self._whole = whole

    def __len__(self) -> int:
        return len(self._whole)

    def fact(self, name: Fact) -> Objects:
        return self._whole.fact(name)

    def fits(self, device: str) -> Bools:
        return self._whole.fits(device)


class _Projected(_Over):
    """Other trials, seen on more devices; `of` is the place of each in `demands`, -1 where nothing is known of it."""

    def __init__(
        self, whole: Trials, of: Rows, demands: Sequence[bytes], seen: Mapping[str, tuple[Profile, Said]]
    ) -> None:
        super().__init__(whole)
        self._of, self._demands, self._seen = of, demands, seen

    def devices(self) -> tuple[str, ...]:
        return (*self._whole.devices, *self._seen)

    def fits(self, device: str) -> Bools:
        before = super().fits(device)
        if device not in self._seen:
            return before
        here = np.append(self._seen[device][1].fits, True)[self._of]
        return np.where(self._of < 0, before, here)

    def numbers(self, key: str, device: str) -> Numbers:
        before = self._whole.numbers(key, device)
        if device not in self._seen or key not in DEVICE_METRICS:
            return before
        said, known = self._seen[device][1], self._of >= 0
        found = {"latency_ms": said.latency, "energy_mj": said.energy}.get(key, np.full((len(said.fits), 3), np.nan))
        here = self._spread(found)
        # A profile's numbers are never measured; what a million cost is as well known as the energy.
        estimated = key == "latency_ms" or ~np.isnan(self._spread(said.energy)[:, 0])
        return Numbers(
            np.where(known, here[:, 0], before.value),
            np.where(known, here[:, 1], before.low),
            np.where(known, here[:, 2], before.high),
            np.where(known, estimated, before.estimated),
        )

    def _spread(self, found: Floats) -> Floats:
        """What there is of each demand, for each trial; the place of what is not known, -1, is that of a row of NaN at the end."""
        spread: Floats = np.concatenate([found, np.full((1, 3), np.nan)])[self._of]
        return spread

    def load(self, rows: Sequence[int]) -> list[Trial]:
        loaded = self._whole.take(np.asarray(rows, np.intp))
        return [self._with(trial, int(self._of[row])) for row, trial in zip(rows, loaded, strict=True)]

    def _with(self, trial: Trial, place: int) -> Trial:
        if place < 0:
            return trial
        demand = _parsed(self._demands[place])
        new = {name: project(profile, demand) for name, (profile, _) in self._seen.items()}
        return replace(trial, projections=trial.projections | new)


def under_scenario(seen: Sequence[Trial], devices: Sequence[str], scenario: Scenario | None) -> Trials:
    """The trials with what a million inferences on each device take under a scenario; as they are without one."""
    whole = Trials.of(seen)
    return Trials(_Used(whole, [replace(scenario, device=name) for name in devices])) if scenario else whole


class _Used(_Over):
    """Other trials, used on some devices; a scenario for each of these."""

    def __init__(self, whole: Trials, uses: Sequence[Scenario]) -> None:
        super().__init__(whole)
        self._uses = {use.device: use for use in uses}

    def devices(self) -> tuple[str, ...]:
        return (*self._whole.devices, *self._uses)

    def numbers(self, key: str, device: str) -> Numbers:
        before = self._whole.numbers(key, device)
        if device not in self._uses or key not in SCENARIO_METRICS:
            return before
        energy, latency = (self._whole.numbers(k, device) for k in ("energy_mj", "latency_ms"))
        value = all_per_million(self._uses[device], energy.value, latency.value)[key]
        nothing = np.full(len(self), np.nan)
        return Numbers(value, nothing, nothing, energy.estimated)

    def load(self, rows: Sequence[int]) -> list[Trial]:
        made = tuple(self._whole.take(np.asarray(rows, np.intp)))
        for use in self._uses.values():
            made = under(use, made)
        return list(made)
