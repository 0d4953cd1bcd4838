"""What predict.py reads of a file that holds several inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.export.predict_template import BundleError, read_inputs

SETTINGS = {"inputs": [{"name": "input_ids", "array": "ids"}, {"name": "mask", "array": "mask"}]}
IDS, MASK = np.arange(12).reshape(3, 4), np.ones((3, 4), np.int64)


@pytest.mark.parametrize("form", ["{array}_test", "test_{array}", "test/{array}", "{array}", "inputs/{name}"])
def test_several_inputs_are_read_from_data_and_from_the_bundles_own_sample(tmp_path: Path, form: str) -> None:
    arrays = {form.format(array="ids", name="input_ids"): IDS, form.format(array="mask", name="mask"): MASK}
    np.savez(tmp_path / "d.npz", **arrays)
    found = read_inputs(tmp_path / "d.npz", SETTINGS)
    np.testing.assert_array_equal(found["input_ids"], IDS)
    np.testing.assert_array_equal(found["mask"], MASK)


def test_an_input_that_is_missing_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", ids=IDS)
    with pytest.raises(BundleError, match=r"^d\.npz has no array mask_test or mask \(it has ids\)$"):
        read_inputs(tmp_path / "d.npz", SETTINGS)
