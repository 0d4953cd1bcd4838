"""How an int8 file answers on CPUs of the other kind: its accuracy there, and which layers saturate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import onnx

from engine.errors import StepError
from engine.graph.inputs import Inputs
from engine.measure.emulation import Emulator, runtime_sums
from engine.measure.saturation import LayerSaturation
from engine.quality.statistics import mcnemar_midp


@dataclass(frozen=True)
class Portability:
    """What is to be expected on CPUs whose integer sums are exact (VNNI, AMX, Arm), and on those where they saturate.

    `here`: which of the two this CPU is, tried; its accuracy was measured, the other is emulated or run with kernels that are exact
    everywhere. `risk`: `none`, no pair of weights can saturate, or no kernel would; `unseen`, none did on these images; `harmless`, some
    did, and accuracy is not told apart; `harmful`, accuracy differs (McNemar's mid-p below 0.05). `accuracy` and `saturated_accuracy` are
    shares of `images` test images, with exact and with saturating sums; `flips` change class where sums saturate, `harmed` of them are
    right with exact sums and `helped` with saturating ones. `layers`: shares on calibration images.
    """

    here: Literal["exact", "saturating"]
    risk: Literal["none", "unseen", "harmless", "harmful"]
    images: int
    accuracy: float
    saturated_accuracy: float
    flips: int
    harmed: int
    helped: int
    p_value: float
    layers: tuple[LayerSaturation, ...]


def measure_portability(
    model: onnx.ModelProto,
    calibration: Inputs,
    images: Inputs,
    labels: npt.NDArray[np.int64],
) -> Portability:
    """Run preprocessed images (n, C, H, W) through an int8 file with exact and with saturating sums.

    `calibration` images give the layers' shares, `images` with their labels the accuracies. Raises StepError for a file without integer
    layers, or with some that cannot be emulated, and ModelError for one that the runtime refuses.
    """
    emulator = Emulator(model)
    if not emulator.layers():
        raise StepError("portability: this file has no integer layers, so nothing in it can saturate; int8 files have")
    exact = emulator.exact(images).argmax(1)
    found = emulator.saturating(images).argmax(1)
    emulator.forget()
    emulator.emulated(calibration)
    layers = emulator.layers()
    seen = any(layer.saturated for layer in layers)
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


def _risk(
    layers: Sequence[LayerSaturation], seen: bool, p_value: float
) -> Literal["none", "unseen", "harmless", "harmful"]:
    if not any(layer.possible for layer in layers):
        return "none"
    if not seen:
        return "unseen"
    return "harmful" if p_value < 0.05 else "harmless"
