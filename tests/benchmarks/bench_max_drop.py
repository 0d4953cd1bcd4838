"""`max_drop` beside NNCF's accuracy control: one network that int8 hurts, the same data, the same limit, in one run on one machine.

    python tests/benchmarks/bench_max_drop.py --peers PYTHON [--epochs N] [--samples N] [--limit POINTS] [--kept FILE]

torchvision's MobileNetV3-Small (hard swish, squeeze and excitation, depthwise) on Fashion-MNIST, trained here for `--epochs` and kept in
FILE. 256 images calibrate; the first N of the validation images say when the limit is kept; the test images are looked at afterwards.
PYTHON is one of an environment of its own with PACKAGES. NNCF's `quantize_with_accuracy_control` runs on the same ONNX file (its ONNX
backend, ONNX Runtime), ranks by the accuracy on 320 images, the only way that this backend knows, and validates in batches of 32, which is
faster than one by one. Seconds, and those of the CPU, are of the whole way from the float file to the answer, ours with the sensitivities
that it ranks by; on a machine that others use, compare those of the CPU. Layers in float: convolutions and products with weights whose data
the file does not round, and those that ONNX Runtime multiplies in floats (of NNCF's it fuses few).

The bottlenecks' channels are spread by factors of up to 23 either way, which changes nothing of what the network computes: as they are in
MobileNets that nobody equalised, and what one range for a whole tensor suffers from.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import torch
import torchvision
from onnx import inliner
from torch import nn
from torch.nn import functional as F

from engine.compress.quantization.sensitivity import layer_times, measure_sensitivity
from engine.datasets.dataset import Dataset
from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.graph.graph import load_onnx, open_session, save_onnx
from engine.measure.machine import machine
from engine.models.export import export_onnx
from engine.run.float_layers import fewest_in_float
from engine.spec.steps import Quantize

PACKAGES = ("nncf==3.4.0", "onnxruntime==1.32.0")
ROOT = Path(__file__).resolve().parents[2]
OURS = {
    "ours": {}, "ours, cheapest": {"cheapest": True},
}  # fmt: skip


def network() -> nn.Module:
    """MobileNetV3-Small for pictures of 28×28 grey pixels: one channel in, no stride in the first layer."""
    net = torchvision.models.mobilenet_v3_small(num_classes=10)
    net.features[0][0] = nn.Conv2d(1, 16, 3, 1, 1, bias=False)
    return net


def trained(data: Dataset, epochs: int, kept: Path | None) -> nn.Module:
    """The network, trained here or as it was kept."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = network()
    if kept is not None and kept.exists():
        net.load_state_dict(torch.load(kept))
        return net.eval()
    images = torch.from_numpy(data.preprocessing(data.train.inputs[:]))
    labels = torch.from_numpy(np.asarray(data.train.labels))
    steps = len(images) // 128
    optimizer = torch.optim.SGD(net.parameters(), 0.1, 0.9, weight_decay=1e-4, nesterov=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.15, total_steps=epochs * steps)
    for _ in range(epochs):
        for some in torch.randperm(len(images))[: steps * 128].split(128):
            optimizer.zero_grad()
            F.cross_entropy(net(images[some]), labels[some]).backward()
            optimizer.step()
            schedule.step()
    if kept is not None:
        torch.save(net.state_dict(), kept)
    return net.eval()


def accuracy(model: onnx.ModelProto, images: np.ndarray, labels: np.ndarray) -> float:
    """In percent."""
    session = open_session(model)
    name = session.get_inputs()[0].name
    said = [session.run(None, {name: images[i : i + 100]})[0].argmax(1) for i in range(0, len(images), 100)]
    return 100 * float((np.concatenate(said) == labels).mean())


def in_float(model: onnx.ModelProto) -> tuple[int, int, int]:
    """(layers that the file leaves in float, those that ONNX Runtime multiplies in floats, layers)."""
    graph = inliner.inline_local_functions(model).graph if model.functions else model.graph
    makers = {name: node for node in graph.node for name in node.output}
    stored = {t.name for t in graph.initializer}
    named = [n for n in graph.node if n.op_type in ("Conv", "Gemm", "MatMul")]
    layers = [n for n in named if n.input[1] in stored or makers[n.input[1]].op_type != "Softmax"]
    rounded = sum(n.input[0] in makers and makers[n.input[0]].op_type == "DequantizeLinear" for n in layers)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimized.onnx"
        open_session(model, save=path)
        kernels = [n.op_type for n in onnx.load(path).graph.node]
    floats = sum(kernels.count(kind) for kind in ("Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"))
    return len(layers) - rounded, floats, len(layers)


def uneven(net: nn.Module, most: float = 4.5) -> nn.Module:
    """The same function with bottlenecks whose channels differ by up to 2^±most: each is scaled where it is made, and back where it is
    read. Blocks that add to each other share their scales.
    """
    generator = torch.Generator().manual_seed(1)
    blocks = list(net.features)
    scale = torch.ones(0)
    with torch.no_grad():
        for before, block in pairwise(blocks):
            made = getattr(before, "block", None)
            if made is None:
                continue
            norm = made[-1][1]
            if not before.use_res_connect:
                scale = torch.exp2((2 * torch.rand(norm.num_features, generator=generator) - 1) * most)
            norm.weight.mul_(scale)
            norm.bias.mul_(scale)
            first = block.block[0][0] if hasattr(block, "block") else block[0]
            first.weight.div_(scale.reshape(1, -1, 1, 1))
    return net


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", required=True)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--limit", type=float, default=0.5)
    parser.add_argument("--kept", type=Path)
    parser.add_argument(
        "--only", choices=("peers", "ours"), help="one side, where the two runs are put together by hand"
    )
    options = parser.parse_args()
    data = load_fashion_mnist()
    data = replace(data, validation=data.validation.head(options.samples))
    net = uneven(trained(data, options.epochs, options.kept))
    calibration = data.preprocessing(data.calibrating(256).inputs)
    seen, test = (data.preprocessing(split.inputs[:]) for split in (data.validation, data.test))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "float.onnx"
        save_onnx(export_onnx(net, data.input_shape), source)
        model = load_onnx(source)
        before = [accuracy(model, seen, data.validation.labels), accuracy(model, test, data.test.labels)]
        print(
            f"{machine()}\nfloat: {before[0]:.2f} % of {len(seen)} validation images, {before[1]:.2f} % of {len(test)} test images"
        )
        print(
            f"at most {options.limit:g} points lost\n{'':28}{'s':>8}{'CPU s':>8}{'float':>11}{'kernels':>9}"
            f"{'lost, validation':>18}{'lost, test':>12}"
        )

        def row(title: str, made: onnx.ModelProto, seconds: float, cpu: float) -> None:
            after = [accuracy(made, seen, data.validation.labels), accuracy(made, test, data.test.labels)]
            few, kernels, every = in_float(made)
            lost = [a - b for a, b in zip(before, after, strict=True)]
            print(
                f"{title:28}{seconds:8.1f}{cpu:8.1f}{few:6} of {every}{kernels:9}{lost[0]:16.2f}{lost[1]:12.2f}",
                flush=True,
            )

        np.savez(folder / "data.npz", calibration=calibration, images=seen, labels=data.validation.labels)
        helper = ROOT / "tests" / "helpers" / "accuracy_control.py"
        for how in () if options.only == "ours" else ("plain", "control"):
            arguments = [source, folder / "data.npz", options.limit / 100, how, folder / f"{how}.onnx"]
            done = subprocess.run(
                [options.peers, str(helper), *map(str, arguments)], check=True, capture_output=True, text=True
            )
            said = json.loads(done.stdout.splitlines()[-1])
            row(f"NNCF, {how}", onnx.load(folder / f"{how}.onnx"), said["seconds"], said["cpu"])
        for title, stated in OURS.items() if options.only != "peers" else ():
            step = Quantize(weight_bits=8, activation_bits=8, max_drop=options.limit, **stated)
            begin, used = time.perf_counter(), time.process_time()
            shared = Quantize(weight_bits=8, activation_bits=8)
            sensitivity = measure_sensitivity(shared, model, data, (8,))
            times = layer_times(shared, model, data) if step.cheapest else None
            ranked = time.perf_counter() - begin
            done_here, _ = fewest_in_float(step, source, data, sensitivity, None, times)
            row(title, done_here.model, time.perf_counter() - begin, time.process_time() - used)
            print(f"  {ranked:.1f} s of it for the order; {done_here.note}", flush=True)


if __name__ == "__main__":
    main()
