"""Recorded prompts with pauses and noise, and in which of their chunks of 32 ms somebody speaks; Silero's voice detector over whole clips.

The folder of recordings (.wav, PCM of 16 bits) is that of the environment's SPOKEN_PROMPTS.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from scipy.io import wavfile
from scipy.signal import resample_poly

RATE, CHUNK, CONTEXT, CHUNKS = 16000, 512, 64, 96
SPLITS = {"train": 24, "calibration": 64, "val": 64, "test": 200}


def clips(n: int, seed: int, files: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """(n, 96, 576) chunks behind the last 4 ms of those before them, and (n, 96): 1 where the recording is louder than 2 % of its peak.

    Prompts of two seconds at most, 0.2 to 1.4 seconds between them; noise falls with frequency, 3 to 20 dB below the speech.
    """
    rng, length = np.random.default_rng(seed), CHUNKS * CHUNK
    x, y = np.zeros((n, CHUNKS, CONTEXT + CHUNK), np.float32), np.zeros((n, CHUNKS), np.float32)
    for i in range(n):
        clean, at = np.zeros(length + 2 * RATE, np.float32), int(rng.uniform(0, 0.8) * RATE)
        while at < length:
            rate, recorded = wavfile.read(files[rng.integers(len(files))])
            spoken = resample_poly(recorded.astype(np.float32) / 32768, RATE, rate)[: 2 * RATE]
            clean[at : at + len(spoken)] += spoken
            at += len(spoken) + int(rng.uniform(0.2, 1.4) * RATE)
        clean = clean[:length] * rng.uniform(0.3, 1.0)
        y[i] = np.abs(clean.reshape(CHUNKS, CHUNK)).max(1) > 0.02 * clean.max()
        spectrum = np.fft.rfft(rng.standard_normal(length)) / np.sqrt(np.maximum(np.arange(length // 2 + 1), 8))
        noise = np.fft.irfft(spectrum, length)
        speech = np.sqrt(np.square(clean[np.repeat(y[i] > 0, CHUNK)]).mean())
        heard = clean + noise / noise.std() * speech * 10 ** (-rng.uniform(3, 20) / 20)
        heard = np.concatenate([np.zeros(CONTEXT), heard])
        x[i] = [heard[t * CHUNK : (t + 1) * CHUNK + CONTEXT] for t in range(CHUNKS)]
    return x, y


def load() -> dict[str, np.ndarray]:
    """Arrays of a sweep; prompts of the test split are in no other."""
    files = sorted(Path(os.environ["SPOKEN_PROMPTS"]).rglob("*.wav"))
    found = {}
    for seed, (split, n) in enumerate(SPLITS.items()):
        found[f"x_{split}"], found[f"y_{split}"] = clips(n, seed, files[1::2] if split == "test" else files[::2])
    return found


def right(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The share of its chunks that each clip has right, speech being more than a half."""
    return ((outputs.reshape(targets.shape) > 0.5) == (targets > 0.5)).mean(1)


def over_clips(source: Path) -> onnx.ModelProto:
    """silero_vad_16k_sequence.onnx, (chunks, 576) of one clip, as (clips, chunks, 576) -> (clips, chunks), states h and c in and out.

    Chunks become rows, and before the LSTM steps of clips again; its weights, and every other node, are as they were.
    """
    model = onnx.load(source)
    graph, axes = model.graph, {"input": ("clips", "chunks", 576), "speech_probs": ("clips", "chunks")}
    for value in (*graph.input, *graph.output):
        shape = axes.get(value.name, (1, "clips", 128))
        value.CopyFrom(helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, shape))
    numbers = {"rows": [-1, 576], "wide": [128], "start": [0], "end": [2], "flat": [0, -1]}
    graph.initializer.extend(numpy_helper.from_array(np.array(v, np.int64), f"clips/{k}") for k, v in numbers.items())
    nodes = []
    for node in graph.node:
        if node.op_type == "Pad":
            nodes.append(helper.make_node("Reshape", ["input", "clips/rows"], ["clips/chunks"]))
            node.input[0] = "clips/chunks"
        elif node.op_type == "LSTM":
            nodes += [
                helper.make_node("Shape", ["input"], ["clips/shape"]),
                helper.make_node("Slice", ["clips/shape", "clips/start", "clips/end"], ["clips/first"]),
                helper.make_node("Concat", ["clips/first", "clips/wide"], ["clips/steps"], axis=0),
                helper.make_node("Reshape", [node.input[0], "clips/steps"], ["clips/heard"]),
                helper.make_node("Transpose", ["clips/heard"], ["clips/turned"], perm=[1, 0, 2]),
            ]
            node.input[0] = "clips/turned"
        elif "speech_probs" in node.output:
            node.input[1] = "clips/flat"
        nodes.append(onnx.NodeProto.FromString(node.SerializeToString()))
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    return model


def chunk_by_chunk(source: Path, x: np.ndarray) -> np.ndarray:
    """What silero_vad.onnx says of clips as it is used: one chunk a call, its state fed back."""
    import onnxruntime

    found, state = onnxruntime.InferenceSession(source), np.zeros((2, len(x), 128), np.float32)
    said = []
    for t in range(x.shape[1]):
        one, state = found.run(None, {"input": x[:, t], "state": state, "sr": np.array(RATE)})
        said.append(one[:, 0])
    return np.stack(said, axis=1)
