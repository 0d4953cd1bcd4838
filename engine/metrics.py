"""The numbers of a trial: how each is named, shown and compared.

Plain text without markup, so that the browser, the command line and a bundle's card say the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

Better = Literal["max", "min"]

SCALE = {"%": 100.0, "points": 100.0, "kB": 1e-3, "M": 1e-6}
"""From base units (share, bytes, operations) to the unit that `METRICS` shows."""


@dataclass(frozen=True)
class Metric:
    """How a number of a trial is named, shown and compared."""

    key: str
    name: str
    unit: str
    maximise: bool
    help: str


Part = Literal["score", "score_change", "slice_worst", "slice_drop"]
_PARTS: dict[str, tuple[str, str]] = {
    "score": ("{}", "What the sweep's spec counts on the test samples, with its 95 % interval."),
    "score_change": (
        "{} vs baseline",
        "The number minus the baseline's on the same samples; its 95 % interval is narrower than that of either.",
    ),
    "slice_worst": (
        "{} of the worst slice",
        "The number of the slice of the test samples in which it is worst; its 95 % interval allows for the choice of the worst of many.",
    ),
    "slice_drop": (
        "{}: worst slice drop",
        "By how much the slice got worse that got worse most against the baseline, whichever way is better. The worst of many flatters "
        "nobody: by chance alone it is above zero.",
    ),
}
_SLICED = {"accuracy": "Accuracy:max:%", "agreement": "Agreement:max:%", "relative_error": "Relative error:min:%"}
"""What slices are told by where a sweep has no metric of its own, as in the keys of one that has."""
SHORT_PARTS: dict[Part, str] = {"slice_worst": "worst_slice", "slice_drop": "worst_slice_drop"}
"""What one types for the numbers of slices, whatever they are told by."""


def score_key(title: str, better: Better, unit: str) -> str:
    """The key of what one sweep is judged by, `score:MAE:min:K`. It says all that there is to know: other sweeps have other metrics."""
    return f"score:{title}:{better}:{unit}"


def score_part(key: str, part: Part) -> str:
    """The key of another number of the same metric: its change against the baseline, its worst slice. Slices are told by accuracy, or
    fidelity, too.
    """
    return f"{part}:{_SLICED.get(key) or key.partition(':')[2]}"


@lru_cache(maxsize=1000)
def _own_metric(key: str) -> Metric | None:
    """What a key made by `score_key` or `score_part` says; None for any other text."""
    parts = key.split(":")
    if len(parts) != 4 or parts[0] not in _PARTS or parts[2] not in ("max", "min"):
        return None
    part, title, better, unit = parts
    name, text = _PARTS[part]
    shown_in = "points" if part in ("score_change", "slice_drop") and unit == "%" else unit
    return Metric(key, name.format(title), shown_in, better == "max" and part != "slice_drop", text)


def is_score(key: str) -> bool:
    """Whether a key is of what one sweep has of its own: its metric, its slices."""
    return not dict.__contains__(METRICS, key) and _own_metric(key) is not None


def short_name(text: str) -> str:
    """A key of a sweep's own metric, or what people call it, `R²`, `Mean IoU`, as one types it: `r2`, `mean_iou`, `worst_slice`."""
    if is_score(text) and (part := text.partition(":")[0]) in SHORT_PARTS:
        return SHORT_PARTS[part]
    name = METRICS[text].name if is_score(text) else text
    return name.lower().replace("²", "2").replace(" ", "_")


class _Metrics(dict[str, Metric]):
    """The metrics that every sweep may have, and by their keys those that one sweep has of its own, which are not listed."""

    def __missing__(self, key: str) -> Metric:
        found = _own_metric(key)
        if found is None:
            raise KeyError(key)
        return found

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (isinstance(key, str) and _own_metric(key) is not None)

    def get(self, key: str, default: Any = None) -> Any:
        """As of a dictionary, with the keys of a sweep's own."""
        found = super().get(key) or _own_metric(key)
        return default if found is None else found


METRICS: dict[str, Metric] = _Metrics(
    (m.key, m)
    for m in (
        Metric("accuracy", "Accuracy", "%", True, "Share of test samples classified correctly, with its 95 % interval."),
        Metric("size_bytes", "File size", "kB", False, "Bytes of the ONNX file that would be exported."),
        Metric("size_zipped_bytes", "Zipped size", "kB", False, "The file after zip, as an app store would ship it."),
        Metric(
            "latency_ms", "Latency", "ms", False,
            "Median time of one call in ONNX Runtime on the machine named: the ratio to the baseline, which was measured in "
            "turns with it, times the baseline's own median. A call is one sample unless a runtime step says otherwise.",
        ),
        Metric("latency_ratio", "Latency vs baseline", "×", False, "Time per sample relative to the baseline, measured in turns with it."),
        Metric("energy_mj", "Energy", "mJ", False, "Energy per inference; estimated unless it says measured."),
        Metric(
            "kwh_per_million", "Energy per million", "kWh", False, "Energy at the plug for a million inferences, under the scenario."
        ),
        Metric(
            "cost_per_million", "Cost per million", "¤", False, "What a million inferences cost, in the scenario's currency."
        ),
        Metric(
            "co2e_kg_per_million", "CO2e per million", "kg", False, "CO2 equivalent of a million inferences, under the scenario."
        ),
        Metric("params", "Parameters", "", False, "Learned weights in the graph."),
        Metric("nonzero_params", "Non-zero parameters", "", False, "Weights that are not zero."),
        Metric("macs", "MACs", "M", False, "Multiply-accumulate operations per sample."),
        Metric(
            "vs_baseline", "Accuracy vs baseline", "points", True,
            "Accuracy minus the baseline's on the same samples; its 95 % interval is narrower than that of either (Tango's, paired).",
        ),
        Metric("top5", "Top-5 accuracy", "%", True, "Share of test samples whose class is among the five likeliest answers."),
        Metric("lowest_recall", "Recall of the worst class", "%", True, "Share right of the class that is classified worst."),
        Metric(
            "worst_class_drop", "Worst class drop", "points", False,
            "How much recall the class lost that lost most against the baseline. The worst of many flatters nobody: by chance alone "
            "it is above zero.",
        ),
        Metric("flip_rate", "Flips", "%", False, "Share of test samples that get another answer than from the baseline."),
        Metric(
            "harmful_flip_rate", "Harmful flips", "%", False, "Share of test samples that the baseline has right and this one wrong."
        ),
        Metric("nll", "Negative log-likelihood", "nats", False, "Mean of -log p of the true class: punishes sureness that is wrong."),
        Metric(
            "ece", "Calibration error", "%", False,
            "Expected calibration error over 15 bins of equal width: how far confidence and share right are apart.",
        ),
        Metric("agreement", "Fidelity: agreement", "%", True, "Share of test samples with the baseline's answer. Needs no labels."),
        Metric(
            "kl", "Fidelity: KL divergence", "nats", False,
            "Kullback-Leibler divergence of the class probabilities from the baseline's, mean over test samples. Needs no labels.",
        ),
        Metric(
            "relative_error", "Fidelity: relative error", "%", False,
            "How far outputs are from the baseline's: the length of the difference as a share of the length of the baseline's "
            "outputs about their mean, over all test samples. Needs no targets.",
        ),
        Metric(
            "cosine", "Fidelity: cosine", "", True,
            "Cosine of the angle between a sample's outputs and the baseline's, mean over test samples. Needs no targets.",
        ),
        Metric(
            "neighbours", "Fidelity: neighbours kept", "%", True,
            "Of the ten test samples whose outputs are nearest to a sample's, the share that the baseline has too, by cosine; of outputs "
            "of eight numbers or more. Needs no targets.",
        ),
    )
)  # fmt: skip
ON_IMAGES = frozenset(
    {
        "accuracy", "vs_baseline", "top5", "lowest_recall", "worst_class_drop", "flip_rate", "harmful_flip_rate", "nll", "ece",
        "agreement", "kl", "relative_error", "cosine", "neighbours",
    }
)  # fmt: skip
"""Metrics that are counted on test samples."""
SCENARIO_METRICS = {"kwh_per_million": "kwh", "cost_per_million": "cost", "co2e_kg_per_million": "co2e_kg"}
"""Metrics that exist where a scenario is given, and their fields of `PerMillion`."""
DEVICE_METRICS = {"latency_ms", "energy_mj", *SCENARIO_METRICS}
"""Metrics that are those of the device that is looked at."""
COUNTS = frozenset({"params", "nonzero_params"})
"""Metrics that are whole numbers."""
HOST_TIMES = frozenset({"latency_ms", "latency_ratio", "energy_mj"})
"""Metrics that, for the host, hold on the machine that measured them and on no other."""


def shown(key: str, value: float) -> float:
    """A value in base units -> the unit that the metric is shown in."""
    return value * SCALE.get(METRICS[key].unit, 1.0)


def based(key: str, value: float) -> float:
    """The inverse of `shown`."""
    return value / SCALE.get(METRICS[key].unit, 1.0)


MOST_DECIMALS = 7
"""What has its third digit further behind the point is written with a power of ten."""


def number_text(number: float) -> str:
    """A number as it is in up to ten digits, `0.002`, `1,500`; one near nothing with a power of ten, `4.7×10⁻⁷`, `10⁻⁶`."""
    if not 0 < abs(number) < 1e-4:
        return f"{number:z,.10g}"
    mantissa, _, power = f"{number:.1e}".partition("e")
    raised = f"10{str(int(power)).translate(_RAISED)}"
    return raised if mantissa == "1.0" else f"{mantissa}×{raised}"


_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def text_of(key: str, value: float | None, unit: bool = True) -> str:
    """A value in base units as people read it, `91.24 %`, `84.3 kB`; an en dash where it was not measured.

    What comes to nothing in the digits shown is 0.00, never -0.00.
    """
    if value is None or not math.isfinite(value):
        return "–"
    number = shown(key, value)
    if METRICS[key].unit in {"%", "points"}:
        text = f"{number:z.2f}"
    elif METRICS[key].unit == "" and key in COUNTS:
        text = f"{number:z,.0f}"
    else:
        # Three significant digits, but never fewer than the whole number.
        decimals = 2 if number == 0 else max(0, 2 - math.floor(math.log10(abs(number))))
        text = number_text(number) if decimals > MOST_DECIMALS else f"{number:z,.{min(decimals, 6)}f}"
    return f"{text} {METRICS[key].unit}".rstrip() if unit else text


def in_a_sentence(key: str) -> str:
    """A metric's name within a sentence: `file size`, but `MACs`, and a score as it was called; ours is called `accuracy`."""
    name = METRICS[key].name
    as_called = name[1:2].isupper() or (is_score(key) and not name.startswith("Accuracy"))
    return name if as_called else name[0].lower() + name[1:]


def limits_text(limits: Mapping[str, float]) -> str:
    """Limits by metric in base units as people read them, `accuracy ≥ 90.00 %, file size ≤ 500 kB`; empty for none."""
    return ", ".join(
        f"{in_a_sentence(k)} {'≥' if METRICS[k].maximise else '≤'} {text_of(k, v)}" for k, v in limits.items()
    )


def axis_title(key: str, device: str = "host", estimated: bool = False) -> str:
    """`Latency on stm32h7a3-xcubeai, estimated (ms)`."""
    metric = METRICS[key]
    where = f" on {device}" if key in DEVICE_METRICS and device != "host" else ""
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"{metric.name}{where}{', estimated' if estimated else ''}{unit}"
