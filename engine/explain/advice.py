"""Why is it not faster? Two profiles in, findings in plain words out; nothing heavy is imported, nothing is run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.measure.profile import Kernel, Profile

_MULTIPLIES = re.compile(r"Conv|Gemm|MatMul")
_INTEGER = re.compile(r"^Q(Linear|Gemm)|Integer")
_ROUNDING = ("QuantizeLinear", "DequantizeLinear")
_MOVING = re.compile(r"^(Reorder|Transpose|Reshape|Concat|Slice|Pad|Cast)")
# Shares of the time from which on a cause is worth naming.
_UNFUSED, _FLOATS, _MOVES, _OFF_WIDTH, _CALL, _LOST = 0.05, 0.1, 0.2, 0.3, 0.35, 0.05
# A layer this many times slower than in the baseline is better left as it was there.
_SLOWER = 1.5
# Saving at least this share of what the MACs promise is all that can be had.
_KEPT_PROMISE = 0.8
# So much less time is no saving.
_NOTHING = 0.03


@dataclass(frozen=True)
class Why:
    """What `explain` found. Times are milliseconds per image, of kernels alone; shares are in [0, 1].

    `macs_saved` and `time_saved` are shares of the baseline's, negative where the trial has more. `by_type`, `by_layer`: name, trial,
    baseline (None where it has none), most of the trial's time first; layers also with their MACs. `unfused`: QuantizeLinear and
    DequantizeLinear that run as nodes of their own, those that round the input and give back the output aside. `float_layers`: layers
    of an integer file that still multiply in floats. `off_width`: {layer: channels} that are no multiple of `vector_width`. `call_ms`:
    of one call of the trial, outside its kernels. `advice`: sentences, the weightiest first.
    """

    trial_ms: float
    baseline_ms: float
    macs_saved: float
    time_saved: float
    by_type: tuple[dict[str, Any], ...]
    by_layer: tuple[dict[str, Any], ...]
    unfused: tuple[Kernel, ...]
    float_layers: tuple[str, ...]
    vector_width: int
    off_width: dict[str, int]
    call_ms: float
    advice: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers."""
        return asdict(self)


def vector_width(flags: Sequence[str]) -> int:
    """How many 32-bit numbers, which floats and sums of integer products are, a vector of the CPU holds."""
    if "avx512f" in flags:
        return 16
    return 8 if "avx2" in flags or "avx" in flags else 4


def unfused(profile: Profile) -> tuple[Kernel, ...]:
    """Rounding that no kernel took in; the first node may round the input, and the last give back floats."""
    last = len(profile.kernels) - 1
    return tuple(
        k
        for i, k in enumerate(profile.kernels)
        if k.op_type in _ROUNDING
        and not (i == 0 and k.op_type == "QuantizeLinear")
        and not (i == last and k.op_type == "DequantizeLinear")
    )


def float_layers(profile: Profile) -> tuple[str, ...]:
    """Layers of a file with integer kernels that multiply in floats."""
    kernels = [k for k in profile.kernels if _MULTIPLIES.search(k.op_type)]
    if not any(_INTEGER.search(k.op_type) for k in kernels):
        return ()
    return tuple(k.layer or k.name for k in kernels if not _INTEGER.search(k.op_type))


def explain(trial: Profile, baseline: Profile, flags: Sequence[str] = ()) -> Why:
    """Set a trial's profile against the baseline's; `flags` are the CPU's instruction sets."""
    width = vector_width(flags)
    own, before = trial.kernel_ms / trial.images, baseline.kernel_ms / baseline.images
    off = {name: n for name, n in trial.channels.items() if n % width}
    found = Why(
        trial_ms=own,
        baseline_ms=before,
        macs_saved=1 - trial.macs / baseline.macs if baseline.macs else 0.0,
        time_saved=1 - own / before if before else 0.0,
        by_type=_beside(trial.by_type(), baseline.by_type()),
        by_layer=tuple(
            row
            | {"trial_macs": trial.layer_macs.get(row["name"]), "baseline_macs": baseline.layer_macs.get(row["name"])}
            for row in _beside(trial.by_layer(), baseline.by_layer())
        ),
        unfused=unfused(trial),
        float_layers=float_layers(trial),
        vector_width=width,
        off_width=off,
        call_ms=max(0.0, trial.call_ms - trial.kernel_ms),
        advice=(),
    )
    return Why(**{**vars(found), "advice": tuple(_advice(found, trial, baseline))})


def _beside(own: Mapping[str, float], before: Mapping[str, float]) -> tuple[dict[str, Any], ...]:
    names = dict.fromkeys([*own, *before])
    return tuple({"name": n, "trial_ms": own.get(n), "baseline_ms": before.get(n)} for n in names)


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _advice(why: Why, trial: Profile, baseline: Profile) -> list[str]:
    """Sentences, those first that concern most of the time."""
    total = trial.kernel_ms or 1.0
    weighed: list[tuple[float, str]] = []
    lost = sum(k.ms for k in why.unfused) / total
    if why.unfused and lost >= _UNFUSED:
        weighed.append(
            (
                lost,
                f"{len(why.unfused)} Quantize- and DequantizeLinear nodes did not fuse into integer kernels and take {_percent(lost)} of "
                f"the time ({', '.join(k.name for k in why.unfused[:3])}); try activation_bits: 8, or another format or per_channel: "
                "false, which other kernels take",
            )
        )
    floats = sum(k.ms for k in trial.kernels if (k.layer or k.name) in why.float_layers) / total
    if why.float_layers and floats >= _FLOATS:
        weighed.append(
            (
                floats,
                f"{len(why.float_layers)} layers still multiply in floats and take {_percent(floats)} of the time "
                f"({', '.join(why.float_layers[:3])}); give them 8 bits, without max_latency or 32 bits in layers",
            )
        )
    moves = sum(k.ms for k in trial.kernels if _MOVING.search(k.op_type)) / total
    if moves >= _MOVES:
        weighed.append(
            (
                moves,
                f"{_percent(moves)} of the time goes into moving data (Transpose, Reorder and the like), not into multiplying; try "
                "runtime with another graph_optimisation, or a network with fewer branches",
            )
        )
    weighed += _slower(why, trial, total) + _off_width(why, trial, total)
    outside = why.call_ms / trial.call_ms if trial.call_ms else 0.0
    if outside >= _CALL:
        weighed.append(
            (
                outside,
                f"{_percent(outside)} of a call is spent outside the kernels: the network is so small that calling it costs more; try a "
                "larger batch (runtime: {batch: 8}), where several samples wait",
            )
        )
    return [_verdict(why, trial, baseline), *(text for _, text in sorted(weighed, key=lambda w: -w[0]))]


def _slower(why: Why, trial: Profile, total: float) -> list[tuple[float, str]]:
    """Integer layers that take longer than the same layers do in the baseline."""
    integer = {k.layer for k in trial.kernels if _INTEGER.search(k.op_type)}
    worse = {
        row["name"]: (row["trial_ms"], row["baseline_ms"])
        for row in why.by_layer
        # Of some files the runtime does not say which layer a kernel is: all of them are no layer to be told of.
        if row["name"]
        and row["name"] in integer
        and row["baseline_ms"]
        and (row["trial_ms"] or 0.0) > _SLOWER * row["baseline_ms"]
    }
    lost = sum(own - before for own, before in worse.values()) * trial.images / total
    if lost < _LOST:
        return []
    shown = ", ".join(f"{name}: {own:.3g} ms, {before:.3g} before" for name, (own, before) in list(worse.items())[:3])
    text = (
        f"{len(worse)} layers take longer in integers than they did before and lose {_percent(lost)} of the time ({shown}); leave them in "
        "floats, with layers: {NAME: 32} or max_latency"
    )
    return [(lost, text)]


def _off_width(why: Why, trial: Profile, total: float) -> list[tuple[float, str]]:
    times = trial.by_layer()
    share = sum(times.get(name, 0.0) for name in why.off_width) * trial.images / total
    if not why.off_width or share < _OFF_WIDTH:
        return []
    shown = ", ".join(f"{name} has {n}" for name, n in list(why.off_width.items())[:3])
    text = (
        f"layers whose channels are no multiple of {why.vector_width}, what a vector of this CPU holds, take {_percent(share)} of the time "
        f"({shown}): the last vector is computed whole for a part of it; try prune with round_to: {why.vector_width}"
    )
    return [(share, text)]


def _verdict(why: Why, trial: Profile, baseline: Profile) -> str:
    """What was saved of which promise."""
    integer = any(_INTEGER.search(k.op_type) for k in trial.kernels)
    times = f"{why.trial_ms:.3g} ms in kernels per sample against {why.baseline_ms:.3g} ms"
    if why.macs_saved <= _NOTHING and not integer:
        if why.time_saved <= _NOTHING:
            return (
                f"it does the same multiplications as the baseline, in floats too ({times}): what it saves is bytes; time is saved by "
                "integer kernels (quantize with activation_bits: 8) or fewer operations (prune with method: channel)"
            )
        return f"it does the same multiplications as the baseline in {_percent(why.time_saved)} less time ({times})"
    promise = (
        f"{_percent(why.macs_saved)} of the MACs" if why.macs_saved > _NOTHING else "no MACs, but has integer kernels"
    )
    if why.time_saved <= _NOTHING:
        return f"it saves {promise} and no time ({times})"
    if why.macs_saved > _NOTHING and why.time_saved < _KEPT_PROMISE * why.macs_saved:
        return f"it saves {promise} but only {_percent(why.time_saved)} of the time ({times})"
    return f"it saves {promise} and {_percent(why.time_saved)} of the time ({times})"
