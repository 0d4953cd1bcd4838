"""Times a small set of layers on this machine and writes what they cost as a device profile.

Copy this one file to the device; it needs Python 3.9 or newer, numpy and onnxruntime, and takes about a quarter of a minute:

    python profile_device.py --name my-board -o my-board.json

Paretoscope reads the result from the folder `devices` in its home (PARETOSCOPE_HOME). Chains of layers, in 32-bit floats and in 8-bit
integers, are built here as ONNX files and timed one image at a time. Costs of an operation, a byte moved and an operator are fitted to
the times by least squares of relative errors without negative costs (Lawson & Hanson 1974, chapter 23); the error in the file is that
on chains that were left out of the fit.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import time

import numpy as np
import onnxruntime

FORMAT = 1
ROUNDS = 3
FEATURES = ("conv", "stem", "pointwise", "depthwise", "dense", "moved_bytes", "operators")
"""Multiply-accumulates by kind, bytes in and out of all operators, operators: what Paretoscope counts on a network."""

# (channels, height = width, layers); a layer is (kind, channels out, stride), `add` sums the last tensor and the latest one
# before it of the same shape. Sizes are those of small networks, where calls and bytes count, and of middling ones, where operations do.
CHAINS = (
    (3, 32, (("stem", 16, 1), ("conv", 16, 1), ("conv", 16, 1))),
    (1, 28, (("stem", 64, 2), ("depthwise", 64, 1), ("pointwise", 64, 1))),
    (3, 64, (("stem", 8, 2),)),
    (3, 96, (("stem", 32, 2), ("depthwise", 32, 1))),
    (1, 48, (("stem", 32, 1),)),
    (16, 32, (("conv", 16, 1),) * 6),
    (16, 32, (("conv", 16, 1), ("conv", 16, 1), ("add", 16, 1)) * 3),
    (32, 16, (("conv", 32, 1),) * 4),
    (16, 28, (("conv", 32, 2), ("conv", 32, 1), ("conv", 64, 2), ("conv", 64, 1))),
    (64, 8, (("conv", 64, 1), ("conv", 64, 1), ("add", 64, 1)) * 2),
    (64, 14, (("pointwise", 64, 1),) * 6),
    (32, 28, (("pointwise", 64, 1), ("pointwise", 32, 1)) * 3),
    (128, 7, (("pointwise", 128, 1),) * 4),
    (64, 14, (("depthwise", 64, 1),) * 6),
    (96, 28, (("depthwise", 96, 2), ("depthwise", 96, 1), ("depthwise", 96, 1))),
    (24, 28, (("pointwise", 144, 1), ("depthwise", 144, 1), ("pointwise", 24, 1), ("add", 24, 1)) * 2),
    (48, 14, (("pointwise", 192, 1), ("depthwise", 192, 2), ("pointwise", 64, 1)) * 2),
    (64, 12, (("depthwise", 64, 1), ("pointwise", 64, 1)) * 4),
    (256, 1, (("dense", 256, 1),) * 6),
    (640, 1, (("dense", 128, 1), ("dense", 128, 1), ("dense", 8, 1), ("dense", 128, 1), ("dense", 640, 1))),
    (1024, 1, (("dense", 512, 1), ("dense", 10, 1))),
    (8, 8, (("pointwise", 8, 1), ("depthwise", 8, 1)) * 5),
    (32, 14, (("conv", 32, 1), ("pointwise", 64, 1), ("depthwise", 64, 1), ("conv", 32, 1))),
)

FLOAT, UINT8, INT8, INT32 = 1, 2, 3, 6


def _key(number, wire):
    return _varint(number << 3 | wire)


def _varint(value):
    out = bytearray()
    while True:
        out.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(out)


def _bytes(number, value):
    data = value.encode() if isinstance(value, str) else value
    return _key(number, 2) + _varint(len(data)) + data


def _int(number, value):
    return _key(number, 0) + _varint(value)


def _tensor(name, array, kind):
    """An initialiser (onnx.proto3, TensorProto): dims 1, data_type 2, name 8, raw_data 9."""
    dims = b"".join(_int(1, d) for d in array.shape)
    return dims + _int(2, kind) + _bytes(8, name) + _bytes(9, array.tobytes())


def _node(op_type, inputs, outputs, **attributes):
    """A node: input 1, output 2, op_type 4, attribute 5; attributes are whole numbers (i 3, type 2) or lists of them (ints 8, type 7)."""
    parts = [_bytes(1, name) for name in inputs] + [_bytes(2, name) for name in outputs] + [_bytes(4, op_type)]
    for name, value in attributes.items():
        body = _bytes(1, name)
        body += (
            _int(3, value) + _int(20, 2)
            if isinstance(value, int)
            else b"".join(_int(8, v) for v in value) + _int(20, 7)
        )
        parts.append(_bytes(5, body))
    return b"".join(parts)


def _value(name, dims):
    shape = b"".join(_bytes(1, _int(1, d)) for d in dims)
    return _bytes(1, name) + _bytes(2, _bytes(1, _int(1, FLOAT) + _bytes(2, shape)))


class _Graph:
    """Collects nodes and constants of one chain."""

    def __init__(self, bits, seed):
        self.bits, self.random = bits, np.random.default_rng(seed)
        self.nodes, self.constants, self.count = [], [], 0

    def name(self, what):
        self.count += 1
        return f"{what}{self.count}"

    def constant(self, array, kind):
        name = self.name("c")
        self.constants.append(_tensor(name, array, kind))
        return name

    def add(self, op_type, inputs, **attributes):
        output = self.name("t")
        self.nodes.append(_node(op_type, inputs, [output], **attributes))
        return output

    def rounded(self, tensor, lowest=-128):
        """Rounded to 8 bits and back, as a quantized network has it between any two operators; the range begins at `lowest` steps.

        After a ReLU that has to be 0: ONNX Runtime takes a ReLU for part of the rounding only then, and only without one between a
        convolution and its rounding are the two computed in integers.
        """
        if self.bits == 32:
            return tensor
        scale = self.constant(np.array(0.05, np.float32), FLOAT)
        zero = self.constant(np.array(-lowest, np.uint8), UINT8)
        return self.add("DequantizeLinear", [self.add("QuantizeLinear", [tensor, scale, zero]), scale, zero])

    def weight(self, shape):
        if self.bits == 32:
            values = self.random.standard_normal(shape).astype(np.float32) / math.sqrt(max(1, math.prod(shape[1:])))
            return self.constant(values, FLOAT)
        # Seven bits: with eight, sums of two products overflow on processors without VNNI, which takes no other time but is no network.
        codes = self.random.integers(-64, 64, shape).astype(np.int8)
        name = self.constant(codes, INT8)
        scale = self.constant(np.array(0.01, np.float32), FLOAT)
        return self.add("DequantizeLinear", [name, scale, self.constant(np.array(0, np.int8), INT8)])

    def bias(self, channels):
        if self.bits == 32:
            return self.constant(np.zeros(channels, np.float32), FLOAT)
        name = self.constant(np.zeros(channels, np.int32), INT32)
        scale = self.constant(np.array(0.05 * 0.01, np.float32), FLOAT)
        return self.add("DequantizeLinear", [name, scale, self.constant(np.array(0, np.int32), INT32)])


def model_bytes(chain, bits):
    """A chain as an ONNX file in 32-bit floats or, with `bits` 8, with unsigned 8-bit activations and signed weights."""
    channels, size, layers = chain
    graph = _Graph(bits, seed=len(layers))
    tensor = graph.rounded(graph.add("Flatten", ["input"]) if layers[0][0] == "dense" else "input")
    made_so_far = [(tensor, (channels, size))]
    for kind, outputs, stride in layers:
        if kind == "add":
            before = next(name for name, shape in reversed(made_so_far[:-1]) if shape == (channels, size))
            tensor = graph.rounded(graph.add("Add", [tensor, before]))
            made_so_far.append((tensor, (channels, size)))
            continue
        weight_shape = _weight_shape(kind, channels, outputs)
        inputs = [tensor, graph.weight(weight_shape), graph.bias(outputs)]
        if kind == "dense":
            made = graph.add("Gemm", inputs, transB=1)
        else:
            kernel = weight_shape[-1]
            group = channels if kind == "depthwise" else 1
            window = {"kernel_shape": [kernel] * 2, "pads": [kernel // 2] * 4, "strides": [stride] * 2}
            made = graph.add("Conv", inputs, group=group, **window)
        tensor = graph.rounded(graph.add("Relu", [made]), lowest=0)
        channels, size = outputs, -(-size // stride)
        made_so_far.append((tensor, (channels, size)))
    graph.nodes.append(_node("Identity", [tensor], ["output"]))
    shape = (1, channels) if layers[0][0] == "dense" else (1, channels, size, size)
    body = b"".join(_bytes(1, node) for node in graph.nodes) + _bytes(2, "chain")
    body += b"".join(_bytes(5, constant) for constant in graph.constants)
    body += _bytes(11, _value("input", input_shape(chain))) + _bytes(12, _value("output", shape))
    return _int(1, 8) + _bytes(7, body) + _bytes(8, _bytes(1, "") + _int(2, 13))


def input_shape(chain):
    """(1, channels, height, width) of a chain."""
    return 1, chain[0], chain[1], chain[1]


def _weight_shape(kind, channels, outputs):
    if kind == "dense":
        return outputs, channels
    kernel = 1 if kind == "pointwise" else 3
    return outputs, 1 if kind == "depthwise" else channels, kernel, kernel


def features_of(chain, bits):
    """The counts of `FEATURES` of a chain, shape (7,), as Paretoscope counts them on the file."""
    channels, size, layers = chain
    counts = dict.fromkeys(FEATURES, 0)
    width = bits // 8
    before = channels * size * size
    for kind, outputs, stride in layers:
        size = -(-size // stride)
        made = outputs * size * size
        counts["operators"] += 1
        counts["moved_bytes"] += width * (before + made + (made if kind == "add" else 0))
        if kind != "add":
            counts[kind] += made * math.prod(_weight_shape(kind, channels, outputs)[1:])
        channels, before = outputs, made
    return np.array([counts[name] for name in FEATURES], np.float64)


def time_ms(model, shape, threads, seconds):
    """Median milliseconds of one run on noise, of as many runs as fit into `seconds`, ten at least, after some that are not counted."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {"input": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    taken = []  # type: list[float]
    start = time.perf_counter()
    for _ in range(5):
        session.run(None, feed)
    while len(taken) < 10 or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        session.run(None, feed)
        taken.append((time.perf_counter() - before) * 1e3)
    return statistics.median(taken)


def fit_costs(features, times_ms):
    """Non-negative costs in ns of one of each feature, shape (features,), that make the sum of squared relative errors smallest."""
    scale = features.max(axis=0)
    scale[scale == 0] = 1.0
    matrix = features / scale / times_ms[:, None] * 1e-6
    costs, active = np.zeros(matrix.shape[1]), np.zeros(matrix.shape[1], bool)
    # Lawson & Hanson's active set: take in the most useful feature, leave out those whose cost would turn negative.
    for _ in range(10 * matrix.shape[1]):
        gradient = matrix.T @ (1.0 - matrix @ costs)
        gradient[active] = -math.inf
        best = int(np.argmax(gradient))
        if gradient[best] <= 1e-10:
            break
        active[best] = True
        while True:
            found = np.zeros_like(costs)
            found[active] = np.linalg.lstsq(matrix[:, active], np.ones(len(matrix)), rcond=None)[0]
            bad = active & (found <= 0)
            if not bad.any():
                costs = found
                break
            share = np.min(costs[bad] / np.maximum(costs[bad] - found[bad], 1e-300))
            costs = costs + share * (found - costs)
            active &= costs > 1e-15
            costs[~active] = 0.0
            if not active.any():
                break
    return costs / scale


def held_out(features, times_ms):
    """Natural logarithms of predicted over measured time, each chain predicted from all others, shape (chains,)."""
    logs = []
    for i in range(len(times_ms)):
        others = np.arange(len(times_ms)) != i
        predicted = features[i] @ fit_costs(features[others], times_ms[others]) * 1e-6
        logs.append(math.log(max(predicted, 1e-9) / times_ms[i]))
    return np.array(logs)


def make_profile(name, measured, threads):
    """The file's content from `measured`, a list of (bits, chain's index, milliseconds)."""
    costs, logs = {}, []
    for bits in sorted({row[0] for row in measured}):
        rows = [row for row in measured if row[0] == bits]
        features = np.array([features_of(CHAINS[index], bits) for _, index, _ in rows])
        times_ms = np.array([ms for _, _, ms in rows])
        costs[str(bits)] = dict(zip(FEATURES, (float(c) for c in fit_costs(features, times_ms))))
        logs += list(held_out(features, times_ms))
    errors = np.abs(np.expm1(logs))
    profile = {
        "name": name,
        "device": f"{platform.node() or 'a machine'}: {platform.processor() or platform.machine()}, {os.cpu_count()} CPUs",
        "runtime": f"onnxruntime {onnxruntime.__version__}, {threads} thread(s)",
        "device_class": "own",
        "supports": sorted(int(bits) for bits in costs),
        "costs_ns": costs,
        # Root mean square, not the standard deviation: a bias is an error too.
        "log_sd": float(np.sqrt(np.mean(np.square(logs)))),
        "held_out": {"mape": float(errors.mean()), "worst": float(errors.max()), "layers": len(errors)},
        "sources": [f"timed on the device itself with profile_device.py, format {FORMAT}"],
    }
    return {"profile": profile, "measured": [{"bits": b, "chain": i, "latency_ms": ms} for b, i, ms in measured]}


def measure(name, threads=1, seconds=0.2, progress=None):
    """Time every chain in both precisions and return the file's content."""
    fastest = {}  # type: dict[tuple[int, int], float]
    # Three rounds, each over all chains: what disturbs the machine for a while disturbs one round of a chain and not the others.
    for turn in range(ROUNDS):
        for bits in (32, 8):
            for index, chain in enumerate(CHAINS):
                ms = time_ms(model_bytes(chain, bits), input_shape(chain), threads, seconds / ROUNDS)
                fastest[bits, index] = min(ms, fastest.get((bits, index), ms))
        if progress:
            progress(f"round {turn + 1} of {ROUNDS} done")
    return make_profile(name, [(bits, index, ms) for (bits, index), ms in fastest.items()], threads)


def main():
    """Command line of the stand-alone program."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default=platform.node() or "own", help="the profile's name")
    parser.add_argument("-o", "--output", default="", help="file to write (default: NAME.json)")
    parser.add_argument("--threads", type=int, default=1, help="threads that one inference may use")
    parser.add_argument("--seconds", type=float, default=0.2, help="least time spent on each chain")
    options = parser.parse_args()
    record = measure(options.name, options.threads, options.seconds, print)
    path = options.output or f"{options.name}.json"
    with open(path, "w", encoding="utf-8") as file:  # noqa: PTH123  # the device needs no pathlib
        json.dump(record, file, indent=1)
    found = record["profile"]["held_out"]
    print(f"wrote {path}: held-out error {found['mape']:.0%} on average, {found['worst']:.0%} at worst")


if __name__ == "__main__":
    main()
