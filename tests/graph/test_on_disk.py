"""Numbers on disk: read as numpy would index them, refused when the file changes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from engine.errors import DatasetError
from engine.graph.on_disk import OnDisk, opened_npy

X = np.random.default_rng(0).integers(-500, 500, (23, 4, 3), dtype=np.int16)


@pytest.fixture
def disk(tmp_path: Path) -> OnDisk:
    np.save(tmp_path / "x.npy", X)
    return opened_npy(tmp_path / "x.npy", "x.npy")


@pytest.mark.parametrize(
    "chosen",
    [slice(None), slice(3, 9), slice(20, 99), slice(None, None, 5), slice(9, 2, -1), [4, 4, 22, 0], np.array([-1, 5, 6, 7])],
)  # fmt: skip
def test_indexing_reads_what_numpy_would_give(disk: OnDisk, chosen) -> None:
    np.testing.assert_array_equal(disk[chosen], X[chosen])
    assert disk[chosen].dtype == X.dtype
    # Read once it is asked for, and then nobody else's.
    assert disk[chosen].flags.writeable


def test_it_is_measured_as_the_array_is(disk: OnDisk) -> None:
    assert (disk.shape, disk.dtype, disk.ndim, disk.size, disk.nbytes) == (X.shape, X.dtype, 3, X.size, X.nbytes)
    assert len(disk) == 23
    np.testing.assert_array_equal(disk[np.int64(7)], X[7])
    np.testing.assert_array_equal(np.stack(list(disk)), X)
    np.testing.assert_array_equal(np.concatenate(list(disk.chunks(100))), X)
    np.testing.assert_array_equal(np.asarray(disk), X)
    with pytest.raises(IndexError):
        disk[23]


def test_parts_and_views_follow_each_other(disk: OnDisk) -> None:
    order = np.random.default_rng(1).permutation(23)
    seen = disk.part(order).turned(lambda items: items.transpose(0, 2, 1)).part(slice(2, 12)).turned(np.float32)
    expected = X[order].transpose(0, 2, 1)[2:12].astype(np.float32)
    assert (seen.shape, seen.dtype) == ((10, 3, 4), np.float32)
    np.testing.assert_array_equal(seen[:], expected)
    np.testing.assert_array_equal(seen[[3, 1]], expected[[3, 1]])
    assert seen[2:4].flags.c_contiguous


def test_a_file_that_changes_is_refused_and_one_that_is_replaced_stays_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, X)
    os.utime(path, ns=(0, 0))
    disk = opened_npy(path, "x.npy")
    np.save(tmp_path / "other.npy", X + 1)
    (tmp_path / "other.npy").replace(path)
    np.testing.assert_array_equal(disk[:], X)
    disk = opened_npy(path, "x.npy")
    np.save(path, X)  # in its place
    with pytest.raises(DatasetError, match=r"x\.npy was changed while it was in use; leave it alone and run again"):
        disk[0]


def test_what_cannot_be_read_in_parts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.asfortranarray(X))
    with pytest.raises(DatasetError, match=r"^it is in Fortran order, .* save np\.ascontiguousarray"):
        opened_npy(path, "it")
    np.save(path, X)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DatasetError, match="is cut short; save it again"):
        opened_npy(path, "it")
    np.save(path, np.array([None, 1]), allow_pickle=True)
    with pytest.raises(ValueError, match="Object arrays"):
        opened_npy(path, "it")
