"""The embedded series: whole, split by writers, and read as a series."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.datasets import pen_digits
from engine.datasets.load import dataset_checksum, load_dataset
from engine.errors import DatasetError
from engine.spec.sections import Data


def test_it_is_all_there_and_no_picture():
    data = load_dataset(Data(source="pen_digits"))
    assert [len(s) for s in (data.train, data.calibration, data.validation, data.test)] == [5996, 749, 749, 3498]
    assert (data.name, data.input_shape, data.classes) == ("pen_digits", (2, 8), tuple("0123456789"))
    assert not data.is_images
    assert data.notes == ()
    # As its authors count them (pendigits.names): digits of the 14 writers of the test.
    assert np.bincount(data.test.labels).tolist() == [363, 364, 364, 336, 364, 335, 336, 364, 336, 336]
    assert (int(data.train.array.min()), int(data.train.array.max())) == (0, 100)


def test_a_changed_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    damaged = tmp_path / "pen_digits.npz"
    damaged.write_bytes(pen_digits.PEN_DIGITS.read_bytes()[:-1])
    monkeypatch.setattr(pen_digits, "PEN_DIGITS", damaged)
    with pytest.raises(DatasetError, match=r"wrong checksum .* restore it from a fresh clone"):
        dataset_checksum(Data(source="pen_digits"))
    damaged.unlink()
    with pytest.raises(DatasetError, match=r"git checkout -- data/pen_digits.npz"):
        dataset_checksum(Data(source="pen_digits"))


def test_a_name_that_is_nearly_right_is_suggested():
    with pytest.raises(DatasetError, match=r"'pendigits' is not known; did you mean 'pen_digits'\?"):
        load_dataset(Data(source="pendigits"))
