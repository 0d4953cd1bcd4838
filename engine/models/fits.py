"""Whether an ONNX file and a dataset fit each other, told before any work starts. Never imports torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.datasets.dataset import Dataset
from engine.errors import ModelError
from engine.graph.graph import first_line, fixed_batch, graph_inputs, input_shape, load_onnx, open_session


def check_fits(source: str, data: Dataset) -> None:
    """Raises ModelError unless the file takes images as `data` has them, one and several at a time, and gives a score for each class."""
    model = load_onnx(Path(source))
    _check_shape(source, input_shape(model), data)
    session, name, fixed = open_session(model), graph_inputs(model)[0].name, fixed_batch(model)
    for n in (fixed,) if fixed else (3, 1):
        many = f"{n} images" if n > 1 else "one image"
        try:
            found = session.run(None, {name: np.zeros((n, *data.input_shape), np.float32)})[0].shape
        except Exception as error:  # the runtime's own classes share no base below Exception
            raise ModelError(
                f"model {source} does not run on {many}: {first_line(error)}; export it with a free batch"
            ) from None
        if len(found) != 2 or found[0] != n:
            raise ModelError(
                f"model {source} gives {found} for {many}, not ({n}, {len(data.classes)}); where one image alone differs, something, such "
                "as a Squeeze of all axes, drops its batch: flatten instead, and export again"
            )
        if found[1] != len(data.classes):
            raise ModelError(
                f"model {source} gives {found[1]} scores for an image, but the dataset has {len(data.classes)} classes; "
                "give a model for these classes, or name the classes that it knows under data.classes"
            )


def _check_shape(source: str, taken: tuple[int, int, int], data: Dataset) -> None:
    channels, height, width = data.input_shape
    if taken == data.input_shape:
        return
    if taken == (height, width, channels):
        raise ModelError(
            f"model {source} takes images as (N, {height}, {width}, {channels}), channels last (NHWC), but they come as "
            f"(N, {channels}, {height}, {width}) here; export it with channels first, or put a Transpose with perm [0, 2, 3, 1] before "
            "its input"
        )
    raise ModelError(
        f"model {source} takes images of {'×'.join(map(str, taken))}, but those of {data.name} are {channels}×{height}×{width}; "
        "give a model for such images, or other images"
    )
