"""Sizes of a torch network's states as a spec writes them. Never imports torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from engine.errors import ModelError

BATCH = "N"
"""What a stated size is called that counts samples."""


def stated_sizes(
    source: str, shapes: Mapping[str, Sequence[int | str]], axes: Mapping[str, int], states: Sequence[str]
) -> dict[str, list[int | None]]:
    """`model.state_shapes`, its names looked up in `model.axes`; raises ModelError for what is named nowhere."""
    other = next((name for name in shapes if name not in states), None)
    if other is not None:
        raise ModelError(f"model {source!r}: model.state_shapes names {other!r}, which is no state; correct it")
    used = {size for sizes in shapes.values() for size in sizes if isinstance(size, str) and size != BATCH}
    if unknown := sorted(used - {*axes}):
        raise ModelError(
            f"model {source!r}: a state has size {unknown[0]!r}; write model.axes: {{{unknown[0]}: 64}}, say, or the number"
        )
    if unused := sorted({*axes} - used):
        raise ModelError(
            f"model {source!r}: model.axes names {unused[0]!r}, which is no size of a state; of a torch network other sizes come from the "
            "data: leave it out"
        )
    found: dict[str, list[int | None]] = {}
    for name, sizes in shapes.items():
        found[name] = [None if s == BATCH else axes[s] if isinstance(s, str) else s for s in sizes]
        if found[name].count(None) != 1:
            raise ModelError(
                f"model {source!r}: state {name!r} is {list(sizes)}; one of its axes counts samples: write {BATCH} there, once"
            )
    return found
