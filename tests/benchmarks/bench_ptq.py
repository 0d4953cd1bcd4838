"""Post-training quantization: seconds, accuracy, latency, file sizes and memory.

    python tests/benchmarks/bench_ptq.py            all of it
    python tests/benchmarks/bench_ptq.py NAME ...   of: speed settings olive sizes accuracy

speed     int8 of resnet20 with 512 calibration images, everything but imports and the data's decompression; peak memory of that process
settings  eight int8 settings of resnet20, each with its accuracy on all 10,000 test images and its latency, two processes
olive     Olive 0.13 on the like eight settings, right after `settings`: it needs `PEERS=PYTHON`, of the environment of `bench_peers.py`
          with olive-ai==0.13.0, torchmetrics and requests beside; accuracy counted in batches of 100, and of 1, its default. Processor
          seconds stand beside those of the clock, imports included, since other work changes them least
sizes     bytes over weights × bits / 8 for every width, load time packed and plain
accuracy  drops on the test split with nearest and learned rounding
Run it on an idle machine.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx

from engine.compress.quantization.write import write
from engine.compress.quantize import apply, make_scheme, prepare
from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.graph.graph import load_onnx, open_session, save_onnx
from engine.measure.accuracy import predict
from engine.measure.latency import measure_latency
from engine.spec.sections import LatencyOptions, Model
from engine.spec.steps import Quantize

ROOT = Path(__file__).resolve().parents[2]
DATA = load_fashion_mnist()
# Rounding as every tool does it; what is learned on top is the matter of `accuracy`.
PLAIN: dict[str, object] = {"rounding": "nearest", "equalize": False, "bias_correction": False, "weight_range": "full"}
SHAPE = DATA.input_shape


def exported(name: str, folder: Path) -> Path:
    """The shipped network as an ONNX file; torch is only needed, and only loaded, for the first call."""
    path = folder / f"{name}.onnx"
    if not path.exists():
        from engine.models.export import export_onnx
        from engine.models.sources import load_network

        save_onnx(export_onnx(load_network(Model(source=name), DATA).module, SHAPE), path)
    return path


def calibration(n: int) -> np.ndarray:
    return DATA.preprocessing(DATA.calibration.inputs[:n])


def points(path: Path) -> float:
    """Per cent right of the 10,000 test images."""
    return 100 * float(
        (predict(path, DATA.test, DATA.preprocessing, len(DATA.classes)).predicted == DATA.test.labels).mean()
    )


def peak_mib() -> float:
    """This process's high-water mark; getrusage would carry over its parent's."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def timed_ptq(path: str) -> tuple[float, float, float]:
    """Wall seconds and CPU seconds of one int8 quantization, and the peak resident MiB of its process, data set included."""
    images = calibration(512)
    wall, cpu = time.perf_counter(), time.process_time()
    save_onnx(
        apply(
            Quantize(weight_bits=8, activation_bits=8, calibration_samples=512, calibration="percentile", **PLAIN),
            load_onnx(Path(path)),
            images,
        ),
        Path(path + ".q"),
    )
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall, cpu, peak_mib()


def speed(folder: Path) -> None:
    path = str(exported("resnet20", folder))
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        wall, cpu, mib = pool.apply(timed_ptq, (path,))
    print(f"int8 of resnet20, 512 calibration images: {wall:.2f} s wall, {cpu:.2f} s CPU, {mib:.0f} MiB at the peak")


def spent() -> float:
    """Processor seconds of all processes that have ended, and of this one."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF))


def one_setting(task: tuple[str, str, dict[str, object]]) -> float:
    """Quantize and count; the percentage of the test split."""
    source, target, options = task
    step = Quantize(weight_bits=8, activation_bits=8, calibration_samples=512, **PLAIN | options)
    save_onnx(apply(step, load_onnx(Path(source)), calibration(512)), Path(target))
    return points(Path(target))


def settings(folder: Path) -> None:
    source = exported("resnet20", folder)
    started, cpu = time.perf_counter(), spent()
    options = [
        {"calibration": c, "per_channel": p, "format": f}
        for c, p, f in itertools.product(("minmax", "percentile"), (True, False), ("u8s8", "u8u8"))
    ]
    tasks = [(str(source), str(folder / f"setting{i}.onnx"), o) for i, o in enumerate(options)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        accuracies = pool.map(one_setting, tasks, chunksize=1)
        pool.close()
        pool.join()
    quantized, cpu = time.perf_counter() - started, spent() - cpu
    # Alone on the machine, each in turns with the float network.
    for (_, target, option), accuracy in zip(tasks, accuracies, strict=True):
        result = measure_latency(Path(target), source, SHAPE, LatencyOptions())
        name = f"{option['calibration']:10} {'per channel' if option['per_channel'] else 'per tensor ':11} {option['format']}"
        print(f"{name}  {accuracy:.2f} %  {result.latency_ms.p50:.3f} ms  {result.latency_ratio.value:.2f}× float's")
    whole, before = time.perf_counter() - started, f"{quantized:.1f} s ({cpu:.1f} s CPU) before latency"
    print(f"eight settings: {whole:.1f} s, of which {before}; float {points(source):.2f} %")


def olive(folder: Path) -> None:
    """The peer's search, in turns with nothing: one process after the other on the same arrays."""
    python = os.environ.get("PEERS")
    if not python:
        print("olive: left out; set PEERS to a Python that has olive-ai==0.13.0")
        return
    source, arrays = exported("resnet20", folder), folder / "arrays.npz"
    images = DATA.preprocessing(DATA.test.inputs)
    np.savez(arrays, calibration=calibration(512), images=images, labels=DATA.test.labels.astype(np.int64))
    for batch in (100, 1):
        out = folder / f"olive{batch}"
        out.mkdir()
        cpu = spent()
        done = subprocess.run(
            [python, str(ROOT / "tests" / "helpers" / "peer_olive.py"), str(source), str(arrays), str(out), str(batch)],
            check=True, capture_output=True, text=True, env={**os.environ, "OLIVE_DISABLE_TELEMETRY": "1"},
        )  # fmt: skip
        print(f"Olive, batches of {batch}: {done.stdout.strip().splitlines()[-1]} s ({spent() - cpu:.1f} s CPU)")


def load_ms(model: onnx.ModelProto) -> float:
    """Median of five session creations on one thread."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        open_session(model)
        times.append((time.perf_counter() - start) * 1e3)
    return sorted(times)[2]


def sizes(folder: Path) -> None:
    for name in ("resnet8", "resnet20", "mobilenet_v2"):
        model = prepare(load_onnx(exported(name, folder)))
        for activation_bits in (8, 32):
            for bits in (2, 3, 4, 5, 6, 7, 8):
                scheme = make_scheme(
                    Quantize(weight_bits=bits, activation_bits=activation_bits), model, calibration(32)
                )
                ideal = sum(c.codes.size * c.bits for c in scheme.weights.values()) / 8
                packed, plain = write(scheme), write(scheme, packed=False)
                images = calibration(50)
                same = all(
                    np.array_equal(a, b)
                    for a, b in zip(
                        *(open_session(m).run(None, {"input": images}) for m in (packed, plain)), strict=True
                    )
                )
                over = packed.ByteSize() / ideal - 1
                print(
                    f"{name:12} w{bits}a{activation_bits:<2} {packed.ByteSize():7} bytes, {over:5.1%} over weights × bits; "
                    f"load {load_ms(packed):3.0f} ms, plain {load_ms(plain):3.0f} ms; outputs {'the same' if same else 'DIFFERENT'}"
                )


def accuracy(folder: Path) -> None:
    for name in ("resnet8", "resnet20", "mobilenet_v2"):
        source = exported(name, folder)
        whole = points(source)
        print(f"{name:12} float {whole:.2f} %")
        for options in (
            {"weight_bits": 8},
            {"weight_bits": 8, "weight_range": "safe"},
            {"weight_bits": 8, **PLAIN},
            {"weight_bits": 8, "per_channel": False},
            {"weight_bits": 8, "per_channel": False, **PLAIN},
            {"weight_bits": 4},
            {"weight_bits": 4, **PLAIN},
            {"weight_bits": 4, "rounding": "nearest"},
            {"weight_bits": 3},
        ):
            target = folder / "candidate.onnx"
            start = time.perf_counter()
            step = Quantize(activation_bits=8, calibration_samples=512, **options)
            save_onnx(apply(step, load_onnx(source), calibration(512)), target)
            seconds = time.perf_counter() - start
            found = points(target)
            print(
                f"  {options}: {found:.2f} %, drop {whole - found:+.2f}, {target.stat().st_size} bytes, {seconds:.1f} s"
            )


def main() -> None:
    sections = {f.__name__: f for f in (speed, settings, olive, sizes, accuracy)}
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or sections:
            sections[name](Path(folder))


if __name__ == "__main__":
    main()
