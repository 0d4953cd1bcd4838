"""Trials in words: ranges, how a latency was measured, what each stage bought, comparisons. `engine/metrics.py` has the numbers.

Plain text without markup, so that the browser, the command line and a bundle's card say the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from engine.metrics import METRICS, SCENARIO_METRICS, shown, text_of
from engine.spec.providers import provider_of
from engine.spec.recipe import Recipe
from engine.spec.runtime import Runtime
from engine.spec.sentences import runtime_text
from engine.trials.evidence import Interval, Score, Seeds
from engine.trials.measurements import Timing
from engine.trials.metric_values import metric_interval
from engine.trials.trial import Trial

_MINUS = re.compile(r"(?<![\w.])-(?=\d)")
SATURATION_RISKS = {
    "none": "none: no pair of its products can saturate",
    "unseen": "unseen: some could saturate, but none did on these samples",
    "harmless": "harmless: some saturate, and the accuracy is not told apart",
    "harmful": "harmful: the accuracy is another one",
}
"""What an int8 file risks on CPUs without VNNI, by `risk` of its portability, where accuracies tell."""
_VALUE_RISKS = {
    "harmless": "harmless: some saturate, and outputs stay within a hundredth of how they vary",
    "harmful": "harmful: outputs are off by more than a hundredth of how they vary",
}


def risk_text(found: Mapping[str, Any]) -> str:
    """What an int8 file risks on CPUs without VNNI, of a `Portability` as JSON."""
    risk = found["risk"]
    return SATURATION_RISKS[risk] if found["accuracy"] is not None else {**SATURATION_RISKS, **_VALUE_RISKS}[risk]


def apart_text(found: Mapping[str, Any]) -> str:
    """How far outputs with saturating sums are from those with exact ones, where no accuracy tells, of a `Portability` as JSON."""
    flips = "" if found["flips"] is None else f"; {found['flips']:,} get another class"
    return f"{found['images']:,} test samples: outputs are {found['relative_error']:.2%} of how they vary apart{flips}"


def metric_range(trial: Trial, key: str, device: str = "host") -> tuple[float, float] | None:
    """The interval of a number of a trial in base units, None where it has none."""
    found = metric_interval(trial, key, device)
    return (found.low, found.high) if isinstance(found, Interval) else None


def is_estimated(trial: Trial, key: str, device: str = "host") -> bool:
    """Whether the number is not measured on the device it speaks of; an imported one is what somebody states of that device."""
    if trial.stated:
        return False
    if key == "energy_mj" or key in SCENARIO_METRICS:
        projection = trial.projections.get(device)
        return bool(projection and projection.energy_mj and projection.energy_mj.source != "measured")
    if key != "latency_ms" or device == "host":
        return False
    on_it = trial.projections.get(device)
    # What a user's own board measured stands among the projections.
    return on_it is None or on_it.source != "measured"


def timing_texts(timing: Timing) -> list[str]:
    """How a latency was measured: what ran, how sure it is, and the cold start, a sentence each without its full stop."""
    stated = {n: getattr(timing, n) for n in ("threads", "batch", "graph_optimisation", "provider")}
    pinned = f", pinned to CPU {', '.join(map(str, timing.cpus))}" if timing.cpus else ""
    other = f"; the baseline with a batch of {timing.baseline_batch}" if timing.baseline_batch != timing.batch else ""
    how = f"{timing.blocks - timing.disturbed_blocks:,} pairs of blocks in {timing.processes} processes"
    how += f", {timing.disturbed_blocks} more disturbed and not counted" if timing.disturbed_blocks else ""
    reached = "of unknown width" if timing.half_width is None else f"±{timing.half_width * 100:.2g} %"
    stop = "as narrow as asked" if timing.stopped == "precise" else "stopped by the time limit"
    arena = "" if timing.arena_bytes is None else f"; ONNX Runtime's arena held {timing.arena_bytes / 1e6:.1f} MB"
    return [
        runtime_text(Runtime(**stated)) + pinned + other,
        *placement_texts(timing.provider, timing.placement),
        f"Latency: {how}; interval {reached}, {stop}",
        f"First run after loading {timing.first_run_ms:.3g} ms{arena}",
    ]


def placement_texts(provider: str, placement: Mapping[str, Mapping[str, int]]) -> list[str]:
    """What a provider took of the graph, and what is left to others, `OpenVINO runs 20 of 22 operators; the CPU runs 2: Det, Shrink`.

    Beside it, where it computes in a memory of its own, what is timed. Nothing for the CPU's own.
    """
    counts = {name: sum(operators.values()) for name, operators in placement.items()}
    total, own = sum(counts.values()), counts.get(provider, 0)
    found = []
    if total:
        found.append(
            f"{provider} runs {own} of {total} operators" if own < total else f"{provider} runs all {total} operators"
        )
        for name in sorted(set(counts) - {provider}):
            found[0] += (
                f"; {'the CPU' if name == 'CPU' else name} runs {counts[name]}: {', '.join(sorted(placement[name]))}"
            )
    if provider_of(provider).memory:
        found.append(
            "Timed with input and output in the device's memory, until it is done; copies to and from the host are not in it"
        )
    return found


def stage_rows(trial: Trial) -> list[dict[str, str]]:
    """What each stage of a recipe bought or cost: label, and accuracy, size and latency with their change; the first is the baseline."""
    rows = []
    quality = trial.score.key if trial.score else "accuracy"
    for before, stage in zip((None, *trial.stages), trial.stages, strict=False):
        steps = trial.recipe.steps[before.steps if before else 0 : stage.steps]
        points, kilobytes, milliseconds = "", "", ""
        if before:
            sure = stage.p_vs_before is None or stage.p_vs_before < 0.05
            if stage.score is not None and before.score is not None:
                points = f"{signed(quality, stage.score - before.score)}"
            elif stage.accuracy is not None and before.accuracy is not None:
                points = f"{(stage.accuracy - before.accuracy) * 100:+.2f} points{'' if sure else ', not told apart'}"
            kilobytes = f"{(stage.size_bytes - before.size_bytes) / 1e3:+,.1f} kB"
            if stage.latency_ms is not None and before.latency_ms is not None:
                # To the digits of the time itself: a change of a tenth of a microsecond is not none.
                digits = max(3, len(text_of("latency_ms", stage.latency_ms, unit=False).partition(".")[2]))
                milliseconds = f"{stage.latency_ms - before.latency_ms:+.{digits}f} ms"
        rows.append(
            {
                "After": Recipe(steps=steps).label,
                METRICS[quality].name: _with_change(
                    text_of(quality, stage.accuracy if stage.score is None else stage.score), points
                ),
                "File size": _with_change(text_of("size_bytes", stage.size_bytes), kilobytes),
                "Latency": _with_change(text_of("latency_ms", stage.latency_ms), milliseconds),
            }
        )
    return rows


def signed(key: str, difference: float, unit: bool = True) -> str:
    """A difference of a metric's values, `+0.12 K`, `-0.41 points`."""
    metric = METRICS[key]
    if metric.unit == "%":
        return f"{shown(key, difference):+.2f}" + (" points" if unit else "")
    text = text_of(key, abs(difference), unit)
    return ("-" if difference < 0 else "+") + text


def with_minus(text: str) -> str:
    """A text whose negative numbers have a minus sign, `−0.41`; dashes of units, names and ranges stay."""
    return _MINUS.sub("\u2212", text)


def is_nothing(change: str) -> bool:
    """Whether a change's number, `+0.00 points`, comes to nothing in the digits that are shown."""
    return not re.search("[1-9]", change.partition(" ")[0])


def without_idle_sign(change: str) -> str:
    """A change as it is; of one that comes to nothing, without its sign."""
    return change.lstrip("+-") if is_nothing(change) else change


def _with_change(text: str, change: str) -> str:
    return f"{text} ({without_idle_sign(change)})" if change else text


def duration(seconds: float | None) -> str:
    """`42 s`, `3 min 05 s`, `1 h 12 min`; an en dash for None."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def share_text(share: float) -> str:
    """A share of draws as people read it: `64 %`, `over 99 %`, `under 1 %`."""
    return "over 99 %" if share > 0.99 else "under 1 %" if share < 0.01 else f"{share:.0%}".replace("%", " %")


def baseline_text(trial: Trial) -> str:
    """How what a trial is judged by compares with the baseline's on the same samples; empty for the baseline itself."""
    a = trial.judged
    if a is None or a.p_vs_baseline is None:
        return ""
    odds = "p < 0.001" if a.p_vs_baseline < 0.001 else f"p = {a.p_vs_baseline:.3f}"
    verdict = "tied with" if a.tied_with_baseline else "different from"
    if isinstance(a, Score):
        text = f"{verdict} the baseline ({odds}, paired)"
        if d := a.vs_baseline:
            low, high = (signed(a.key, v, unit=False) for v in (d.low, d.high))
            text += f", {signed(a.key, d.value)} ({low} to {high})"
        return text
    text = f"{verdict} the baseline ({odds}, McNemar)"
    if d := a.vs_baseline:
        text += f", {100 * d.value:+.2f} points ({100 * d.low:+.2f} to {100 * d.high:+.2f})"
    return text


def sums_text(trial: Trial) -> str:
    """Where an accuracy, or the spec's own metric, holds that was counted on a CPU whose int8 sums saturate, and what it is elsewhere;
    empty for all others.
    """
    counted = (("accuracy", trial.accuracy), (trial.score.key if trial.score else "", trial.score))
    other = [(key, found.exact_sums) for key, found in counted if found is not None and found.exact_sums is not None]
    if not other:
        return ""
    names = " and ".join(METRICS[key].name if key != "accuracy" else key for key, _ in other)
    return (
        f"{names} {'were' if len(other) > 1 else 'was'} counted on a CPU whose int8 sums saturate; with exact sums (CPUs with VNNI or AMX, "
        f"Arm) the same file has {' and '.join(text_of(key, value) for key, value in other)} on the same samples"
    )


def seeds_text(seeds: Seeds) -> str:
    """`91.20 ± 0.14 % over 3 seeds (91.04 to 91.30)`."""
    mean, low, high = (text_of(seeds.key, v, unit=False) for v in (seeds.mean, seeds.low, seeds.high))
    return f"{mean} ± {text_of(seeds.key, seeds.deviation)} over {len(seeds.runs)} seeds ({low} to {high})"


def confirmation_text(trial: Trial) -> str:
    """What held-back samples said of a trial; empty where they were not asked."""
    c = trial.confirmation
    if c is None:
        return ""
    a = c.judged
    key = a.key if isinstance(a, Score) else "accuracy"
    low, high = (text_of(key, v, unit=False) for v in (a.low, a.high))
    text = f"{text_of(key, a.value)} ({low} to {high}) on {a.n:,} held-back samples"
    if d := a.vs_baseline:
        verdict = "tied with" if a.tied_with_baseline else "different from"
        least, most = (signed(key, v, unit=False) for v in (d.low, d.high))
        text += f", {signed(key, d.value)} ({least} to {most}) against the baseline’s {text_of(key, c.baseline)}: {verdict} it"
    return text + ("" if c.order == 1 else f"; number {c.order} of this sweep to be confirmed on them")


def best_text(best: float | None, optimism: float | None, candidates: int) -> str:
    """How sure the best choice is, and what picking it flatters: one sentence, empty where neither is known."""
    parts = []
    if best is not None:
        parts.append(f"the same choice in {share_text(best)} of redraws of the measurements")
    if optimism is not None and candidates > 1:
        parts.append(
            f"picked from {candidates} by the samples it is scored on, its accuracy is expected to be {100 * optimism:.2f} points too high"
        )
    text = "; ".join(parts)
    return text[:1].upper() + text[1:]
