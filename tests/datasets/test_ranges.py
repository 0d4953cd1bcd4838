"""Splits in other units are refused, doubtful ones noted, and splits that are alike go without a word."""

from __future__ import annotations

import numpy as np
import pytest

from engine.datasets.load import load_dataset
from engine.datasets.ranges import range_notes
from engine.errors import DatasetError
from engine.spec.sections import Data

RNG = np.random.default_rng(0)


def images(n: int = 60, channels: int = 3) -> np.ndarray:
    return RNG.uniform(0, 1, (n, channels, 6, 6)).astype(np.float32)


@pytest.mark.parametrize("split", ["test", "calibration", "validation"])
@pytest.mark.parametrize("factor", [255, 1 / 255, 12])
def test_another_unit_is_refused(split: str, factor: float) -> None:
    with pytest.raises(
        DatasetError, match=rf"^d\.npz: x_{split} ranges over .*, x_train over .*; save both in the same unit$"
    ):
        range_notes("d.npz", {"train": images(), split: images() * np.float32(factor)})


def test_one_channel_in_another_unit_is_enough() -> None:
    other = images() * np.float32([1, 1, 255]).reshape(1, 3, 1, 1)
    with pytest.raises(DatasetError, match="same unit"):
        range_notes("d.npz", {"train": images(), "test": other})


@pytest.mark.parametrize(
    "test",
    [
        images() * 4,  # another exposure
        (images() - 0.5) / 0.29,  # standardised, where the others are not
        2 * images() - 1,  # -1 to 1, where the others are 0 to 1
        images() + 2,
    ],
)
def test_what_may_be_right_is_noted(test: np.ndarray) -> None:
    (note,) = range_notes("d.npz", {"train": images(), "test": test})
    assert note.startswith("x_test ranges over ")
    assert range_notes("d.npz", {"train": test, "test": test[::-1]}) == ()


def test_what_is_alike_is_not_spoken_of() -> None:
    darker = images() * np.float32(0.5)
    blank = np.full((4, 3, 6, 6), 0.5, np.float32)
    assert (
        range_notes("d.npz", {"train": images(), "test": darker, "calibration": blank, "validation": images(20)}) == ()
    )


def test_bytes_are_looked_at_too_and_the_dataset_keeps_the_note(tmp_path) -> None:
    pixels = RNG.integers(0, 256, (40, 8, 8), dtype=np.uint8)
    dark = RNG.integers(0, 50, (20, 8, 8), dtype=np.uint8)
    labels = {"y_train": np.arange(40) % 2, "y_test": np.arange(20) % 2}
    np.savez(tmp_path / "bits.npz", x_train=pixels, x_test=dark // 25, **labels)
    with pytest.raises(DatasetError, match="x_test ranges over 0 to 1 "):
        load_dataset(Data(source=str(tmp_path / "bits.npz")))
    np.savez(tmp_path / "dark.npz", x_train=pixels, x_test=dark, **labels)
    assert [n.partition(" (")[0] for n in load_dataset(Data(source=str(tmp_path / "dark.npz"))).notes] == [
        "x_test ranges over 0 to 49"
    ]
