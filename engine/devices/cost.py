"""Energy -> kilowatt hours, money and CO2 equivalent: per million inferences, for a fleet, and what a sweep costs itself. Never measured.

1 mJ an inference is 1 kJ a million inferences, and 3,600 kJ are a kilowatt hour. Carbon: kWh × PUE × grid intensity, the arithmetic of
codecarbon (mlco2.github.io/codecarbon/methodology.html); intensities are that package's own table, each with its year
(`data/carbon_intensity.csv`).
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from engine.errors import SetupError, SpecError
from engine.frontier.dominance import Floats
from engine.metrics import METRICS, SCENARIO_METRICS
from engine.paths import DATA
from engine.trials.measurements import PerMillion, Projection
from engine.trials.metric_values import metric_value
from engine.trials.trial import Trial

INTENSITIES = DATA / "carbon_intensity.csv"
SCENARIOS = DATA / "scenarios.yaml"
MILLION = 1_000_000
_MJ_PER_KWH = 3.6e9
_MS_PER_HOUR = 3.6e6
# A year of the Gregorian calendar, in days.
DAYS_PER_YEAR = 365.2425


@dataclass(frozen=True)
class Grid:
    """Grams of CO2 equivalent that a country's electricity emitted for a kilowatt hour, on average over a year."""

    iso3: str
    country: str
    g_co2e_per_kwh: float
    year: int


@dataclass(frozen=True)
class Scenario:
    """A use of a network: where it runs, what it must keep, and what running it costs.

    `limits`: metric -> most, for accuracy least, in base units. Money is by energy (`price_per_kwh`) or, for hardware that is
    rented, by time (`price_per_device_hour` while it computes a share `utilisation` of what it is paid for). `pue`: power that a data
    centre draws for each watt of its computers; 1.0 at the edge, 1.1 in the largest data centres, 1.56 on average.
    """

    name: str
    title: str
    device: str
    limits: Mapping[str, float]
    datasets: tuple[str, ...]
    country: str
    pue: float
    currency: str
    devices: int
    inferences_per_day: float
    years: float
    assumptions: tuple[str, ...]
    price_per_kwh: float | None = None
    price_per_device_hour: float | None = None
    utilisation: float = 1.0

    def keeps(self, trial: Trial) -> bool:
        """Whether a finished trial keeps every limit and fits the device; a limit on what nobody knows is not kept."""
        projection = trial.projections.get(self.device)
        if trial.state != "done" or (projection and not projection.fits):
            return False
        for key, limit in self.limits.items():
            value = metric_value(trial, key, self.device)
            if value is None or (value < limit if METRICS[key].maximise else value > limit):
                return False
        return True


@lru_cache(maxsize=2)
def grids(path: Path = INTENSITIES) -> dict[str, Grid]:
    """Countries by ISO 3166 code of three letters. Raises SetupError for a damaged table."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [
                Grid(r["iso3"], r["country"], float(r["g_co2e_per_kwh"]), int(r["year"])) for r in csv.DictReader(file)
            ]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise SetupError(f"{path} cannot be read ({error!r}); restore it from a fresh clone") from None
    return {row.iso3: row for row in rows}


def find_grid(country: str) -> Grid:
    """The grid of a country, by code or English name; SpecError for one that the table has not."""
    table = grids()
    wanted = country.strip().lower()
    for grid in table.values():
        if wanted in (grid.iso3.lower(), grid.country.lower()):
            return grid
    raise SpecError(f"country {country!r} is not in {INTENSITIES.name}; give a code such as DEU, FRA or USA")


@lru_cache(maxsize=2)
def read_scenarios(path: Path = SCENARIOS) -> dict[str, Scenario]:
    """Scenarios by name. Raises SetupError, in one line, for a damaged file."""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))["scenarios"]
        found = [parse_scenario(entry) for entry in entries]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise SetupError(f"{path} cannot be read ({type(error).__name__}); restore it from a fresh clone") from None
    return {s.name: s for s in found}


def parse_scenario(entry: Mapping[str, Any]) -> Scenario:
    """A scenario from YAML; SpecError names the key that is wrong."""
    lists = {key: tuple(entry[key]) for key in ("datasets", "assumptions")}
    scenario = Scenario(**{**entry, **lists})
    for key, limit in scenario.limits.items():
        if key not in METRICS:
            raise SpecError(f"scenario {scenario.name}: {key!r} is not a metric; known: {', '.join(METRICS)}")
        _positive(scenario, f"limits.{key}", limit)
    for key in ("pue", "devices", "inferences_per_day", "years", "utilisation"):
        _positive(scenario, key, getattr(scenario, key))
    for key in ("price_per_kwh", "price_per_device_hour"):
        if getattr(scenario, key) is not None:
            _positive(scenario, key, getattr(scenario, key))
    if scenario.pue < 1:
        raise SpecError(f"scenario {scenario.name}: pue is {scenario.pue:g}; it is 1 or more")
    if scenario.utilisation > 1:
        raise SpecError(
            f"scenario {scenario.name}: utilisation is {scenario.utilisation:g}; it is a share, 1 at the most"
        )
    find_grid(scenario.country)
    return scenario


def _positive(scenario: Scenario, key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise SpecError(f"scenario {scenario.name}: {key} is {value!r}; give a positive number")


def find_scenario(name: str) -> Scenario:
    """The scenario of that name; SpecError names the known ones."""
    known = read_scenarios()
    if name not in known:
        raise SpecError(f"{name!r} is not a scenario; known: {', '.join(known)}")
    return known[name]


def kwh(energy_mj: float, inferences: float = MILLION) -> float:
    """Kilowatt hours of so many inferences of `energy_mj` millijoules each."""
    return energy_mj * inferences / _MJ_PER_KWH


def device_hours(latency_ms: float, utilisation: float, inferences: float = MILLION) -> float:
    """Hours that a device is paid for to make so many inferences, one after the other, busy a share `utilisation` of the time."""
    return latency_ms * inferences / _MS_PER_HOUR / utilisation


def co2e_kg(energy_kwh: float, g_co2e_per_kwh: float, pue: float) -> float:
    """Kilograms of CO2 equivalent of an energy at the device, in a building of that PUE on that grid."""
    return energy_kwh * pue * g_co2e_per_kwh / 1000


def per_million(scenario: Scenario, energy_mj: float | None, latency_ms: float | None) -> PerMillion:
    """A million inferences under a scenario; energy is at the plug, PUE included."""
    plug_kwh = None if energy_mj is None else kwh(energy_mj) * scenario.pue
    cost = None
    if scenario.price_per_device_hour is not None and latency_ms is not None:
        cost = device_hours(latency_ms, scenario.utilisation) * scenario.price_per_device_hour
    elif scenario.price_per_device_hour is None and scenario.price_per_kwh is not None and plug_kwh is not None:
        cost = plug_kwh * scenario.price_per_kwh
    carbon = None if plug_kwh is None else co2e_kg(plug_kwh, find_grid(scenario.country).g_co2e_per_kwh, 1.0)
    return PerMillion(plug_kwh, cost, carbon)


def all_per_million(scenario: Scenario, energy_mj: Floats, latency_ms: Floats) -> dict[str, Floats]:
    """`per_million` of many: a metric of `SCENARIO_METRICS` -> its values, NaN where not known; shapes as given, NaN in where not known."""
    # Each figure is so much a millijoule or, rented, so much a millisecond.
    of_one = per_million(scenario, 1.0, 1.0)
    rented = scenario.price_per_device_hour is not None
    found: dict[str, Floats] = {}
    for key, name in SCENARIO_METRICS.items():
        each: float | None = getattr(of_one, name)
        counted = latency_ms if name == "cost" and rented else energy_mj
        found[key] = counted * (math.nan if each is None else each)
    return found


def under(scenario: Scenario, trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """The trials with a million inferences on the scenario's device worked out, for those whose energy or latency there is known."""
    made = []
    for trial in trials:
        latency_ms, energy_mj = (metric_value(trial, key, scenario.device) for key in ("latency_ms", "energy_mj"))
        if latency_ms is None and energy_mj is None:
            made.append(trial)
            continue
        projection = trial.projections.get(scenario.device) or Projection(None, None)
        filled = replace(projection, per_million=per_million(scenario, energy_mj, latency_ms))
        made.append(replace(trial, projections={**trial.projections, scenario.device: filled}))
    return tuple(made)


@dataclass(frozen=True)
class Fleet:
    """All devices over all years: inferences, kilowatt hours at the plug, money, kilograms of CO2 equivalent; None where not known."""

    inferences: float
    kwh: float | None
    cost: float | None
    co2e_kg: float | None


def fleet(scenario: Scenario, of: PerMillion) -> Fleet:
    """The scenario's devices × inferences a day × years."""
    inferences = scenario.devices * scenario.inferences_per_day * scenario.years * DAYS_PER_YEAR
    millions = inferences / MILLION
    values = (None if v is None else v * millions for v in (of.kwh, of.cost, of.co2e_kg))
    return Fleet(inferences, *values)


def sweep_kwh(seconds: float, watts: float) -> float:
    """Kilowatt hours of a sweep that kept a host that draws `watts` busy for so long."""
    return seconds * watts / 3.6e6


def payback_inferences(spent_kwh: float, before_mj: float, after_mj: float) -> int | None:
    """Inferences after which what a compressed network saves has repaid the energy spent; None where it saves nothing."""
    if after_mj >= before_mj:
        return None
    return math.ceil(spent_kwh * _MJ_PER_KWH / (before_mj - after_mj))
