"""How long pruning takes, and which way of it costs least accuracy.

    python tests/benchmarks/bench_prune.py                        seconds and shares for every network, half of the MACs
    python tests/benchmarks/bench_prune.py --quality resnet20     validation accuracy before and after a finetune, for every way
    … --share 0.3 --samples 16000 --only taylor/global,l2/uniform
    … --zeros 0.9                                                 the same for single weights

Choices between ways are made here, on the validation split; the test split is for reports only.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch import nn
from torch.nn import functional as F

from engine.compress import finetune, prune
from engine.datasets.dataset import Dataset
from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.models.builders import Origin, build
from engine.models.sources import Network, load_network
from engine.spec.sections import Model
from engine.spec.steps import Finetune, Prune

ZOO = ("resnet8", "resnet20", "ds_cnn", "mobilenet_v2", "recursive_resnet")
TORCHVISION = (
    "resnet18", "resnet50", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "efficientnet_b0", "regnet_y_400mf",
    "densenet121", "convnext_tiny", "squeezenet1_1", "shufflenet_v2_x0_5", "shufflenet_v2_x1_0", "vit_b_16",
)  # fmt: skip
WAYS = [f"{i}/{a}" for i in ("l2", "bn_scale", "taylor") for a in ("uniform", "global", "sensitivity")]


def accuracy(module: nn.Module, data: Dataset) -> tuple[float, float]:
    """Share of the validation images that are right, and the mean loss."""
    right, loss = 0, 0.0
    with torch.inference_mode():
        for start in range(0, len(data.validation), 500):
            images = torch.from_numpy(data.preprocessing(data.validation.inputs[start : start + 500]))
            labels = torch.from_numpy(data.validation.labels[start : start + 500])
            logits = module(images)
            right += int((logits.argmax(1) == labels).sum())
            loss += float(F.cross_entropy(logits, labels, reduction="sum"))
    return right / len(data.validation), loss / len(data.validation)


def networks() -> list[Network]:
    """The zoo as trained, torchvision's at random."""
    found = [load_network(Model(source=name), load_fashion_mnist()) for name in ZOO]
    for name in TORCHVISION:
        origin = Origin(f"torchvision:{name}", 10, (3, 224, 224) if name == "vit_b_16" else (3, 64, 64), "random")
        found.append(Network(build(origin), origin))
    return found


def speed() -> None:
    print(f"{'network':32s} {'images':>12s} {'seconds':>8s} {'params':>7s} {'MACs':>7s}")
    for network in networks():
        started = time.perf_counter()
        _, report = prune.apply(Prune(method="channel", macs_ratio=0.5), network, None, 0)
        seconds = time.perf_counter() - started
        shape = "×".join(map(str, network.origin.input_shape))
        shares = f"{-100 * report.params_removed:6.1f}% {-100 * report.macs_removed:6.1f}%"
        print(f"{network.origin.source:32s} {shape:>12s} {seconds:8.2f} {shares} {report.note or ''}", flush=True)


def quality(name: str, steps: dict[str, Prune], samples: int | None) -> None:
    data = load_fashion_mnist()
    network = load_network(Model(source=name), data)
    whole = accuracy(network.module, data)
    print(
        f"{name}: {100 * whole[0]:.2f} % (loss {whole[1]:.3f}) whole; pruned, then one epoch of {samples or 'all'} images"
    )
    for way, step in steps.items():
        started = time.perf_counter()
        pruned, report = prune.apply(step, network, data, 0)
        seconds = time.perf_counter() - started
        before = accuracy(pruned, data)
        after = accuracy(finetune.apply(Finetune(epochs=1, samples=samples), pruned, data, 0), data)
        gone = f"MACs {-100 * report.macs_removed:.1f} % params {-100 * report.params_removed:.1f} %"
        shares = f"{gone} zeros {100 * report.zero_share:.1f} %"
        print(
            f"{way:22s} {shares} in {seconds:.1f} s; "
            f"{100 * before[0]:.2f} % ({before[1]:.3f}) before, {100 * after[0]:.2f} % ({after[1]:.3f}) after",
            flush=True,
        )


def ways(options: argparse.Namespace) -> dict[str, Prune]:
    """What to compare, by name."""
    if options.zeros:
        return {
            a: Prune(method="magnitude", ratio=options.zeros, allocation=a)
            for a in ("uniform", "global", "sensitivity")
        }
    steps = {}
    for way in options.only.split(","):
        importance, allocation = way.split("/")
        steps[way] = Prune(method="channel", macs_ratio=options.share, importance=importance, allocation=allocation)
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quality", metavar="NAME")
    parser.add_argument("--share", type=float, default=0.5)
    parser.add_argument("--zeros", type=float)
    parser.add_argument("--samples", type=int)
    parser.add_argument("--only", default=",".join(WAYS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.quality:
        quality(options.quality, ways(options), options.samples)
    else:
        speed()


if __name__ == "__main__":
    main()
