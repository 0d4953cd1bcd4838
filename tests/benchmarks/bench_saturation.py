"""Saturating sums, emulated: classes and logits against ONNX Runtime's AVX2 kernels on 1,000 test images, and the time an image takes.

    python tests/benchmarks/bench_saturation.py [IMAGES]

Needs qemu-x86_64 (Debian: qemu-user), which runs the kernels; about ten minutes for 1,000 images of each network.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from engine.compress.quantize import apply
from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.measure.emulation import Emulator
from engine.measure.machine import machine
from engine.models.export import export_onnx
from engine.models.sources import load_network
from engine.spec.steps import Quantize
from engine.spec.sweep import Model
from tests.helpers.haswell import on_haswell

CASES = [("resnet20", "u8s8"), ("resnet8", "u8s8"), ("resnet8", "s8s8"), ("ds_cnn", "u8s8"), ("mobilenet_v2", "u8s8")]


def main(count: int) -> None:
    torch.set_num_threads(1)
    data = load_fashion_mnist()
    calibration = data.preprocessing(data.calibration.head(256).inputs)
    images = data.preprocessing(data.test.head(count).inputs)
    print(machine().label)
    for name, form in CASES:
        network = export_onnx(load_network(Model(source=name), data).module, data.input_shape)
        model = apply(Quantize(weight_bits=8, activation_bits=8, format=form), network, calibration)
        with tempfile.TemporaryDirectory() as folder:
            real = next(iter(on_haswell({name: (model, images)}, Path(folder))[name].values()))
        emulator = Emulator(model)
        started = time.process_time()
        found = next(iter(emulator.emulated(images).values()))
        each = (time.process_time() - started) / count
        exact = emulator.exact(images)
        print(
            f"{name} {form}: {(found.argmax(1) != real.argmax(1)).sum()} of {count} classes differ from the kernels', "
            f"{np.any(found != real, axis=1).sum()} images' logits; saturation changes {(exact.argmax(1) != real.argmax(1)).sum()} "
            f"classes; {1e3 * each:.1f} ms of one core an image",
            flush=True,
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
