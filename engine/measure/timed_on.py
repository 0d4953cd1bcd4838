"""What a file is timed on: noise, or real samples where noise is nothing that it could be given."""

from __future__ import annotations

from pathlib import Path

import onnx

from engine.datasets.dataset import Dataset
from engine.graph.inputs import Feeds, Inputs, Signature, resized


def timed_on(path: Path, data: Dataset, batch: int) -> tuple[int, ...] | Inputs:
    """The shape of noise for a file of one float input; for tokens, pixels in bytes and several inputs, first samples of calibration."""
    taken = Feeds.of_graph(onnx.load_model(path, load_external_data=False)).shape
    shape = data.input_shape
    if isinstance(shape, tuple) and not isinstance(taken, Signature):
        return shape
    found = data.preprocessing(data.calibration.inputs[:batch])
    return resized(found, batch)
