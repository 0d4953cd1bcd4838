"""How an int8 file answers on CPUs of the other kind: its accuracy there, and which layers saturate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx

from engine.errors import StepError
from engine.graph.graph import open_session
from engine.graph.inputs import Feeds, Inputs, resized
from engine.graph.outputs import Layout, Parts, share_apart
from engine.graph.states import counted
from engine.measure.emulation import Emulator, runtime_sums
from engine.measure.saturation import LayerSaturation
from engine.quality.statistics import mcnemar_midp

HARMFUL_SHARE = 0.01
"""Outputs that are no classes are another network's when they are off by more than this share of how they vary."""


@dataclass(frozen=True)
class Portability:
    """What is to be expected on CPUs whose integer sums are exact (VNNI, AMX, Arm), and on those where they saturate.

    `here`: which of the two this CPU is, tried; its accuracy was measured, the other is emulated or run with kernels that are exact
    everywhere. `risk`: `none`, no pair of weights can saturate, or no kernel would; `unseen`, none did on these images; `harmless`, some
    did, and accuracy is not told apart; `harmful`, accuracy differs (McNemar's mid-p below 0.05). `accuracy` and `saturated_accuracy` are
    shares of `images` test images, with exact and with saturating sums; `flips` change class where sums saturate, `harmed` of them are
    right with exact sums and `helped` with saturating ones. `layers`: shares on calibration images.

    Without labels there are no accuracies, and of values no flips either: `relative_error` is then how far outputs with saturating sums are
    from those with exact ones, as a share of how these vary, and `harmful` above `HARMFUL_SHARE`.
    """

    here: Literal["exact", "saturating"]
    risk: Literal["none", "unseen", "harmless", "harmful"]
    images: int
    accuracy: float | None
    saturated_accuracy: float | None
    flips: int | None
    harmed: int | None
    helped: int | None
    p_value: float | None
    layers: tuple[LayerSaturation, ...]
    relative_error: float | None = None


def measure_portability(
    model: onnx.ModelProto,
    calibration: Inputs,
    images: Inputs,
    labels: npt.NDArray[np.int64],
    classes: bool = True,
) -> Portability:
    """Run preprocessed images (n, C, H, W) through an int8 file with exact and with saturating sums.

    `calibration` images give the layers' shares, `images` with their labels the accuracies; labels below 0 are not known, and
    outputs may be values, not scores of `classes`. Raises StepError for a file without integer
    layers, or with some that cannot be emulated, and ModelError for one that the runtime refuses.
    """
    emulator = Emulator(model)
    if not emulator.layers():
        raise StepError("portability: this file has no integer layers, so nothing in it can saturate; int8 files have")
    parts = _parts(model, images) if not classes else ()
    exact, found = emulator.exact(images), emulator.saturating(images)
    emulator.forget()
    emulator.emulated(calibration)
    layers = emulator.layers()
    seen = any(layer.saturated for layer in layers)
    changed = bool((exact.argmax(1) != found.argmax(1)).any()) if classes else not np.array_equal(exact, found)
    if not classes or (labels < 0).any():
        off = share_apart(found, exact, parts)
        return Portability(
            here=runtime_sums(),
            risk=_risk(layers, seen or changed, 0.0 if off > HARMFUL_SHARE else 1.0),
            images=len(exact),
            accuracy=None,
            saturated_accuracy=None,
            flips=int((exact.argmax(1) != found.argmax(1)).sum()) if classes else None,
            harmed=None,
            helped=None,
            p_value=None,
            layers=layers,
            relative_error=off,
        )
    exact, found = exact.argmax(1), found.argmax(1)
    right, still = exact == labels, found == labels
    p_value = mcnemar_midp(right, still)
    return Portability(
        here=runtime_sums(),
        risk=_risk(layers, seen or bool((exact != found).any()), p_value),
        images=len(labels),
        accuracy=float(right.mean()),
        saturated_accuracy=float(still.mean()),
        flips=int((exact != found).sum()),
        harmed=int((right & ~still).sum()),
        helped=int((~right & still).sum()),
        p_value=p_value,
        layers=layers,
    )


def _parts(model: onnx.ModelProto, images: Inputs) -> Parts:
    """Names and widths of several outputs; empty for one."""
    feeds, names = Feeds.of_graph(model), counted(model)
    if len(names) < 2:
        return ()
    return Layout.of(names, open_session(model).run(names, feeds(resized(images[:1], feeds.batch or 1)))).parts


def _risk(
    layers: Sequence[LayerSaturation], seen: bool, p_value: float
) -> Literal["none", "unseen", "harmless", "harmful"]:
    if not any(layer.possible for layer in layers):
        return "none"
    if not seen:
        return "unseen"
    return "harmful" if p_value < 0.05 else "harmless"
