"""Trains the zoo's checkpoints: `python data/train_checkpoints.py [NAME ...]`.

Trained on the `train` split alone (54,000 images, or 5,996 series); the test accuracy that it prints and stores in
`checkpoints/index.json` is counted on the ONNX file in ONNX Runtime. Seed 0, one thread; run two at a time on two cores.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from engine.compress.finetune import Schedule, train
from engine.datasets.dataset import Dataset
from engine.datasets.load import load_dataset
from engine.graph.counts import graph_facts
from engine.graph.graph import load_onnx, save_onnx
from engine.measure.accuracy import predict
from engine.models.export import export_onnx
from engine.models.zoo import BUILDERS, count_params
from engine.paths import CHECKPOINTS
from engine.spec.sections import Data

SEED = 0
# One network may be trained in several phases, each starting where the last one ended.
SCHEDULES: dict[str, tuple[Schedule, ...]] = {
    # Small networks underfit: moving the images about, which the test images never are, cost resnet8 half a point.
    "resnet8": (Schedule(epochs=16, learning_rate=0.2, batch_size=128, weight_decay=2e-4),),
    "resnet20": (
        Schedule(epochs=12, learning_rate=0.2, batch_size=128, shift_pixels=1),
        # Like resnet8, without moving the images.
        Schedule(epochs=3, learning_rate=0.04, batch_size=128),
    ),
    # The first phase alone overfits: 92.5 % with a training loss of 0.13; all three give 93.3. Going on from there did not help:
    # eight epochs at 0.06 with larger shifts lost 0.4 points, three with resnet20 as teacher and shifts 0.6, two at 0.02 unmirrored 0.1.
    "mobilenet_v2": (
        Schedule(epochs=11, learning_rate=0.06, batch_size=64, weight_decay=1e-4),
        Schedule(epochs=8, learning_rate=0.08, batch_size=128, shift_pixels=1),
        Schedule(epochs=3, learning_rate=0.02, batch_size=128),
    ),
    # Passes of one block differ in their statistics, the stored ones cannot: the last phase learns to live with them.
    "recursive_resnet": (
        Schedule(epochs=4, learning_rate=0.1, batch_size=128, weight_decay=2e-4),
        Schedule(epochs=2, learning_rate=0.01, batch_size=128, weight_decay=2e-4, freeze_bn_epochs=2),
    ),
    "ds_cnn": (Schedule(epochs=5, learning_rate=0.1, batch_size=64, weight_decay=1e-4),),
    # A stroke is not written mirrored. Long gradients come in the first epoch alone.
    "series_transformer": (
        Schedule(epochs=20, learning_rate=0.1, batch_size=64, weight_decay=1e-4, mirror=False, largest_gradient=1.0),
    ),
}
TRAINED_ON = {"series_transformer": "pen_digits"}
"""The others learn `fashion_mnist`."""


def dataset_of(name: str) -> Dataset:
    """What a network is trained on."""
    return load_dataset(Data(source=TRAINED_ON.get(name, "fashion_mnist")))


def score(name: str) -> dict[str, object]:
    """The checkpoint's line in the index, read off the file itself: exported, then counted in ONNX Runtime on all test images."""
    data = dataset_of(name)
    path = CHECKPOINTS / f"{name}.safetensors"
    network = BUILDERS[name]()
    network.load_state_dict(load_file(path))
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        save_onnx(export_onnx(network.eval(), data.input_shape), model)
        predicted = predict(model, data.test, data.preprocessing, len(data.classes)).predicted
        macs = graph_facts(load_onnx(model)).macs
    return {
        "accuracy": float((predicted == data.test.labels).mean()),
        "params": count_params(network),
        "macs": macs,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "dataset": data.name,
        "seed": SEED,
        "epochs": sum(schedule.epochs for schedule in SCHEDULES[name]),
    }


def write_index(name: str) -> None:
    """Score one checkpoint and enter it."""
    path = CHECKPOINTS / "index.json"
    index = json.loads(path.read_text()) if path.exists() else {}
    index[name] = score(name)
    path.write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")
    print(name, index[name], flush=True)


def train_phases(name: str, first: int) -> None:
    """Train from phase `first` on and write the checkpoint; a later phase than 0 starts from the checkpoint that is there."""
    data = dataset_of(name)
    torch.manual_seed(SEED)
    network = BUILDERS[name]()
    path = CHECKPOINTS / f"{name}.safetensors"
    if first:
        network.load_state_dict(load_file(path))
    started = time.monotonic()

    def report(epoch: int, loss: float) -> None:
        print(f"{name} epoch {epoch} loss {loss:.4f} {time.monotonic() - started:.0f} s", flush=True)

    for phase, schedule in enumerate(SCHEDULES[name][first:], first):
        train(network, data.train, data.preprocessing, schedule, SEED + phase, on_epoch=report)
    save_file({k: v.contiguous() for k, v in network.state_dict().items()}, path)
    path.chmod(0o644)


def main() -> None:
    """Train, or with --score only read off, the named checkpoints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(SCHEDULES))
    parser.add_argument("--score", action="store_true", help="do not train, write the index anew")
    parser.add_argument("--phase", type=int, default=0, help="start from this phase and the checkpoint that is there")
    parser.add_argument(
        "--threads", type=int, default=1, help="two networks at once on one thread each beat one on two"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.names:
        if not options.score:
            train_phases(name, options.phase)
        write_index(name)


if __name__ == "__main__":
    main()
