"""`paretoscope profile-device` proved on this machine: profile it, predict every trained network at fp32 and int8, measure.

    python tests/benchmarks/bench_profile.py [NETWORK …] [--seconds 0.2] [--threads 1]

Prints predicted against measured latency, their mean absolute percentage error, and how many measured values lie in the stated 90 %
range. It times, so the machine should do nothing else.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

import numpy as np
import onnx

from engine.compress import quantize
from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.devices import profile_template
from engine.devices.profiles import parse_profile
from engine.devices.projection import project
from engine.graph.count_demand import graph_demand
from engine.graph.graph import save_onnx
from engine.measure.latency import measure_latency
from engine.models.catalog import zoo_index
from engine.models.export import export_onnx
from engine.models.sources import load_network
from engine.spec.sections import LatencyOptions, Model
from engine.spec.steps import Quantize


def graphs(name: str) -> dict[int, onnx.ModelProto]:
    """A trained network as the sweep exports it, by bits: 32-bit floats, and 8-bit integers."""
    data = load_fashion_mnist()
    network = load_network(Model(source=name), data)
    model = export_onnx(network.module, network.origin.input_shape)
    step = Quantize(weight_bits=8, activation_bits=8)
    images = data.preprocessing(data.calibration.head(step.calibration_samples).inputs)
    return {32: model, 8: quantize.apply(step, model, images)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=list(zoo_index()))
    parser.add_argument("--seconds", type=float, default=0.2)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    record = profile_template.measure("this-machine", arguments.threads, arguments.seconds)["profile"]
    profile = parse_profile(record, "measured just now")
    print(f"{profile.device}; {profile.runtime}")
    print(f"held-out chains: {record['held_out']['mape']:.0%} mean, {record['held_out']['worst']:.0%} worst")
    print(f"{'network':18}{'bits':>5}{'predicted ms':>14}{'90 % range':>20}{'measured ms':>13}{'error':>8}")
    errors, covered = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.networks:
            for bits, model in graphs(name).items():
                path = Path(folder) / f"{name}-{bits}.onnx"
                save_onnx(model, path)
                said = project(profile, graph_demand(model)).latency_ms
                assert said is not None, "the profile was timed in both precisions"
                options = LatencyOptions(threads=arguments.threads)
                measured = measure_latency(path, None, load_fashion_mnist().input_shape, options).latency_ms.p50
                errors.append(math.log(said.value / measured))
                covered.append(said.low <= measured <= said.high)
                between = f"{said.low:.3f} to {said.high:.3f}"
                print(f"{name:18}{bits:5}{said.value:14.3f}{between:>20}{measured:13.3f}{math.expm1(errors[-1]):+8.0%}")
    print(
        f"mean absolute error {np.mean(np.abs(np.expm1(errors))):.0%} over {len(errors)} files; {sum(covered)} in the 90 % range"
    )


if __name__ == "__main__":
    main()
