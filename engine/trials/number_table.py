"""Every number of a trial beside its baseline's, as one table: value, range, difference, and how each is known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine.metrics import DEVICE_METRICS, METRICS, ON_IMAGES, axis_title, is_score, text_of
from engine.trials.metric_values import is_slice, judged_by, measured_metrics, metric_value, worst_slice
from engine.trials.text import baseline_text, is_estimated, metric_range, signed, sums_text, without_idle_sign
from engine.trials.trial import Trial

ON_SAMPLES, ON_HOST, OF_FILE, ELSEWHERE = (
    "On the test samples",
    "Time, memory and energy on the sweep’s machine",
    "File and network",
    "On other devices",
)
GROUPS = (ON_SAMPLES, ON_HOST, OF_FILE, ELSEWHERE)
# What says by itself how far from the baseline it is.
_RELATIVE = frozenset({"latency_ratio", "agreement", "relative_error", "cosine", "neighbours"})


@dataclass(frozen=True)
class Number:
    """One number of a trial on one device.

    `value`, `low`, `high` and `baseline` are in base units (shares, bytes, milliseconds), as `trials --json` has them; None where there
    is none. `difference` is value minus baseline for shares and for a sweep's own metric (`is_absolute`), and value over baseline minus
    one for all others; None for the baseline itself, beside a baseline of zero, and for what is relative to it by itself. The texts are
    plain and empty where there is nothing to say; `how` says how the number is known.
    """

    key: str
    device: str
    group: str
    name: str
    value: float
    low: float | None
    high: float | None
    baseline: float | None
    difference: float | None
    is_absolute: bool
    value_text: str
    range_text: str
    baseline_text: str
    difference_text: str
    how: str


def difference(trial: Trial, baseline: Trial | None, key: str, device: str = "host") -> tuple[float, bool, str] | None:
    """How far a number of a trial is from its baseline's (see `Number.difference`), whether that is value minus baseline, and as text,
    `-0.41 points` or `-74 %`; None where there is none to tell.
    """
    value = metric_value(trial, key, device)
    before = metric_value(baseline, key, device) if baseline else None
    if value is None or not before or baseline is None or trial.id == baseline.id:
        return None
    if is_score(key):
        return value - before, True, without_idle_sign(signed(key, value - before))
    if METRICS[key].unit in {"%", "points"}:
        return value - before, True, without_idle_sign(f"{(value - before) * 100:+.2f} points")
    return _share(value, before)


def _share(value: float, before: float) -> tuple[float, bool, str]:
    return value / before - 1, False, without_idle_sign(f"{(value / before - 1) * 100:+.0f} %")


def number_table(trial: Trial, baseline: Trial | None) -> list[Number]:
    """Every number that a trial has, in the order of `GROUPS`; of other devices what depends on the device."""
    found = [_number(trial, baseline, key, "host") for key in measured_metrics([trial])]
    found += _of_calls(trial, baseline)
    for device in (d for d in trial.projections if d != "host"):
        keys = (k for k in measured_metrics([trial], device) if k in DEVICE_METRICS)
        found += [_number(trial, baseline, key, device) for key in keys]
    return sorted(found, key=lambda n: GROUPS.index(n.group))


def _number(trial: Trial, baseline: Trial | None, key: str, device: str) -> Number:
    value = metric_value(trial, key, device)
    assert value is not None  # `measured_metrics` names those that are there
    other = baseline if baseline and baseline.id != trial.id else None
    before = metric_value(other, key, device) if other else None
    ends = metric_range(trial, key, device)
    apart = None if key in _RELATIVE else difference(trial, baseline, key, device)
    return Number(
        key=key,
        device=device,
        group=_group(key, device),
        name=axis_title(key, device).removesuffix(f" ({METRICS[key].unit})"),
        value=value,
        low=ends[0] if ends else None,
        high=ends[1] if ends else None,
        baseline=before,
        difference=apart[0] if apart else None,
        is_absolute=apart[1] if apart else False,
        value_text=text_of(key, value),
        range_text=f"{text_of(key, ends[0], unit=False)} to {text_of(key, ends[1])}" if ends else "",
        baseline_text="" if before is None else text_of(key, before),
        difference_text=apart[2] if apart else "",
        how=how_known(trial, key, device),
    )


def _group(key: str, device: str) -> str:
    if device != "host":
        return ELSEWHERE
    if key in ON_IMAGES or is_score(key):
        return ON_SAMPLES
    return ON_HOST if key in DEVICE_METRICS or key == "latency_ratio" else OF_FILE


def _of_calls(trial: Trial, baseline: Trial | None) -> Iterator[Number]:
    """What was measured of calls beside the median: the slow ones, throughput, loading, memory. None of it is an axis."""
    other = baseline if baseline and baseline.id != trial.id else None
    mine, theirs = _calls(trial), _calls(other) if other else {}
    how = {"peak_memory_bytes": "measured: loading and running, above an empty session"} | dict.fromkeys(
        ("latency_p95_ms", "latency_p99_ms"), "measured, on the scale of the baseline’s own measurement"
    )
    for key, (name, value, text) in mine.items():
        before = theirs.get(key)
        apart = _share(value, before[1]) if before and before[1] else None
        yield Number(
            key=key,
            device="host",
            group=ON_HOST,
            name=name,
            value=value,
            low=None,
            high=None,
            baseline=before[1] if before else None,
            difference=apart[0] if apart else None,
            is_absolute=False,
            value_text=text,
            range_text="",
            baseline_text=before[2] if before else "",
            difference_text=apart[2] if apart else "",
            how=how.get(key, "measured"),
        )


def _calls(trial: Trial) -> dict[str, tuple[str, float, str]]:
    """By key: name, value in base units, text."""
    found: dict[str, tuple[str, float | None, str]] = {}
    if trial.latency_ms:
        for key, name, ms in (
            ("latency_p95_ms", "Latency, 95 % of calls", trial.latency_ms.p95),
            ("latency_p99_ms", "Latency, 99 % of calls", trial.latency_ms.p99),
        ):
            found[key] = name, ms, text_of("latency_ms", ms)
    found["throughput_per_s"] = "Samples a second", trial.throughput_per_s, f"{trial.throughput_per_s or 0:,.0f}"
    found["load_ms"] = "Time to load", trial.load_ms, f"{trial.load_ms or 0:,.1f} ms"
    if trial.timing:
        first = trial.timing.first_run_ms
        found["first_run_ms"] = "First run", first, f"{first:.3g} ms"
    memory = trial.peak_memory_bytes
    found["peak_memory_bytes"] = "Memory at most", memory, f"{(memory or 0) / 1e6:,.1f} MB"
    return {key: (name, value, text) for key, (name, value, text) in found.items() if value is not None}


def how_known(trial: Trial, key: str, device: str = "host") -> str:
    """How a number of a trial is known: measured on what, estimated by what, read off the file."""
    projection = trial.projections.get(device)
    if key == "energy_mj" and projection and projection.energy_mj:
        known = "estimated" if is_estimated(trial, key, device) else "measured"
        return f"{known}: {projection.energy_mj.basis}"
    if is_estimated(trial, key, device):
        return f"estimated for {device}"
    if key == "latency_ms" and device != "host":
        return f"measured on {device}, 95 % interval of these calls"
    judged = trial.judged
    if key == judged_by(trial) and judged:
        samples = f"measured on {judged.n:,} test samples, 95 % interval"
        return "; ".join(part for part in (samples, baseline_text(trial), sums_text(trial)) if part)
    if key == "latency_ms" and trial.latency_ms:
        return "measured: the ratio to the baseline, taken in turns with it, times the baseline’s median"
    if key == "latency_ratio":
        return "measured in turns with the baseline, 95 % interval"
    if key == "worst_class_drop" and trial.quality and trial.quality.worst_class:
        return f"measured on the same test samples: class {trial.quality.worst_class.name}{_interval(trial, key)}"
    if worst := worst_slice(trial.slices, key):
        return f"measured on the same test samples: {worst.array} {worst.value}{_interval(trial, key)}"
    if is_score(key) or key in ON_IMAGES:
        return f"measured on the same test samples{_interval(trial, key)}"
    return "read off the file"


def _interval(trial: Trial, key: str) -> str:
    if metric_range(trial, key) is None:
        return ""
    of_extreme = is_slice(key) or (trial.quality is not None and key in trial.quality.intervals)
    return ", 95 % interval" + (", widened for being the worst of several" if of_extreme and key != "ece" else "")
