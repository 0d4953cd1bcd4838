"""What float16 cannot hold of a network that a recipe lets compute in it, counted before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.check.findings import Finding
from engine.datasets.dataset import Dataset
from engine.errors import InputError, StepError
from engine.graph.one_output import as_one
from engine.models.files import load_file
from engine.spec.steps import Quantize
from engine.spec.sweep import Sweep

if TYPE_CHECKING:
    import onnx

_SAMPLES = 64
_MANY = 0.01
"""A share of the numbers from which on it is told that they vanish or lose digits; a network has some such anyway."""


def half_findings(sweep: Sweep, data: Dataset) -> list[Finding]:
    """A warning where a recipe computes in float16 and the network, as it is given, has numbers that overflow there or mostly vanish; none
    for a network that cannot be counted, whose trial will say why.
    """
    if not any(isinstance(s, Quantize) and s.compute == "float16" for r in sweep.all_recipes for s in r.steps):
        return []
    from engine.compress.quantization.half_compute import half_counts, lost_text, totals
    from engine.compress.quantize import prepare

    calibration = data.preprocessing(data.calibrating(_SAMPLES).head(_SAMPLES).inputs)
    try:
        model = _graph(sweep, data)
        model = as_one(model, calibration) if len(model.graph.output) > 1 else model
        counts = half_counts(prepare(model), calibration)
    except (InputError, StepError):
        return []
    over = [c for c in counts if c.weights.over or c.outputs.over]
    lost = [t for t in totals(counts) if t.zero + t.subnormal > _MANY * max(1, t.all)]
    if not over and not lost:
        return []
    told = f"compute: float16: {lost_text(counts)}"
    if over:
        first = ", ".join(f"{c.op_type} {c.name!r}" for c in over[:3])
        return [
            Finding(
                "warning",
                f"{told}; too large {'is' if len(over) == 1 else 'are'} {first}",
                _OVER.format(f"{len(over)} operator" + "s" * (len(over) > 1)),
            )
        ]
    return [Finding("warning", told, "expect a loss, or leave compute out: weights alone in 16 bits lose less")]


_OVER = (
    "what overflows stays in 32-bit floats ({}, and what reads it); leave compute out where that is most of the network"
)


def _graph(sweep: Sweep, data: Dataset) -> onnx.ModelProto:
    """The network as a graph; raises ModelError."""
    if sweep.model.is_onnx:
        return load_file(sweep.model, data)[0]
    from engine.models.export import export_onnx
    from engine.models.sources import load_network

    network = load_network(sweep.model, data)
    return export_onnx(network.module, network.origin.input_shape)
