"""Why a network does not fit a device in a word or two, for a cell: `float`, `flash 2.1×`, `RAM 1.4×`, `no Softmax`.

Read off the sentence of `obstacles.obstacle`, which is what trials keep.
"""

from __future__ import annotations

import re

_BITS = re.compile(r"computes? in (float|\d+ bits)")
_OPERATORS = re.compile(r"because it has no (.+)$")
_MEMORY = re.compile(r"([\d,]+) bytes of .* exceed its (flash|RAM) of ([\d,]+) KiB")


def short_reason(reason: str) -> str:
    """`float` or `16 bits` that the device does not compute in, the operator that it lacks (`+2` where it is not the only one), or how many
    times its flash or RAM the network needs; `does not fit` for any other sentence.
    """
    if found := _MEMORY.search(reason):
        needed, has = (float(found[i].replace(",", "")) for i in (1, 3))
        times = needed / (has * 1024) if has else 0.0
        # Just too large is not the same size.
        return f"{found[2]} {times:.1f}×" if times >= 1.05 else f"{found[2]} {max(times, 1.001):.3f}×"
    if found := _OPERATORS.search(reason):
        first, *others = found[1].split(", ")
        return f"no {first}{f' +{len(others)}' if others else ''}"
    if found := _BITS.search(reason):
        return found[1]
    return "does not fit"
