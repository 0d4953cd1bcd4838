"""Full-int8 files for TFLite Micro: bytes, agreement and accuracy against the ONNX file, and what TFLite Micro itself makes of them.

    python tests/benchmarks/bench_tflite.py [NAME ...]      of: resnet8 resnet20 ds_cnn mobilenet_v2 recursive_resnet autoencoder

Accuracy is counted on 2,000 test images, by TensorFlow Lite's reference kernels and by ONNX Runtime without optimisation. Where
`tflite-micro` (a nightly package, which nothing here needs) is installed, its interpreter runs 50 images too: how many codes of its answers
differ, and how large its arena is. `weights` are the bytes that device profiles count as flash, `live` those that
they count as RAM.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import re
import sys
import tempfile

import numpy as np
import onnx
from torch import nn

from engine.compress.quantize import apply
from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.export.tflite.check import answers, compare
from engine.export.tflite.convert import Converted, as_fed, convert
from engine.graph.count_demand import graph_demand
from engine.models.export import export_onnx
from engine.models.sources import load_network
from engine.spec.sections import Model
from engine.spec.steps import Quantize
from tests.helpers.quantize_cases import calibrated

DATA = load_fashion_mnist()
IMAGES = 2000
VARIANTS: dict[str, dict[str, object]] = {
    "int8": {"weight_bits": 8, "activation_bits": 8},
    "w4a8": {"weight_bits": 4, "activation_bits": 8},
    "u8u8 per layer": {"weight_bits": 8, "activation_bits": 8, "format": "u8u8", "per_channel": False},
    "s8s8 safe": {"weight_bits": 8, "activation_bits": 8, "format": "s8s8", "weight_range": "safe"},
    "w8a6": {"weight_bits": 8, "activation_bits": 6},
}


def autoencoder() -> onnx.ModelProto:
    """MLPerf Tiny's: 640 numbers through 128 and 8 and back, untrained, its batch norms having seen data."""
    widths = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128]
    inner = [m for a, b in itertools.pairwise(widths) for m in (nn.Linear(a, b), nn.BatchNorm1d(b), nn.ReLU())]
    return calibrated(nn.Sequential(nn.Flatten(), *inner, nn.Linear(128, 640)), (1, 20, 32))


def micro(made: Converted, inputs: np.ndarray) -> str:
    """What TFLite Micro says; nothing where it is not installed."""
    try:
        from tflite_micro.python.tflite_micro import runtime
    except ImportError:
        return "TFLite Micro is not installed"
    interpreter = runtime.Interpreter.from_bytes(made.content, arena_size=8 << 20)
    wanted = answers(made, {made.inputs[0].name: inputs})[0]
    given = []
    for codes in as_fed(made.inputs[0], inputs):
        interpreter.set_input(codes[None], 0)
        interpreter.invoke()
        given.append(interpreter.get_output(0).transpose(np.argsort(made.outputs[0].axes)))
    with tempfile.TemporaryFile("w+") as told:  # it prints from C
        kept = os.dup(2)
        os.dup2(told.fileno(), 2)
        with contextlib.redirect_stdout(io.StringIO()):
            interpreter.print_allocations()
        os.dup2(kept, 2)
        told.seek(0)
        arena = re.search(r"allocation total (\d+)", told.read())
    away = np.abs(np.concatenate(given).astype(int) - wanted)
    size = f"{int(arena[1]) / 1e3:.1f} kB" if arena else "unknown"
    return f"TFLite Micro differs in {np.count_nonzero(away)} of {away.size} codes, by {away.max()} steps at most, arena {size}"


def line(
    name: str, network: onnx.ModelProto, how: dict[str, object], inputs: np.ndarray, labels: np.ndarray | None
) -> str:
    step = Quantize(**{"rounding": "nearest", **how})  # type: ignore[arg-type]
    calibration = inputs[-256:] if labels is None else DATA.preprocessing(DATA.calibration.inputs[:256])
    model = apply(step, network, calibration)
    source = next(i.name for i in model.graph.input)
    made = convert(model, {source: inputs[:500]})
    found = compare(made, {source: inputs}, labels is not None, labels)
    demand = graph_demand(model)
    worst = found.outputs[0]
    variant = next(n for n, v in VARIANTS.items() if v == how)
    sizes = (len(made.content), len(model.SerializeToString()), demand.weight_bytes(8), demand.peak_bytes)
    file, graph, weights, live = (f"{size / 1e3:.1f} kB" for size in sizes)
    told = [
        f"{name} {variant}: .tflite {file}, .onnx {graph}, weights {weights}, live {live}",
        f"steps {worst.mean_steps:.3f} mean, {worst.most_steps} most",
    ]
    if found.same is not None and found.right is not None:
        same, onnx_right, right = (f"{n / found.samples:.2%}" for n in (found.same, *found.right))
        told.append(f"same class {same}, right {right} (ONNX {onnx_right})")
    return "; ".join([*told, micro(made, inputs[:50])])


def main(names: list[str]) -> None:
    test = DATA.preprocessing(DATA.test.inputs[:IMAGES])
    for name in names or ["resnet8", "resnet20", "ds_cnn", "mobilenet_v2", "recursive_resnet", "autoencoder"]:
        own = name == "autoencoder"
        network = autoencoder() if own else export_onnx(load_network(Model(source=name), DATA).module, DATA.input_shape)
        rows = np.random.default_rng(0).standard_normal((500, 1, 20, 32)).astype(np.float32)
        for how in VARIANTS.values():
            try:
                print(
                    line(name, network, how, rows if own else test, None if own else DATA.test.labels[:IMAGES]),
                    flush=True,
                )
            except Exception as error:
                print(f"{name} {how}: {type(error).__name__}: {error}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
