"""The spec's own metric of a file's outputs: a built-in one, or the user's function, called here and nowhere else."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.datasets.user_function import called, function_code, load_function
from engine.errors import StepError
from engine.graph.outputs import Layout
from engine.quality.scored import DRAWS, Scored, scored_calls, scored_samples, scored_set
from engine.quality.task_scores import of_set, per_sample, same_axes
from engine.spec.metric import MetricChoice

Array = npt.NDArray[Any]
Places = npt.NDArray[np.intp]
# The user's function is called so often, and for about so long, to know how sure a number of the whole set is.
_FEW = 200
_FEWEST_DRAWS, _SECONDS = 100, 20.0


def metric_of(options: Mapping[str, Any]) -> MetricChoice:
    """The metric of a node's options, which hold the hash of its code beside it."""
    return MetricChoice(**{name: value for name, value in options.items() if name != "code"})


def metric_options(choice: MetricChoice) -> dict[str, Any]:
    """The inverse of `metric_of`: what a node's key must hold. Raises DatasetError for a file that is not there."""
    stated = {name: value for name, value in choice.model_dump(mode="json").items() if value is not None}
    code = {source: function_code(source, "metric") for source in choice.files}
    return stated | ({"code": code} if code else {})


def scored(
    choice: MetricChoice,
    outputs: Array,
    targets: Array | None,
    parts: Sequence[Places] = (),
    layout: Layout | None = None,
) -> tuple[Scored, float | None]:
    """What the metric says of all samples' outputs (n, …) and targets (n, …), and milliseconds a sample that `decode` took, if there is
    one. A metric of the whole set is also counted on `parts` of the samples, given by their places. `layout`: of several outputs that lie
    side by side, of which a function gets all, by name, unless the metric says which one.

    Raises StepError, in one line, where the user's function fails or returns no numbers, and where the metric does not fit the arrays.
    """
    name, took = choice.name or choice.title, None
    if targets is None:
        raise StepError(f"metric {name} needs targets, but the test samples have none; leave metric out")
    answers: Any = _judged(choice, outputs, layout)
    if choice.decode is not None:
        decode, start = load_function(choice.decode, "decode"), time.perf_counter()
        answers = called(choice.decode, "decode", decode, answers)
        took = 1e3 * (time.perf_counter() - start) / len(outputs)
        if not hasattr(answers, "__len__") or len(answers) != len(outputs):
            raise StepError(
                f"decode {choice.decode} returned {_shown(answers)} for {len(outputs)} samples; return one answer for each"
            )
    if choice.source is not None:
        if choice.decode is None:
            _check_shapes(choice.source, answers, targets)
        return _by_function(choice.source, answers, targets, name, parts, len(outputs)), took
    samples = per_sample(name, answers, targets)
    if samples is not None:
        return scored_samples(samples, name), took
    wanted = targets

    def of(some: Places) -> Scored:
        return scored_set(of_set(name, _taken(answers, some), wanted[some]), len(some), name)

    return scored_set(of_set(name, answers, targets), len(outputs), name).with_parts(parts, of), took


def _check_shapes(source: str, outputs: Any, targets: Array) -> None:
    """Outputs (n, 1) and targets (n,) become (n, n) in numpy's arithmetic, silently: raises StepError where the function falls for it."""
    if isinstance(outputs, dict) or outputs.shape == targets.shape or not same_axes(outputs.shape, targets.shape):
        return
    function, numbers = load_function(source, "metric"), list[float]()
    few, wanted = outputs[:_FEW], targets[:_FEW]
    for some in (few, few.reshape(wanted.shape)):
        try:
            numbers.append(float(np.asarray(function(some, wanted), np.float64).mean()))
        except Exception:
            return  # it reads one of the two forms alone, and means it
    if len(few) > 1 and np.isfinite(numbers).all() and not math.isclose(*numbers, rel_tol=1e-6, abs_tol=1e-12):
        raise StepError(
            f"metric {source} gives {numbers[0]:.6g} for outputs {few.shape} and targets {wanted.shape}, and {numbers[1]:.6g} for the "
            f"same numbers in one shape: numpy compares every sample with every other; begin with outputs = outputs.reshape(targets.shape)"
        )


def _judged(choice: MetricChoice, outputs: Array, layout: Layout | None) -> Any:
    """What the metric is given: the output that counts, or several by their names."""
    if layout is None:
        return outputs
    named = layout.apart(outputs)
    if choice.output is not None:
        if choice.output not in named:
            raise StepError(
                f"metric.output {choice.output!r} is none of the outputs that count ({', '.join(named)}); name one of them"
            )
        return named[choice.output]
    if choice.source is None:
        raise StepError(
            f"metric {choice.name} judges one output, and several count ({', '.join(layout.names)}); write metric: {{name: {choice.name}, "
            f"output: {layout.names[0]}}}"
        )
    return named


def _taken(answers: Any, places: Places) -> Any:
    if isinstance(answers, dict):
        return {name: array[places] for name, array in answers.items()}
    return [answers[i] for i in places] if isinstance(answers, list) else answers[places]


def _by_function(source: str, outputs: Any, targets: Array, name: str, parts: Sequence[Places], n: int) -> Scored:
    function = load_function(source, "metric")
    start = time.perf_counter()
    found = called(source, "metric", function, outputs, targets)
    took = time.perf_counter() - start
    try:
        numbers = np.asarray(found, np.float64)
    except (TypeError, ValueError):
        raise StepError(
            f"metric {source} returned {_shown(found)}; return one number for each of {n} samples, or one for all"
        ) from None
    if numbers.shape in ((n,), (n, 1)) and (n > 1 or numbers.ndim):
        return scored_samples(numbers.reshape(n), name)
    if numbers.size != 1:
        raise StepError(
            f"metric {source} returned an array of shape {numbers.shape}; return one number for each of {n} samples, or one for all"
        )

    def call(chosen: Places | None) -> float:
        if chosen is None:
            return float(numbers.reshape(()))
        try:
            return float(np.asarray(function(_taken(outputs, chosen), targets[chosen]), np.float64).reshape(()))
        except Exception:
            # Not defined for this draw (of one class alone, say).
            return float("nan")

    def of(some: Places) -> Scored:
        return scored_calls(lambda chosen: call(some if chosen is None else some[chosen]), len(some), draws, name)

    draws = int(np.clip(_SECONDS / max(took, 1e-6), _FEWEST_DRAWS, DRAWS))
    return scored_calls(call, n, draws, name).with_parts(parts, of)


def _shown(value: Any) -> str:
    return f"a {type(value).__name__}" + (f" of {len(value)}" if hasattr(value, "__len__") else "")
