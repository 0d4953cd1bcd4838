"""OpenVINO against ONNX Runtime's own kernels: the same files, in turns.

    .venv/bin/python tests/benchmarks/bench_openvino.py [NAME ...]     of the shipped networks; default resnet8 mobilenet_v2

For each network in float32 and int8, and for 1 and 32 images per call on one thread: what an image takes on OpenVINO, as a share of what
it takes on ONNX Runtime's own provider (with the ratio's 95 % interval), what loading takes on either, the share of the 10,000 test images
to which both give the same class, the right answers of either, and what OpenVINO runs of the graph. Run it on an idle machine.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from engine.compress.quantize import apply
from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.graph.graph import load_onnx, save_onnx
from engine.measure.accuracy import predict
from engine.measure.latency import LatencyResult, measure_latency
from engine.measure.machine import machine
from engine.measure.providers import available_providers
from engine.models.export import export_onnx
from engine.models.sources import load_network
from engine.spec.runtime import Runtime
from engine.spec.sections import LatencyOptions, Model
from engine.spec.steps import Quantize
from engine.trials.text import placement_texts

DATA = load_fashion_mnist()


def files(name: str, folder: Path) -> dict[str, Path]:
    """The network in float32 and, quantized as by default, in int8."""
    plain, small = folder / f"{name}.onnx", folder / f"{name}-int8.onnx"
    save_onnx(export_onnx(load_network(Model(source=name), DATA).module, DATA.input_shape), plain)
    save_onnx(
        apply(
            Quantize(weight_bits=8, activation_bits=8),
            load_onnx(plain),
            DATA.preprocessing(DATA.calibration.inputs[:256]),
        ),
        small,
    )
    return {"float32": plain, "int8": small}


def measured(path: Path, batch: int, provider: str | None) -> LatencyResult:
    """On a provider against the same file on the CPU's, or (None) on the CPU's alone."""
    options = LatencyOptions(batch=batch, time_limit_s=20)
    runtime = Runtime(provider=provider) if provider else None
    return measure_latency(path, path if provider else None, DATA.input_shape, options, runtime)


def main(names: list[str]) -> None:
    print(f"{machine().label}; {', '.join(f'{k} {v}' for k, v in machine().versions.items() if 'openvino' in k)}")
    print(
        "| network | file | images per call | OpenVINO / CPU, per image | load ms | same class | right, same order | ran |"
    )
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            for kind, path in files(name, Path(folder)).items():
                answers = [
                    predict(path, DATA.test, DATA.preprocessing, len(DATA.classes), provider=provider)
                    for provider in ("CPU", "OpenVINO")
                ]
                same = float(np.mean(answers[0].predicted == answers[1].predicted))
                right = " / ".join(f"{np.mean(a.predicted == DATA.test.labels):.2%}" for a in answers)
                for batch in (1, 32):
                    other, own = measured(path, batch, "OpenVINO"), measured(path, batch, None)
                    ratio = other.latency_ratio
                    print(
                        f"| `{name}` | {kind} | {batch} | ×{ratio.value:.2f} ({ratio.low:.2f}–{ratio.high:.2f}) | "
                        f"{other.load_ms:.0f} / {own.load_ms:.0f} | {same:.2%} | {right} | "
                        f"{placement_texts('OpenVINO', other.placement)[0]} |",
                        flush=True,
                    )


if __name__ == "__main__":
    if "OpenVINO" not in available_providers():
        print("OpenVINO is not installed; run `pip install onnxruntime-ep-openvino`")
    else:
        main(sys.argv[1:] or ["resnet8", "mobilenet_v2"])
