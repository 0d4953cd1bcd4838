"""Low and high sounds in class folders, and a network that tells them apart by which mel bands are louder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from scipy.io import wavfile

RATE, BANDS, FRAMES = 8000, 20, 38
STATED = {"rate": RATE, "window": 0.4, "log_mel": BANDS}
RNG = np.random.default_rng(0)


def sine(hz: float, seconds: float = 0.5, rate: int = RATE) -> np.ndarray:
    at = np.arange(round(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * hz * at) + 0.01 * RNG.standard_normal(len(at))).astype(np.float32)


def sound_folders(root: Path, n: int = 20) -> Path:
    """Class folders `low` and `high`, so many of each."""
    for i in range(2 * n):
        at = root / ("low", "high")[i % 2]
        at.mkdir(parents=True, exist_ok=True)
        wavfile.write(at / f"{i}.wav", RATE, sine((300, 2000)[i % 2]))
    return root


def louder_net(path: Path) -> Path:
    """Logits of (high, low) for mel bands as they are stored."""
    louder = np.zeros((BANDS, FRAMES, 2), np.float32)
    louder[10:, :, 0] = louder[:10, :, 1] = 0.01
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["mels"], ["flat"]), helper.make_node("MatMul", ["flat", "w"], ["scores"])],
        "louder",
        [helper.make_tensor_value_info("mels", TensorProto.FLOAT, ["N", 1, BANDS, FRAMES])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(louder.reshape(-1, 2), "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path
