"""A bundle's card: one page of Markdown that says what the model is, how it was made and what was measured, with its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from engine.datasets.dataset import Dataset
from engine.graph.inputs import is_array
from engine.metrics import METRICS, text_of
from engine.spec.canonical import canonical_json
from engine.spec.labels import source_name
from engine.spec.sentences import recipe_texts
from engine.spec.steps import Distill
from engine.spec.sweep import Sweep
from engine.trials.evidence import Interval, Score
from engine.trials.measurements import Energy
from engine.trials.slice_texts import slice_rows, worst_text
from engine.trials.text import baseline_text, confirmation_text, seeds_text, stage_rows, sums_text, timing_texts
from engine.trials.trial import Trial

PROVENANCE = {
    "deployed": "every measured number below is of this very file, run in ONNX Runtime",
    "simulated": "there is no kernel for this number format on the machine that measured it; it was simulated",
    "imported": "somebody else states its numbers; nothing of it was measured here",
}

_USE = """\
```python
import json, numpy, onnxruntime

settings = json.load(open("preprocess.json"))
session = onnxruntime.InferenceSession("model.onnx")
x = inputs.astype("float32"){flip} * settings["scale"]  # inputs: {stored}, of shape (n, {shape})
mean, std = (numpy.float32(settings[key]).reshape(1, -1{ones}) for key in ("mean", "std"))
x = ((x - mean) / std).astype("float32"){last}
outputs = session.run(None, {{settings["input"]["name"]: x}})[0]  # {said}
```"""

_USE_UNTOUCHED = """\
```python
import json, onnxruntime

settings = json.load(open("preprocess.json"))
session = onnxruntime.InferenceSession("model.onnx")
# inputs: {stored}, of shape (n, {shape}), as they are
outputs = session.run(None, {{settings["input"]["name"]: inputs}})[0]  # {said}
```"""

_USE_STREAM = """\
```python
from pathlib import Path
from predict import Stream, open_bundle, read_json  # beside this card

here = Path(".")
settings = read_json(here / "preprocess.json")
stream = Stream(open_bundle(here, read_json(here / "manifest.json")), settings)
outputs = stream(inputs)  # {said}; the next call goes on where this one ended
stream.reset()  # states are zeros again
```

Inputs are as they are stored{listed}. `python predict.py INPUT... --stream` does the same from the command line. Without it, and \
in `outputs` of predict.py, each sample begins with zeros, as in all that was measured. In `model.onnx` states are the inputs and outputs \
{states}."""

_USE_NAMED = """\
```python
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
# {listed}; preprocess.json lists them
outputs = session.run(None, {{{feed}}})[0]  # {said}
```"""


def card(
    trial: Trial,
    sweep: Sweep,
    dataset: Dataset,
    baseline: Trial | None,
    sample: int,
    paretoscope: str,
    states: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The card of a measured trial; `sample` is how many test images the bundle carries, `paretoscope` the version that exports, `states`
    what the file's are fed back by.
    """
    again = "measures accuracy again" if trial.accuracy else "compares answers"
    use = _use(sweep, dataset, states)
    sections = [
        f"# {source_name(sweep.model.source)}: {trial.label}",
        f"{_kind(dataset)}, compressed and measured by Paretoscope. "
        f"Provenance: **{trial.provenance}** ({PROVENANCE[trial.provenance]}).",
        "## Recipe\n\n" + "\n".join(f"{i}. {text}." for i, text in enumerate(_made(trial, sweep), 1)),
        *_bought(trial),
        "## What was measured\n\n" + _numbers(trial, baseline),
        *_slices(trial),
        "## Where\n\n" + _where(trial, sweep, dataset, paretoscope),
        "## How to use it\n\n" + use,
        "`python predict.py INPUT...` says what the model says of pictures or arrays, preprocessing included. `model.onnx` is the file "
        "that was measured, with metadata behind it: recipe, classes, preprocessing. `Dockerfile` makes a container that answers likewise.",
        f"`python verify.py` (numpy and onnxruntime, nothing else) {again} on {sample} test items in the bundle, "
        "and fails when the model was altered or answers otherwise than recorded. `python verify.py --json > results.json` measures "
        "latency there too, which `paretoscope measured SWEEP results.json` sets beside what was estimated.",
        "## Limits\n\n" + _limits(trial, dataset),
    ]
    return "\n\n".join(sections) + "\n"


def _kind(dataset: Dataset) -> str:
    if not dataset.has_classes:
        return f"A network of the task {dataset.task}"
    return f"{'An image classifier' if dataset.is_images else 'A classifier'} with {len(dataset.classes)} classes"


def _use(sweep: Sweep, dataset: Dataset, states: Sequence[Mapping[str, Any]]) -> str:
    """How the file is fed, as code."""
    unit = sweep.metric.shown_unit if sweep.metric and not sweep.model.outputs else ""
    said = (
        "outputs.argmax(1) counts lines of labels.txt"
        if dataset.has_classes
        else f"values{f', in {unit}' if unit else ''}"
    )
    if sweep.model.outputs:
        said = "all that count, in the order of preprocess.json; " + said
    if states:
        stored = dataset.test.inputs
        listed = "" if is_array(stored) else f", a dict of {', '.join(stored.arrays)}"
        pairs = ", ".join(f"`{state['input']}` from `{state['output']}`" for state in states)
        return _USE_STREAM.format(said=said, listed=listed, states=pairs)
    use = _fed_by(dataset, said)
    return use.replace(")[0]  # all that", ")  # all that")


def _fed_by(dataset: Dataset, said: str) -> str:
    stored = dataset.test.inputs
    if not is_array(stored):
        listed = "; ".join(f"{n}: {a.dtype} (n, {', '.join(map(str, a.shape[1:]))})" for n, a in stored.arrays.items())
        return _USE_NAMED.format(listed=listed, feed=", ".join(f'"{name}": …' for name in stored.arrays), said=said)
    shape = ", ".join(map(str, stored.shape[1:]))
    if dataset.preprocessing.untouched:
        return _USE_UNTOUCHED.format(stored=stored.dtype, shape=shape, said=said)
    return _USE.format(
        stored=stored.dtype,
        shape=shape,
        said=said,
        ones=", 1" * (stored.ndim - 2),
        flip="[:, ::-1]" if dataset.preprocessing.flip else "",
        last=f".transpose(0, {', '.join(map(str, range(2, stored.ndim)))}, 1)"
        if dataset.preprocessing.channels_last
        else "",
    )


def _made(trial: Trial, sweep: Sweep) -> list[str]:
    """The recipe's sentences, after where the network came from."""
    if trial.recipe.imported:
        return recipe_texts(trial.recipe)
    weights = f" with the weights of {source_name(sweep.model.weights)}" if sweep.model.weights else ""
    weights += f" called with {canonical_json(sweep.model.options)}" if sweep.model.options else ""
    start = f"Start from {source_name(sweep.model.source)}{weights}"
    return [start, *(recipe_texts(trial.recipe) if trial.recipe.steps else [])]


def _bought(trial: Trial) -> list[str]:
    """Sections that say what each stage of a longer recipe changed, and which bits each layer was given."""
    sections = []
    if len(trial.stages) > 2:
        rows = stage_rows(trial)
        lines = [" | ".join(("", *rows[0], "")).strip(), "|---" * len(rows[0]) + "|"]
        lines += [" | ".join(("", *row.values(), "")).strip() for row in rows]
        sections.append("### What each step bought or cost\n\n" + "\n".join(lines))
    if trial.layer_bits:
        bits = "\n".join(f"| {name} | {bits} |" for name, bits in trial.layer_bits.items())
        sections.append("### Bits chosen for each layer\n\n| Layer | Bits |\n|---|---|\n" + bits)
    return sections


def _numbers(trial: Trial, baseline: Trial | None) -> str:
    rows = [_score(trial)] if trial.score else []
    rows += [("Accuracy", _accuracy(trial, baseline))] if trial.accuracy else [_fidelity(trial)]
    if trial.confirmation:
        judged = trial.confirmation.judged
        name = METRICS[judged.key].name if isinstance(judged, Score) else "Accuracy"
        rows += [(f"{name}, confirmed", confirmation_text(trial))]
    rows += [(f"{METRICS[trial.seeds.key].name} over seeds", seeds_text(trial.seeds))] if trial.seeds else []
    for key in ("size_bytes", "size_zipped_bytes", "params", "nonzero_params", "macs"):
        value = getattr(trial, key)
        if value is not None:
            rows.append((METRICS[key].name, text_of(key, value)))
    if trial.latency_ms:
        p50, p95, p99 = (text_of("latency_ms", v, unit=False) for v in vars(trial.latency_ms).values())
        rows.append(("Latency", f"median {p50} ms, p95 {p95} ms, p99 {p99} ms"))
    if trial.latency_ratio:
        r = trial.latency_ratio
        rows.append(
            (
                "Time per sample against the baseline",
                f"{r.value:.2f}× ({r.low:.2f}× to {r.high:.2f}×), measured in turns",
            )
        )
    if trial.throughput_per_s:
        rows.append(("Throughput", f"{trial.throughput_per_s:,.0f} samples per second"))
    for profile, projection in trial.projections.items():
        latency = projection.latency_ms
        if latency:
            low, high = (text_of("latency_ms", v, unit=False) for v in (latency.low, latency.high))
            rows.append(
                (f"Latency on {profile}, estimated", f"{text_of('latency_ms', latency.value)} ({low} to {high})")
            )
        if projection.energy_mj:
            where = "this host" if profile == "host" else profile
            measured = projection.energy_mj.source == "measured"
            known = "measured" if measured else f"estimated ({projection.energy_mj.source})"
            rows.append((f"Energy on {where}, {known}", _energy(projection.energy_mj)))
        if not projection.fits:
            rows.append((f"On {profile}", projection.reason or "does not fit"))
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {value} |" for name, value in rows)


def _slices(trial: Trial) -> list[str]:
    """The section of every slice, where the data have some."""
    if trial.slices is None:
        return []
    rows = slice_rows(trial.slices)
    lines = [[*rows[0]], ["---"] * len(rows[0]), *([cell.replace("|", "\\|") for cell in r.values()] for r in rows)]
    told = f"\n\n{text}" if (text := worst_text(trial.slices)) else ""
    return ["## By slice\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + told]


def _fidelity(trial: Trial) -> tuple[str, str]:
    """What can be said where nobody told the classes, and of values."""
    f = trial.fidelity
    if f is None or (f.agreement is None and f.relative_error is None):
        return "Fidelity", "not measured"
    a = f.agreement
    if a is None:
        e = f.relative_error or Interval(0.0, 0.0, 0.0)
        text = (
            f"outputs are {e.value:.2%} of their spread (95 % interval {e.low:.2%} to {e.high:.2%}) off the baseline's"
        )
        return "Fidelity", f"{text}; cosine {f.cosine.value:.5f}" if f.cosine else text
    text = f"{a.value:.2%} of answers (95 % interval {a.low:.2%} to {a.high:.2%}) are the baseline's"
    return "Fidelity (no labels)", f"{text}; KL divergence from it {f.kl.value:.3g} nats" if f.kl else text


def _score(trial: Trial) -> tuple[str, str]:
    """What the spec's own metric says."""
    s = trial.score
    assert s is not None
    low, high = (text_of(s.key, end, unit=False) for end in (s.low, s.high))
    against = baseline_text(trial)
    text = f"{text_of(s.key, s.value)} (95 % interval {low} to {high}, n = {s.n:,})"
    return METRICS[s.key].name, f"{text}; {against}" if against else text


def _accuracy(trial: Trial, baseline: Trial | None) -> str:
    a = trial.accuracy
    if a is None:
        return "not measured"
    text = f"{a.value:.2%} (95 % interval {a.low:.2%} to {a.high:.2%}, n = {a.n:,})"
    if baseline and baseline.accuracy and baseline.id != trial.id:
        text += f"; {100 * (a.value - baseline.accuracy.value):+.2f} points against the baseline"
        if a.vs_baseline:
            text += f" ({100 * a.vs_baseline.low:+.2f} to {100 * a.vs_baseline.high:+.2f})"
        text += f", mid-p {a.p_vs_baseline:.3g} (McNemar)" if a.p_vs_baseline is not None else ""
    return text


def _energy(energy: Energy) -> str:
    low, high = (text_of("energy_mj", v, unit=False) for v in (energy.low, energy.high))
    return f"{text_of('energy_mj', energy.value)} ({low} to {high}); {energy.basis}"


def _where(trial: Trial, sweep: Sweep, dataset: Dataset, paretoscope: str) -> str:
    machine, timing = trial.machine, trial.timing
    lines = [
        f"- Dataset: {source_name(dataset.name)}, {trial.judged.n if trial.judged else 0:,} samples of its test split, "
        f"SHA-256 {dataset.checksum[:16]}…",
        f"- Machine: {machine.label}" if machine else "- Machine: latency was not measured",
    ]
    if timing:
        lines += [f"- {line}" for line in timing_texts(timing)]
    if machine:
        lines.append(
            "- Versions: " + ", ".join(f"{name} {version}" for name, version in sorted(machine.versions.items()))
        )
    return "\n".join([*lines, f"- Exported by Paretoscope {paretoscope}; seed {sweep.seed}"])


def _limits(trial: Trial, dataset: Dataset) -> str:
    lines = [
        f"- Accuracy holds for samples like those of {source_name(dataset.name)}; how it does on others was not measured."
    ]
    if trial.latency_ms:
        lines.append(
            "- Latency holds for the machine above; int8 gains and losses differ between processors: measure on yours."
        )
    if any(p.energy_mj and p.energy_mj.source != "measured" for p in trial.projections.values()):
        lines.append("- Energy is an estimate with the range and the basis given; nothing was connected to a meter.")
    if any(isinstance(step, Distill) for step in trial.recipe.steps):
        lines.append("- This is another network than the one it learned from: errors may fall on other classes.")
    if elsewhere := sums_text(trial):
        lines.append(f"- {elsewhere[0].upper()}{elsewhere[1:]}.")
    return "\n".join(lines + [f"- {note}" for note in trial.notes])
