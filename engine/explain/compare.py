"""Several trials beside each other: what differs in their numbers, recipes and layers, and which of them the test samples tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from engine.errors import NotFoundError
from engine.frontier.columns import Trials
from engine.metrics import METRICS, text_of
from engine.quality.predictions import Predictions
from engine.quality.scored import Scored, score
from engine.quality.statistics import Bools, discordant, mcnemar_midp
from engine.quality.values import Values
from engine.spec.labels import step_label
from engine.spec.recipe import Recipe
from engine.spec.sentences import step_text
from engine.store.artifacts import Artifacts
from engine.trials.evidence import TIED_P
from engine.trials.metric_values import metric_value
from engine.trials.text import is_estimated, metric_range, signed
from engine.trials.trial import Trial

NOTHING = "–"


@dataclass(frozen=True)
class Row:
    """One line of a comparison: a text for each trial, in their order, an en dash where there is none."""

    name: str
    values: tuple[str, ...]
    optional: bool = False

    @property
    def differs(self) -> bool:
        """Whether the trials do not all say the same; of an `optional` row, those that say anything."""
        return len(set(self.values) - ({NOTHING} if self.optional else set())) > 1


@dataclass(frozen=True)
class Pair:
    """Two trials on the same test samples.

    `difference`: what `first` is judged by minus that of `second`, as text. `only_first`, `only_second`: images that only the one
    has right; `n`: all images; None where answers are not stored. `p`: McNemar's mid-p that both are equally good; `p_holm`: the same,
    corrected for as many comparisons as were made (Holm 1979, Scandinavian Journal of Statistics 6:65). None where it cannot be told.
    """

    first: str
    second: str
    difference: str | None
    only_first: int | None
    only_second: int | None
    n: int | None
    p: float | None
    p_holm: float | None

    @property
    def told_apart(self) -> bool | None:
        """Whether the corrected test tells them apart at 5 %; None where it cannot be told."""
        return None if self.p_holm is None else self.p_holm < TIED_P


def metric_rows(trials: Sequence[Trial], device: str = "host") -> list[Row]:
    """Every number of the trials with its range, and what else a record says; rows that no trial has a value for are left out."""
    rows = [
        Row(_title(trials, key, device), tuple(_with_range(t, key, device) for t in trials))
        for key in Trials.of(trials).metrics
    ]
    rows += [
        Row(
            "Slowest 5 % above",
            tuple(text_of("latency_ms", t.latency_ms.p95 if t.latency_ms else None) for t in trials),
        ),
        Row(
            "Samples per second",
            tuple(NOTHING if t.throughput_per_s is None else f"{t.throughput_per_s:,.0f}" for t in trials),
        ),
        Row(
            "Peak memory",
            tuple(NOTHING if t.peak_memory_bytes is None else f"{t.peak_memory_bytes / 1e6:,.1f} MB" for t in trials),
        ),
        Row("Time to load", tuple(NOTHING if t.load_ms is None else f"{t.load_ms:,.1f} ms" for t in trials)),
        Row("Truth", tuple(t.provenance for t in trials)),
        Row("Measured on", tuple(t.machine.label if t.machine else NOTHING for t in trials)),
    ]
    return [row for row in rows if set(row.values) != {NOTHING}]


def _title(trials: Sequence[Trial], key: str, device: str) -> str:
    return METRICS[key].name + (", estimated" if any(is_estimated(t, key, device) for t in trials) else "")


def _with_range(trial: Trial, key: str, device: str) -> str:
    text = text_of(key, metric_value(trial, key, device))
    ends = metric_range(trial, key, device)
    return f"{text} ({text_of(key, ends[0], unit=False)} to {text_of(key, ends[1], unit=False)})" if ends else text


def recipe_rows(trials: Sequence[Trial]) -> list[Row]:
    """Every step, and every option of it, `prune: ratio`; of two steps of a kind the second is `prune 2`.

    Options are compared among the recipes that have the step: that the others have none is said by the step's own row.
    """
    options = [_options(t.recipe) for t in trials]
    names = list(dict.fromkeys(name for found in options for name in found))
    steps = [name for name in names if ":" not in name]
    names.sort(key=lambda name: steps.index(name.partition(":")[0]))
    return [Row(name, tuple(found.get(name, NOTHING) for found in options), ":" in name) for name in names]


def _options(recipe: Recipe) -> dict[str, str]:
    found: dict[str, str] = {}
    seen: dict[str, int] = {}
    for step, options in zip(recipe.steps, recipe.to_json(), strict=True):
        kind = options.pop("step")
        seen[kind] = seen.get(kind, 0) + 1
        where = kind if seen[kind] == 1 else f"{kind} {seen[kind]}"
        found[where] = step_label(step)
        found |= {f"{where}: {k.replace('_', ' ')}": _option(v) for k, v in options.items() if v is not None}
    return found


def _option(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def recipe_chains(trials: Sequence[Trial]) -> list[list[tuple[str, bool]]]:
    """For each trial its steps as sentences, each with whether it is special: some other trial has no step that says the same."""
    said = [[step_text(s) for s in t.recipe.steps] for t in trials]
    shared = set(said[0]).intersection(*said[1:]) if said else set()
    return [[(text, text not in shared) for text in chain] for chain in said]


def pairs(
    trials: Sequence[Trial], right: Mapping[str, Bools | None], scored: Mapping[str, Scored | None] = {}
) -> list[Pair]:
    """Every pair of the trials, tested on the same samples; `right` by trial id: which images it has right, `scored`: what the sweep's own
    metric says of the samples.

    Without stored answers a pair with the baseline still has the test that its record holds.
    """
    found = [
        _scored_pair(a, b, scored.get(a.id), scored.get(b.id)) or _pair(a, b, right.get(a.id), right.get(b.id))
        for a, b in combinations(trials, 2)
    ]
    corrected = iter(holm([p.p for p in found if p.p is not None]))
    return [p if p.p is None else Pair(**{**vars(p), "p_holm": next(corrected)}) for p in found]


def stored_pairs(trials: Sequence[Trial], artifacts: Artifacts) -> list[Pair]:
    """Every pair of the trials, by what is stored of their answers to the test samples."""
    found = {t.id: _answers(t, artifacts) for t in trials}
    if any(t.score for t in trials):
        return pairs(trials, {}, {i: None if a is None else a.scored for i, a in found.items()})
    return pairs(trials, {i: a.right if isinstance(a, Predictions) else None for i, a in found.items()})


def _answers(trial: Trial, artifacts: Artifacts) -> Predictions | Values | None:
    """What a trial answered; None where that was not kept."""
    if trial.predictions is None:
        return None
    kind = Values if trial.fidelity is not None and trial.fidelity.agreement is None else Predictions
    try:
        return kind.load(artifacts.local(trial.predictions))
    except NotFoundError:
        return None


def _scored_pair(a: Trial, b: Trial, one: Scored | None, other: Scored | None) -> Pair | None:
    """By what the sweep's own metric says; None where it has none, or no numbers are stored."""
    if a.score is None or one is None or other is None:
        return None
    found = score(a.score.key, one, a.score.n, other)
    apart = None if found.vs_baseline is None else signed(a.score.key, found.vs_baseline.value)
    return Pair(a.id, b.id, apart, None, None, None, found.p_vs_baseline, None)


def _pair(a: Trial, b: Trial, right_a: Bools | None, right_b: Bools | None) -> Pair:
    points = None
    if a.score and b.score:
        points = signed(a.score.key, a.score.value - b.score.value)
    elif a.accuracy and b.accuracy:
        points = f"{(a.accuracy.value - b.accuracy.value) * 100:+.2f} points"
    if right_a is not None and right_b is not None and len(right_a) == len(right_b):
        only_a, only_b = discordant(right_a, right_b)
        return Pair(a.id, b.id, points, only_a, only_b, len(right_a), mcnemar_midp(right_a, right_b), None)
    other = b if not a.recipe.steps else a if not b.recipe.steps else None
    p = other.judged.p_vs_baseline if other and other.judged else None
    return Pair(a.id, b.id, points, None, None, None, p, None)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction, in the order given: the least p times n, the next times n - 1, …, never less than one before it."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, p_values[i] * (len(p_values) - rank)))
        corrected[i] = highest
    return corrected


@dataclass(frozen=True)
class Layer:
    """What a file says of one layer; see `onnx_graph.LayerFacts`."""

    name: str
    op_type: str
    params: int
    nonzero_params: int
    macs: int
    weight_bits: int
    activation_bits: int


QUANTITIES = {
    "weight_bits": "Bits per weight",
    "activation_bits": "Bits per activation",
    "params": "Parameters",
    "nonzero_params": "Non-zero parameters",
    "macs": "MACs",
}
"""What of a layer can be compared, and its name."""


def read_layers(name: str, artifacts: Artifacts) -> tuple[Layer, ...]:
    """The layers of an artifact's ONNX file, in the order in which they run; raises NotFoundError, or ModelError for a damaged file."""
    return layers_of_file(artifacts.local(name))


def layers_of_file(path: Path) -> tuple[Layer, ...]:
    """The same of a file; raises ModelError."""
    # onnx and onnxruntime take a while to load, and only this needs them.
    from engine.graph.counts import graph_facts
    from engine.graph.graph import load_onnx

    layers = graph_facts(load_onnx(path, several=True)).layers
    return tuple(Layer(**{field: getattr(layer, field) for field in Layer.__dataclass_fields__}) for layer in layers)


def layer_groups(layers: Mapping[str, Sequence[Layer]], quantity: str) -> list[tuple[tuple[str, ...], list[Row]]]:
    """Layers side by side: (trial ids, rows) for each set of trials that are the same network; names of different networks mean nothing.

    `layers` is by trial id; `quantity` is a key of `QUANTITIES`.
    """
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for trial_id, found in layers.items():
        groups.setdefault(tuple((layer.name, layer.op_type) for layer in found), []).append(trial_id)
    return [
        (
            tuple(ids),
            [
                Row(f"{name.strip('/')} ({op})", tuple(f"{getattr(layers[i][row], quantity):,}" for i in ids))
                for row, (name, op) in enumerate(names)
            ],
        )
        for names, ids in groups.items()
    ]
