"""What distillation buys: a student at a quarter of resnet20's MACs or less, taught by resnet20, against the same one trained alone.

    python tests/benchmarks/bench_distill.py                 the recipe of the README, seeds 0 to 2
    python tests/benchmarks/bench_distill.py --seeds 0 --set student=ds_cnn --set width=1 --set epochs=2

Both trainings have the same initialisation, images, augmentation and schedule. Accuracy is counted on the ONNX file in ONNX Runtime on
all test images; one thread. Teacher outputs are computed once, and their time is shown: an epoch is the student's time only.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from engine.compress import distill
from engine.compress.teacher import TeacherOutputs, teacher_outputs
from engine.datasets.dataset import Dataset
from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.graph.counts import graph_facts
from engine.graph.graph import save_onnx
from engine.measure.accuracy import predict
from engine.measure.machine import machine
from engine.models.export import export_onnx
from engine.models.sources import Network, load_network
from engine.spec.sections import Model
from engine.spec.steps import Distill

RECIPE = {"student": "resnet8", "width": 0.75, "epochs": 3, "augment": "none"}


def accuracy_and_macs(network: Network, data: Dataset) -> tuple[float, int]:
    """Per cent right of all test images, and MACs."""
    model = export_onnx(network.module, data.input_shape)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "student.onnx"
        save_onnx(model, path)
        right = predict(path, data.test, data.preprocessing, len(data.classes)).predicted == data.test.labels
    return 100 * float(right.mean()), graph_facts(model).macs


def outputs_of(teacher: Network, data: Dataset, step: Distill) -> TeacherOutputs:
    """With the time that it takes."""
    started = time.monotonic()
    images = data.train.head(step.images_needed)
    model = export_onnx(teacher.module, data.input_shape)
    outputs = teacher_outputs(model, images, data.preprocessing, step.augment != "none", step.feature_weight > 0)
    size = sum(a.nbytes for a in (outputs.logits, outputs.features) if a is not None)
    print(f"teacher outputs: {time.monotonic() - started:.0f} s, {size / 1e6:.1f} MB, once for all students")
    return outputs


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[], metavar="KNOB=VALUE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    taught = Distill(**{**RECIPE, **dict(pair.split("=", 1) for pair in options.set)})
    alone = taught.model_copy(update={"alpha": 0.0, "feature_weight": 0.0})
    data = load_fashion_mnist()
    teacher = load_network(Model(source="resnet20"), data)
    whole, teacher_macs = accuracy_and_macs(teacher, data)
    print(f"{machine().label}, one thread; teacher resnet20: {whole:.2f} %, {teacher_macs / 1e6:.2f} M MACs")
    print(taught)
    outputs = outputs_of(teacher, data, taught)
    found: dict[str, list[float]] = {"alone": [], "distilled": []}
    for seed in options.seeds:
        for name, step in (("alone", alone), ("distilled", taught)):
            started = time.monotonic()
            student = distill.apply(step, data, seed, outputs, teacher)
            seconds = (time.monotonic() - started) / step.epochs
            accuracy, macs = accuracy_and_macs(student, data)
            found[name].append(accuracy)
            share = macs / teacher_macs
            print(
                f"seed {seed} {name:9s} {accuracy:.2f} %  {share:.3f} of the MACs  {seconds:.0f} s an epoch", flush=True
            )
    gains = [b - a for a, b in zip(*found.values(), strict=True)]
    for name, values in {**found, "gain": gains}.items():
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{name:9s} mean {statistics.mean(values):.2f} ± {spread:.2f} over {len(values)} seeds")


if __name__ == "__main__":
    main()
