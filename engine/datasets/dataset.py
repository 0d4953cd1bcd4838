"""Datasets: four disjoint splits of (inputs, labels), their preprocessing and a checksum.

Pixels stay as they are stored (uint8 where possible); `Preprocessing` turns them into what a network reads, the same way in
training, in measurement and in the exported bundle.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydantic import JsonValue

from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.graph.inputs import Shape, is_array, shape_of
from engine.spec.metric import Task


@dataclass(frozen=True)
class Dataset:
    """Disjoint splits; `test` is for reporting only. `checksum` is the SHA-256 of all that the splits were made from.

    `notes`: what every trial is to say of the data. Where the task is not to tell classes apart there are none, and no labels.
    `constants`: inputs of the network that are the same for every sample, by name; `only`: the name of the one input that is not, where the
    spec says it. `sounds`: how sounds became what is stored (`audio.py`), empty where items are none.
    """

    name: str
    checksum: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    train: Split
    calibration: Split
    validation: Split
    test: Split
    notes: tuple[str, ...] = ()
    task: Task = "classification"
    constants: Mapping[str, JsonValue] = field(default_factory=dict)
    only: str | None = None
    sounds: Mapping[str, Any] = field(default_factory=dict)

    def calibrating(self, n: int) -> Split:
        """The first n images to read ranges from and to learn rounding on: of `calibration`, and of `train` where there are not so many.

        Neither is looked at to choose or to report, so that nothing is lost where a small set has few images for calibration alone.
        """
        missing = n - len(self.calibration)
        return self.calibration.head(n) if missing <= 0 else self.calibration.followed_by(self.train.head(missing))

    @property
    def has_classes(self) -> bool:
        """Whether outputs are scores of classes, (n, classes), whether or not anybody told which are right."""
        return self.task == "classification"

    @property
    def target_width(self) -> int:
        """How many numbers an answer has that fits the targets: one a class, or those of a target; 0 where nobody knows."""
        if self.has_classes:
            return len(self.classes)
        return 0 if self.train.targets is None else int(np.prod(self.train.targets.shape[1:], dtype=np.int64))

    @property
    def is_images(self) -> bool:
        """Whether an item is a picture: (1 to 4 channels, height, width) as stored."""
        if self.sounds or not is_array(self.train.inputs):
            return False
        shape = self.train.inputs.shape[1:]
        return len(shape) == 3 and shape[0] <= 4 and min(shape[1:]) > 1

    @property
    def input_shape(self) -> Shape:
        """Of one item as the network reads it: (channels, height, width) of an image, (numbers,) of a vector, of floats; else a
        signature.
        """
        return shape_of(self.preprocessing(self.train.inputs[:1]))
