"""Everything that `paretoscope check` says of a spec, and the spec with what it left out."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.check.answers import Network, layouts_of, open_answers, output_layout
from engine.check.candidates import Candidate, candidates
from engine.check.findings import Finding, alone_findings, split_findings
from engine.check.half import half_findings
from engine.check.samples import looked_at, range_of, shown
from engine.check.slices import slice_counts, slice_findings
from engine.check.tried import AS_STATED, Tried, best_of, judged, said, tried_with
from engine.check.values import judge
from engine.datasets.dataset import Dataset
from engine.datasets.load import load_dataset
from engine.datasets.named import is_named
from engine.datasets.preprocessing import stated_preprocessing
from engine.datasets.splits import Split
from engine.errors import ClassesUnknownError, InputError, SpecError, StepError
from engine.graph.inputs import NamedArrays, Signature, is_array
from engine.models.catalog import brings_own_weights, check_model
from engine.models.convertible import check_trained
from engine.models.files import check_fits, given_by, taken_by
from engine.quality.statistics import wilson
from engine.spec.metric import usual_metric
from engine.spec.sections import EMBEDDED, Data, Preprocess
from engine.spec.sweep import Sweep, with_metric

_ALONE = 8


@dataclass(frozen=True)
class Report:
    """`sweep`: the spec with its preprocessing stated, None where that is not known; `baseline`: like a trial's accuracy.

    `baseline` is None without labels. `inputs`: shape, type and range as stored; `samples`: the first few, with label and answer.
    `slices`: array -> value -> items of each split that has the array.
    """

    sweep: Sweep | None
    findings: tuple[Finding, ...]
    baseline: dict[str, Any] | None
    tried: tuple[Tried, ...]
    inputs: dict[str, Any]
    splits: dict[str, int]
    classes: tuple[str, ...]
    samples: tuple[dict[str, Any], ...]
    slices: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; something may look so."""
        return all(f.level != "error" for f in self.findings)

    def to_json(self) -> dict[str, Any]:
        """As `paretoscope check --json` prints it."""
        return {
            "ok": self.ok,
            "findings": [asdict(f) for f in self.findings],
            "baseline": self.baseline,
            "preprocessing": [asdict(t) | {"preprocess": said(t.preprocess)} for t in self.tried],
            "inputs": self.inputs,
            "splits": self.splits,
            "classes": list(self.classes),
            "samples": list(self.samples),
            "slices": self.slices,
            "spec": None if self.sweep is None else self.sweep.model_dump(mode="json"),
        }


def settled(sweep: Sweep) -> tuple[Sweep, Report | None]:
    """A sweep ready to be run, and what was found on the way; None where nothing is checked, since the network is one of ours.

    Raises SpecError, in the line of the first error.
    """
    if not brings_own_weights(sweep.model):
        return _as_told(sweep), None
    report = check(sweep)
    wrong = next((f for f in report.findings if f.level == "error"), None)
    if wrong is not None:
        raise SpecError(f"{wrong.what}; {wrong.remedy}")
    assert report.sweep is not None
    return report.sweep, report


def _as_told(sweep: Sweep) -> Sweep:
    """The sweep of a network of ours: with what its data turn out to be, where that is not the usual."""
    data = sweep.data
    if data.slices:
        load_dataset(data)  # refuses slices that do not fit before anything runs
    if data.source in EMBEDDED or is_named(data.source) or data.task == "classification":
        return sweep
    found = load_dataset(data)
    return sweep if found.has_classes else _with_task(sweep, found)


def check(sweep: Sweep) -> Report:
    """Load model and data of a spec, try a few samples, and say what is wrong. Seconds; nothing is written.

    Where the spec does not say how numbers are prepared for a network that its user trained, the usual ways are tried on up to 200 samples
    that are not of the test split, and the best is taken: most right answers, or without labels those that are sure and differ, a guess.
    """
    try:
        check_model(sweep.model)
        stated, sweep = sweep, _with_classes(sweep)
        data = load_dataset(sweep.data)
    except InputError as error:
        return Report(None, (Finding.of(error),), None, (), {}, {}, (), ())
    about = _about(data)
    findings = [Finding("warning", note, "see that this is as it should be") for note in data.notes]
    findings += [*split_findings(data), *slice_findings(data, sweep.measure)]
    if data.has_classes and sweep.data.classes != stated.data.classes:
        told = f"without labels, the network's {len(data.classes)} outputs are taken for scores of classes"
        findings.append(Finding("warning", told, "write data.task: fidelity if they are values, an embedding say"))
    samples = looked_at(data)
    labels = samples.labels if samples.is_labelled else None
    try:
        # What a user's code prints is not an answer to whoever reads this command's.
        with contextlib.redirect_stdout(sys.stderr):
            layouts = layouts_of(sweep.model, data.train.inputs, sweep.data)
            ways = _ways(sweep, data, layouts)
            first = _prepared(sweep.data, data, ways[0].preprocess)
            if sweep.model.is_onnx:
                check_fits(sweep.model, first)
            check_trained(sweep)
            network, untrained, note = open_answers(sweep.model, first)
            findings += [Finding("warning", note, "see that this is as it should be")] if note else []
            layout = output_layout(sweep.model, first)
            answers = [
                network(_prepared(sweep.data, data, way.preprocess).preprocessing(samples.inputs)) for way in ways
            ]
    except InputError as error:
        return Report(None, (*findings, Finding.of(error)), None, (), **about, samples=())
    # What the spec states is kept; what looks better is told.
    says = sweep.data.preprocess is not None and sweep.data.preprocess.says_numbers
    own, values = brings_own_weights(sweep.model), None
    has_weights = sweep.model.is_onnx or sweep.model.weights is not None
    # A network without weights is trained here, on standardised numbers, which are the last of the usual ways.
    fixed = 0 if says or not own else len(ways) - 1 if untrained else None
    if data.has_classes:
        best = best_of(answers, labels)
        chosen = best if fixed is None else fixed
    else:
        sweep, names = _with_task(sweep, data), [way.name for way in ways]
        try:
            with contextlib.redirect_stdout(sys.stderr):
                values = judge(names, answers, samples, sweep.metric, fixed, _usual(ways, data), has_weights, layout)
        except (InputError, StepError) as error:
            return Report(None, (*findings, Finding.of(error)), None, (), **about, samples=())
        best = chosen = values.chosen
    tried = tuple(
        tried_with(way, scores, labels, i == chosen)
        if values is None
        else Tried(way.name, way.preprocess, None, len(scores), 0.0, 0.0, i == chosen, values.errors[i])
        for i, (way, scores) in enumerate(zip(ways, answers, strict=True))
    )
    with contextlib.redirect_stdout(sys.stderr):
        alone = _alone(network, sweep.data, data, ways[chosen], samples)
    # Answers that depend on what else is in the batch prove nothing of preprocessing or labels.
    mixed = alone_findings(answers[chosen][:_ALONE], alone, data.has_classes)
    lost = np.asarray(np.isnan(answers[chosen].reshape(len(samples), -1)).any(axis=1))
    if lost.any():
        told = f"the network gives no numbers (NaN) for {lost.sum()} of {len(lost)} samples"
        mixed = [
            Finding(
                "error",
                told,
                "see that the weights are those of a trained network, and that inputs are prepared as in training",
            )
        ]
    findings += mixed
    if untrained:
        told = "the network has random weights: it answers no better than chance before a step trains it"
        findings.append(Finding("warning", told, "give `weights`, or begin every recipe with a step that trains"))
    elif own and not mixed and values is not None:
        findings += values.findings
    elif own and not mixed:
        findings += judged(tried, answers, labels, data.classes, chosen, best, has_weights)
    with contextlib.redirect_stdout(sys.stderr):
        findings += half_findings(sweep, _prepared(sweep.data, data, ways[chosen].preprocess))
    preprocess = ways[chosen].preprocess
    if sweep.data.preprocess is not None:
        preprocess = preprocess.model_copy(
            update={n: getattr(sweep.data.preprocess, n) for n in ("resize", "crop", "rate", "window", "log_mel")}
        )
    ready = sweep
    if own:
        ready = sweep.model_copy(update={"data": sweep.data.model_copy(update={"preprocess": preprocess})})
    baseline = values.baseline if values else None
    if labels is not None:
        right = tried[chosen].right or 0
        low, high = wilson(right, len(labels))
        baseline = {"metric": "accuracy", "value": right / len(labels), "low": low, "high": high, "n": len(labels)}
    return Report(ready, tuple(findings), baseline, tried, **about, samples=shown(samples, answers[chosen], data))


def _with_classes(sweep: Sweep) -> Sweep:
    """Data without labels has as many classes as the network has scores, where a file tells these; raises InputError."""
    try:
        load_dataset(sweep.data)
    except ClassesUnknownError:
        if not sweep.model.is_onnx:
            raise
        if sweep.model.outputs:
            return sweep.model_copy(update={"data": sweep.data.model_copy(update={"task": "fidelity"})})
        two = sweep.data.model_copy(update={"classes": 2})
        data = load_dataset(two)
        layout = layouts_of(sweep.model, data.train.inputs, sweep.data)[0]
        turned = replace(data, preprocessing=replace(data.preprocessing, channels_last=layout == "NHWC"))
        given = given_by(sweep.model, turned)
        # One number, or a map of them, are no scores of classes.
        stated: dict[str, Any] = {"classes": given[0]} if len(given) == 1 and given[0] > 1 else {"task": "fidelity"}
        return sweep.model_copy(update={"data": sweep.data.model_copy(update=stated)})
    return sweep


def _about(data: Dataset) -> dict[str, Any]:
    stored = data.train.inputs
    return {
        "inputs": {n: range_of(a) for n, a in stored.arrays.items()}
        if isinstance(stored, NamedArrays)
        else range_of(stored),
        "splits": {name: len(getattr(data, name)) for name in ("train", "calibration", "validation", "test")},
        "classes": data.classes,
        "slices": slice_counts(data),
    }


def _ways(sweep: Sweep, data: Dataset, layouts: tuple[str, ...]) -> tuple[Candidate, ...]:
    """What is tried: first what the spec says, if it says something."""
    inputs = data.train.inputs
    if not is_array(inputs) or data.preprocessing.untouched:
        return (Candidate("as stored", Preprocess(scale=1.0)),)
    usual = candidates(inputs, layouts) if _reads_floats(sweep) else ()
    stated = sweep.data.preprocess
    if stated is not None and stated.says_numbers:
        if "layout" not in stated.model_fields_set:
            stated = stated.model_copy(update={"layout": layouts[0]})
        # Beside targets that are no numbers, and without any, nothing contradicts what is stated: others would be tried for nothing.
        targets = data.test.targets
        told = data.has_classes or (targets is not None and targets.dtype.kind == "f")
        return (Candidate(AS_STATED, stated), *(usual if told else ()))
    if not brings_own_weights(sweep.model):
        return (Candidate("as the network was trained", stated or Preprocess()), *usual)
    return usual or (Candidate("as stored", Preprocess(scale=1.0, layout=layouts[0])),)


def _reads_floats(sweep: Sweep) -> bool:
    """Whether a network may read prepared numbers: not one that takes integers."""
    if not sweep.model.is_onnx:
        return True
    taken = taken_by(sweep.model, sweep.data)
    return not isinstance(taken, Signature) or any(np.dtype(kind).kind == "f" for _, _, kind in taken.tensors)


def _prepared(spec: Data, data: Dataset, preprocess: Preprocess) -> Dataset:
    """The dataset with another preprocessing."""
    other = stated_preprocessing(spec.model_copy(update={"preprocess": preprocess}), data.train.inputs)
    return data if other is None else replace(data, preprocessing=other)


def _with_task(sweep: Sweep, data: Dataset) -> Sweep:
    """With the task and its metric said, which are what results are keyed by."""
    known = sweep.model_copy(update={"data": sweep.data.model_copy(update={"task": data.task})})
    return with_metric(known, sweep.metric or (None if sweep.model.outputs else usual_metric(data.task)))


def _usual(ways: tuple[Candidate, ...], data: Dataset) -> int:
    """Where nothing tells: numbers as they are stored, pixels of bytes from 0 to 1."""
    stored = data.train.inputs
    pixels = is_array(stored) and stored.dtype == np.uint8
    return next((i for i, way in enumerate(ways) if way.name == "0 … 1" and pixels), 0)


def _alone(network: Network, spec: Data, data: Dataset, way: Candidate, samples: Split) -> npt.NDArray[np.float64]:
    prepared = _prepared(spec, data, way.preprocess).preprocessing(samples.inputs[:_ALONE])
    return np.concatenate([network(prepared[i : i + 1]) for i in range(len(prepared))])
