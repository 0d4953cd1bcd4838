"""One epoch of quantization-aware training against one of plain training, learned rounding's time, and what the file predicts.

    python tests/benchmarks/bench_qat.py [NETWORK] [--samples 2048] [--rounds 3] [--activation-bits 8] [--weight-bits 4]

Both epochs see as many images, in batches of one size, in turns. Processor time is what they are compared by: on a machine that others use
it is steadier than the clock. One thread. Last, the trained network in torch and its file in ONNX Runtime on all 10,000 test images.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from engine.compress.finetune import Schedule, train
from engine.compress.qat import BATCH, train_scheme
from engine.compress.quantization.rounding import learn_rounding
from engine.compress.quantization.scheme import Scheme
from engine.compress.quantization.simulate import Simulation
from engine.compress.quantization.write import write
from engine.compress.quantize import make_scheme, prepare
from engine.datasets.dataset import Dataset
from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.graph.graph import open_session
from engine.models.export import export_onnx
from engine.models.sources import load_network
from engine.spec.sections import Model
from engine.spec.steps import Quantize


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """(processor, clock)."""
    clock, processor = time.monotonic(), time.process_time()
    work()
    return time.process_time() - processor, time.monotonic() - clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", nargs="?", default="resnet20")
    parser.add_argument("--samples", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--weight-bits", type=int, default=4)
    parser.add_argument("--activation-bits", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_fashion_mnist()
    network = load_network(Model(source=options.network), data)
    model = prepare(export_onnx(network.module, data.input_shape))
    step = Quantize(
        weight_bits=options.weight_bits, activation_bits=options.activation_bits, method="qat", samples=options.samples
    )
    schedule = Schedule(epochs=1, learning_rate=0.001, batch_size=BATCH, samples=options.samples, dropout=False)
    images = data.preprocessing(data.calibration.inputs[:512])
    scheme = make_scheme(step, model, images[: step.calibration_samples])
    learning = seconds(lambda: learn_rounding(scheme, images))
    print(f"{options.network}: learned rounding on 512 images {learning[0]:.1f} s processor, {learning[1]:.1f} s clock")
    plain, trained = [], []
    for _ in range(options.rounds):
        plain.append(seconds(lambda: train(network.module, data.train, data.preprocessing, schedule, 0)))
        trained.append(seconds(lambda: train_scheme(step, scheme, data, 0)))
    for name, times in (("plain training", plain), ("with rounding", trained)):
        processor, clock = (statistics.median(t[i] for t in times) for i in (0, 1))
        print(
            f"{name}: {1000 * processor / options.samples:.2f} ms an image processor, {1000 * clock / options.samples:.2f} clock"
        )
    ratio = statistics.median(t[0] / p[0] for t, p in zip(trained, plain, strict=True))
    print(f"one epoch with rounding takes {ratio:.2f} × one without (target: at most 1.6)")
    print(
        f"{agreement(train_scheme(step, scheme, data, 0), data):.2%} of test images get the same class in torch and in ONNX Runtime"
    )


def agreement(trained: Scheme, data: Dataset) -> float:
    """Share of the test images on which the simulation and the packed file, in integer kernels, say the same."""
    simulation, session = Simulation(trained).eval(), open_session(write(trained))
    same = 0
    for start in range(0, len(data.test), 500):
        images = data.preprocessing(data.test.inputs[start : start + 500])
        (logits,) = session.run(None, {session.get_inputs()[0].name: images})
        with torch.inference_mode():
            same += int((simulation(torch.from_numpy(images)).numpy().argmax(1) == logits.argmax(1)).sum())
    return same / len(data.test)


if __name__ == "__main__":
    main()
