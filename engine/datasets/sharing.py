"""Which items of a source become train, calibration, validation and test, where the source does not say; the same ones every time."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from engine.datasets.items import ALL, SPLITS, Chosen, Gathered, Hashes, Labels
from engine.datasets.splits import CALIBRATION_IMAGES, SPLIT_SEED, UNLABELLED, VALIDATION_IMAGES, carved
from engine.errors import DatasetError

TEST_SHARE = 0.2
MIN_TRAIN_ITEMS = 20
"""Fewer leave nothing to calibrate on and to validate with once the splits are carved."""
MIN_UNLABELLED_ITEMS = 8
MOST_SHARED = 0.01
"""Splits of a user's own may share so many of their items."""

Shares = dict[str, tuple[str, Chosen | None]]
"""Split -> the part of the source that it is taken from, and which of it, None for all."""


def shared_out(source: str, found: Gathered, labels: Mapping[str, Labels]) -> tuple[Shares, tuple[str, ...]]:
    """Which items each split has, and what was decided. Raises DatasetError for too few, and for splits that share items."""
    hashes = {split: found.items[split].hashes() for split in (ALL, *SPLITS) if split in found.items}
    check_disjoint(source, hashes, {split: names[0] for split, names in found.called.items()})
    given: Shares = {split: (split, None) for split in found.items if split not in (ALL, "train")}
    pool = ALL if ALL in found.items else "train"
    n = len(found.items[pool])
    what = found.called[pool][0]
    if not found.is_labelled:
        _check_enough(source, sum(map(len, found.items.values())), MIN_UNLABELLED_ITEMS, "items without labels")
        _check_enough(f"{source}: {what}", n, MIN_UNLABELLED_ITEMS // 2, "items")
        drawn = {s: c for s, c in _unlabelled(n, "test" not in given).items() if s not in given}
        shares: Shares = {split: (pool, chosen) for split, chosen in drawn.items()} | given
        if {"calibration", "validation", "test"} <= given.keys():
            return {"train": (pool, None)} | given, ()
        counts = ", ".join(f"{len(chosen)} {split}" for split, chosen in drawn.items())
        return shares, (f"{found.name}: {n} items of {what} without labels are shared out by a fixed draw: {counts}",)
    notes: tuple[str, ...] = ()
    rest: Chosen | None = None
    if "test" not in given:
        test, rest = _test_of(labels[pool], hashes[pool], f"{source}: {what}")
        given["test"] = (pool, test)
        by = "by class, " if labels[pool].min() != UNLABELLED else ""
        notes = (f"{found.name} has no test: {len(test)} of {n} items of {what} are kept for it, {by}by a fixed draw",)
    left = n if rest is None else len(rest)
    needed = f"{source}: {what}" if rest is None else f"{source}: {what} without the {n - left} items of the test"
    _check_enough(needed, left, MIN_TRAIN_ITEMS, "items")
    train, calibration, validation = carved(left) if rest is None else (rest[part] for part in carved(left))
    shares = {"train": (pool, train), "calibration": (pool, calibration), "validation": (pool, validation)} | given
    if {"calibration", "validation"} <= given.keys():
        # Nothing is carved out of the training items, whose own order then stays.
        shares["train"] = (pool, rest)
    return shares, notes


def _check_enough(where: str, n: int, least: int, what: str) -> None:
    if n < least:
        raise DatasetError(f"{where} has {n} {what}; at least {least} are needed")


def _unlabelled(n: int, with_test: bool) -> dict[str, Chosen]:
    """Of n items without labels: half calibrates, a tenth each trains and validates, the others are the test's.

    Where the test is given, the others train. Few, since without labels most of what people do is quantization after training, which reads
    calibration and train alone.
    """
    order = np.random.default_rng(SPLIT_SEED).permutation(n)
    calibration = min(CALIBRATION_IMAGES, n // 2)
    validation = min(VALIDATION_IMAGES, max(1, n // 10))
    train = max(1, n // 10) if with_test else n - calibration - validation
    parts = np.split(order, np.cumsum([calibration, validation, train]))
    return dict(zip(("calibration", "validation", "train", "test"), parts[: 4 if with_test else 3], strict=with_test))


def _test_of(labels: Labels, hashes: Hashes, where: str) -> tuple[Chosen, Chosen]:
    """A fifth of each class for the test, and the rest, both in a random order; the same item twice is on one side."""
    _, first, group = np.unique(hashes, return_index=True, return_inverse=True)
    classes = labels[first]
    random = np.random.default_rng(SPLIT_SEED)
    chosen = []
    for number in np.unique(classes):
        members = random.permutation(np.flatnonzero(classes == number))
        if len(members) > 1:
            chosen.append(members[: max(1, round(TEST_SHARE * len(members)))])
    if not chosen:
        raise DatasetError(f"{where} has one item of each class, so none can be kept for a test; give more, or a test")
    order = random.permutation(len(labels))
    in_test = np.isin(group, np.concatenate(chosen))[order]
    return order[in_test], order[~in_test]


def check_disjoint(source: str, hashes: Mapping[str, Hashes], called: Mapping[str, str]) -> None:
    """Refuse splits that share items: what was chosen or trained on one would be reported on the other.

    Up to 1 % is let pass, since large collections do hold some image twice. Raises DatasetError.
    """
    for a, b in combinations(hashes, 2):
        shared = int(np.isin(hashes[b], hashes[a]).sum())
        if shared > MOST_SHARED * len(hashes[b]):
            raise DatasetError(
                f"{source}: {shared} of {len(hashes[b])} items of {called[b]} are also in {called[a]}; splits must be disjoint, or choices "
                "would be reported on items that they were made on: remove them from one"
            )
