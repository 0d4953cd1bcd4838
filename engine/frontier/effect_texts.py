"""What options do, in words and as records: `int8: −0.10 points [−0.20, 0.00], −73 % bytes, ×0.69 time`. Plain text without markup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.frontier.contrasts import WITHOUT
from engine.frontier.effects import Effect, Effects, Together
from engine.frontier.estimates import RATIOS, Estimate
from engine.metrics import METRICS, in_a_sentence
from engine.trials.text import signed, with_minus

_BYTES = frozenset({"size_bytes", "size_zipped_bytes", "params", "nonzero_params", "macs"})
_SHORT = {
    "size_bytes": "bytes", "size_zipped_bytes": "zipped bytes", "params": "parameters", "nonzero_params": "non-zero parameters",
    "macs": "MACs", "latency_ms": "time", "latency_ratio": "time", "energy_mj": "energy",
}  # fmt: skip
REGRESSION = "by regression over all recipes: there are no two that differ in this alone"


def change_text(key: str, estimate: Estimate | None, interval: bool = True) -> str:
    """One change with its interval, without the metric's name: `−0.10 points [−0.20, 0.00]`, `−73 % [−75, −71]`, `×0.69 [0.66, 0.72]`."""
    return with_minus(_change_text(key, estimate, interval))


def _change_text(key: str, estimate: Estimate | None, interval: bool) -> str:
    if estimate is None:
        return "–"
    ends = [v for v in (estimate.low, estimate.high) if v is not None]
    if key in _BYTES:
        text, told = f"{_percent(estimate.value)} %", [_percent(v) for v in ends]
    elif key in RATIOS:
        text, told = f"×{_ratio(estimate.value)}", [_ratio(v) for v in ends]
    else:
        text, told = _signed(key, estimate.value), [_signed(key, v, unit=False) for v in ends]
    # Two ends that read like the value say nothing more.
    known = interval and told and set(told) != {text.removesuffix(" %").removeprefix("×")}
    return f"{text} [{', '.join(told)}]" if known else text


def _signed(key: str, value: float, unit: bool = True) -> str:
    points = METRICS[key].unit == "points"
    text = f"{100 * value:+.2f}{' points' * unit}" if points else signed(key, value, unit)
    # Nothing has no sign.
    return text[1:] if not text[1:].partition(" ")[0].strip("0.") else text


def _percent(ratio: float) -> str:
    change = 100 * (ratio - 1)
    text = f"{change:+.0f}" if abs(change) >= 10 else f"{change:+.1f}"
    return text if text.strip("+-0.") else "0"


def _ratio(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.1f}"


def short_name(key: str) -> str:
    """A metric's name behind its change."""
    return _SHORT.get(key) or in_a_sentence(key).removeprefix("fidelity: ")


def name_text(effect: Effect) -> str:
    """`int8`, or `prune ratio 0.5 instead of 0.25`."""
    return effect.name if effect.instead == WITHOUT else f"{effect.name} instead of {effect.instead}"


def basis_text(effect: Effect) -> str:
    """From how many pairs of recipes it is known, or that it is by regression."""
    if effect.basis == "regression":
        return REGRESSION
    return f"{effect.pairs:,} pair{'s' if effect.pairs > 1 else ''} of recipes that differ in this alone"


def effect_text(effect: Effect, keys: Sequence[str]) -> str:
    """An option in one line, for these metrics as far as they are known."""
    parts = []
    for place, key in enumerate(k for k in keys if k in effect.estimates):
        # What the sweep is judged by needs no name when it comes first and has a unit of its own.
        name = "" if place == 0 and METRICS[key].unit == "%" else f" {short_name(key)}"
        parts.append(f"{change_text(key, effect.estimates[key], interval=place == 0)}{name}")
    return f"{name_text(effect)}: {', '.join(parts)}"


def together_text(found: Effects, one: Together, key: str) -> str:
    """Two options together, beyond the two one by one."""
    first, second = (name_text(found.by_key[k]) for k in (one.first, one.second))
    beyond = "times the product of the two" if key in RATIOS else "beyond the sum of the two"
    return f"{first} with {second}: {change_text(key, one.estimates.get(key))} {beyond}"


def strongest_together(found: Effects, key: str, most: int = 5) -> list[Together]:
    """The pair effects of a metric that are more than chance, the greatest against their uncertainty first.

    Every pair has its own interval: where many are looked at, one in twenty is more than chance by chance.
    """

    def strength(one: Together) -> float:
        e = one.estimates[key]
        none = 1.0 if key in RATIOS else 0.0
        return abs(e.value - none) / ((e.high - e.low) or 1e-12) if e.low is not None and e.high is not None else 0.0

    told = [t for t in found.together if key in t.estimates and t.pairs > 1 and t.estimates[key].told_apart(key)]
    return sorted(told, key=lambda t: -strength(t))[:most]


def effects_json(found: Effects) -> dict[str, Any]:
    """What `effects --json` prints."""
    return {
        "device": found.device,
        "metrics": [{"key": k, "name": METRICS[k].name, "change": "ratio" if k in RATIOS else "difference"} for k in found.metrics],
        "factorial": found.factorial,
        "effects": [
            {
                "key": e.key, "option": e.name, "instead_of": e.instead, "group": e.group, "basis": e.basis, "pairs": e.pairs,
                "recipes": list(e.trials), "changes": _changes(e.estimates),
                "text": effect_text(e, found.metrics[:4]),
            }
            for e in found.effects
        ],
        "together": [
            {"first": t.first, "second": t.second, "fours": t.pairs, "changes": _changes(t.estimates)} for t in found.together
        ],
    }  # fmt: skip


def _changes(estimates: Any) -> dict[str, Any]:
    return {
        key: {"value": e.value, "low": e.low, "high": e.high, "pairs": e.pairs, "told_apart": e.told_apart(key)}
        for key, e in estimates.items()
    }
