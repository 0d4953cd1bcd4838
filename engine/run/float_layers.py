"""The fewest layers in float with which a quantized network keeps what it is judged by.

Layers are ranked by what rounding each of them alone costs (`sensitivity`, measured once for a network), or by that for each millisecond
that it saves (`cheapest`, by the layers' own kernels in floats and in integers). How many of the first of them the limit needs is searched
for from a guess outward: in steps of 1, 2, 4, … until one number keeps the metric, counted on validation samples in ONNX Runtime on the
file that would be exported, within the limit and a smaller one does not, and what lies between is bisected. The guess comes from the same
search over rough networks, all parts of one that is calibrated once and rounded to the nearest: each of those takes a fraction of a
network that is calibrated, learned and corrected for its own layers in float. So a few such networks are made, where reverting one layer
after the other makes as many as there are layers; and the guess decides how many, not what is found.

Within the limit is a rung whose paired 95 % interval of what was lost ends below it: the rung whose mere number does is the luckiest of
those tried, and loses more on other data. With so few samples that not even the float network's own answers would show it, the number
decides, and the note says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx

from engine.compress.quantization.allocation import Times, by_layer, mixed_bits, most_in_float, ranked, stated_bits
from engine.compress.quantization.equalize import equalize
from engine.compress.quantization.part import in_float
from engine.compress.quantization.scheme import Scheme
from engine.compress.quantization.weights import find_layers, weight_names
from engine.compress.quantization.write import write
from engine.compress.quantize import Quantized, make_scheme, prepare, quantized, smoothed
from engine.datasets.dataset import Dataset
from engine.graph.graph import save_onnx
from engine.graph.inputs import Inputs
from engine.measure.answers import answers
from engine.measure.task_metric import metric_of
from engine.quality.drop import drop
from engine.run.steps_graph import steps_graph
from engine.spec.steps import Quantize
from engine.trials.evidence import Interval

_WORTH_GUESSING = 8
"""With fewer layers than this to choose from, as many networks are made to guess as to find out."""


def climbed(lost: Callable[[int], float], most: int, limit: float, guess: int = 1) -> int:
    """The smallest number up to `most` that `lost` is within the `limit` for, if more in float never lose more; the one that loses least
    of those tried where none is. The nearer the `guess`, the fewer are tried: 0, the guess, and those around it.
    """
    seen: dict[int, float] = {}

    def kept(count: int) -> bool:
        seen[count] = lost(count)
        return seen[count] <= limit

    if kept(0) or most < 1:
        return 0
    below, count, step = 0, min(guess, most), 1
    if kept(count):
        while count - step > below:
            if not kept(count - step):
                below = count - step
                break
            count, step = count - step, 2 * step
    else:
        while True:
            if count >= most:
                return min(seen, key=lambda n: (seen[n], n))
            below, count, step = count, min(most, count + step), 2 * step
            if kept(count):
                break
    while count - below > 1:
        middle = (below + count) // 2
        if kept(middle):
            count = middle
        else:
            below = middle
    return count


def _rough(step: Quantize, prepared: onnx.ModelProto, calibration: Inputs, bits: Mapping[str, int]) -> Scheme:
    """The network as the step rounds it, weights to the nearest and biases as they are."""
    even = equalize(prepared) if step.equalize is True else prepared
    return make_scheme(step, smoothed(step, even, calibration, bits)[0], calibration, bits)


def fewest_in_float(
    step: Quantize,
    source: Path,
    data: Dataset,
    sensitivity: Mapping[str, Mapping[str, float]],
    choice: Mapping[str, Any] | None,
    times: Times | None = None,
) -> tuple[Quantized, dict[str, Any]]:
    """The network with as few layers in float as `step.max_drop` allows, and what the trial shows of it, bits by layer.

    `source`: the float network's file; `choice`: options of the spec's own metric, None without one; `times`: by layer, for a step that
    takes the `cheapest`. Where no number of layers keeps the
    limit, the best that was tried is returned, and its note says how far off it is.
    """
    assert step.max_drop is not None
    graph = steps_graph(source, data, step.calibration_samples)
    model = graph.model
    calibration = graph.data.preprocessing(graph.data.calibrating(step.calibration_samples).inputs)
    prepared = prepare(model)
    layers = find_layers(prepared.graph.node, weight_names(prepared.graph))
    plain = step.model_copy(update={"max_drop": None})
    usual = mixed_bits(plain, prepared)
    order = ranked(sensitivity, usual, stated_bits(step, layers), times)
    key = metric_of(choice).key if choice else None
    split = data.validation
    before, _ = answers(source, split, data, choice)
    least = drop(before, before, split.labels, data.classes, key).high
    can_show = least <= step.max_drop
    rungs: dict[int, tuple[Quantized, Interval]] = {}
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rung.onnx"

        def dropped(made: onnx.ModelProto) -> Interval:
            save_onnx(made, path)
            found, _ = answers(path, split, data, choice)
            return drop(found, before, split.labels, data.classes, key)

        def decisive(found: Interval) -> float:
            return found.high if can_show else found.value

        def lost(count: int) -> float:
            if count in rungs:
                return decisive(rungs[count][1])
            done = quantized(plain, model, calibration, most_in_float(usual, order, count) if count else usual)
            done = replace(done, model=graph.as_file(done.model))
            rungs[count] = done, dropped(done.model)
            return decisive(rungs[count][1])

        # Plain quantization first: where it is enough, nothing is to be guessed.
        most, guess = len(order) - 1, 1
        if most >= _WORTH_GUESSING and lost(0) > step.max_drop:
            rough = _rough(plain, prepared, calibration, usual)

            def roughly(count: int) -> float:
                if not count:
                    return lost(0)
                return decisive(dropped(graph.as_file(write(in_float(rough, order[:count]), packed=False))))

            guess = climbed(roughly, most, step.max_drop)
        count = climbed(lost, most, step.max_drop, guess)
    done, found = rungs[count]
    many = "no layer" if not count else "1 layer" if count == 1 else f"{count} layers"
    text = (
        f"{many} of {len(order)} in float: {found.value:.3g} lost on {len(split):,} validation samples (95 %: {found.low:.3g} to "
        f"{found.high:.3g}), {step.max_drop:g} allowed"
    )
    if found.value > step.max_drop:
        text = f"the limit cannot be kept: at best {text}"
    elif not can_show:
        text += (
            f"; too few samples to show it for other data, the float network itself would leave up to {least:.3g} open"
        )
    elif found.high > step.max_drop:
        text = f"the limit is kept on these samples and cannot be shown for others: at best {text}"
    others = [f"{n}: {rung.value:.3g}" for n, (_, rung) in sorted(rungs.items()) if n != count]
    text += f"; tried too, layers in float and what they lost: {', '.join(others)}" if others else ""
    note = ". ".join(part.rstrip(".") for part in (text, done.note) if part)
    bits = most_in_float(usual, order, count) if count else usual
    shown = {"layer_bits": by_layer(prepared, bits)}
    return Quantized(done.model, (*done.chosen, f"{'no layers' if not count else many} in float"), note), shown
