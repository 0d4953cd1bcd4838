"""What layers taken from the teacher are worth: half a transformer, its own layers or new ones, after few epochs and many.

`.venv/bin/python tests/benchmarks/bench_shorter_students.py [SEEDS]` prints the test accuracy of series_transformer's students on
pen_digits, mean and range over seeds (3), at the usual learning rate.
"""

from __future__ import annotations

import sys

import numpy as np
import torch

from engine.compress import distill
from engine.compress.teacher import teacher_outputs
from engine.datasets.load import load_dataset
from engine.models.export import export_onnx
from engine.models.sources import load_network
from engine.spec.sections import Data, Model
from engine.spec.steps import Distill


def main(seeds: int) -> None:
    """One line for each kind of student and number of epochs."""
    data = load_dataset(Data(source="pen_digits"))
    teacher = load_network(Model(source="series_transformer"), data)
    said = teacher_outputs(export_onnx(teacher.module, data.input_shape), data.train, data.preprocessing, False, False)
    inputs = torch.from_numpy(data.preprocessing(data.test.inputs))

    def right(network: torch.nn.Module) -> float:
        with torch.no_grad():
            return float((network(inputs).argmax(1).numpy() == data.test.labels).mean())

    print(f"teacher {right(teacher.module):.2%} of {len(inputs):,}")
    for epochs in (2, 20):
        for start in ("taken", "fresh"):
            step = Distill(student="self", depth=0.5, epochs=epochs, start=start)
            found = [right(distill.apply(step, data, seed, said, teacher).module) for seed in range(seeds)]
            print(
                f"{epochs:>2} epochs, {start}: {np.mean(found):.2%} ({min(found):.2%} to {max(found):.2%})", flush=True
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
