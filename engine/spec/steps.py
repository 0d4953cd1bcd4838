"""The steps that recipes are made of: frozen, options checked, without torch: command line and browser check before any work starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from engine.spec.frozen import Frozen
from engine.spec.runtime import Runtime
from engine.spec.torch_steps import CURRENT, PARTS, SELF, Distill, Finetune, Prune

__all__ = [
    "CURRENT", "FAMILIES", "PARTS", "SELF", "TORCH_STEPS", "Distill", "Finetune", "Imported", "LayerBits", "Prune", "Quantize", "Step",
    "TorchStep", "needs_labels", "usual_qat_rate",
]  # fmt: skip


LayerBits = tuple[tuple[str, Annotated[int, Field(ge=2, le=32)]], ...]
_QAT_KNOBS = ("epochs", "learning_rate", "samples")
# At 7 and 8 bits rounding has left little to learn, and the rate of fewer bits only moves the network away from what it was:
# resnet8 at w8a8 answers like the float one on 98.9 % of test images after 0.01, on 99.6 % after 0.001.
_QAT_RATE, _QAT_RATE_7_BITS = 0.01, 0.001


def usual_qat_rate(weight_bits: object) -> float:
    """The learning rate of training in low precision where nobody states one; `weight_bits` as given, of any type."""
    return _QAT_RATE_7_BITS if weight_bits in (7, 8) else _QAT_RATE


_USUAL_OF_METHOD: dict[str, dict[str, int]] = {
    "dynamic": {"weight_bits": 8, "activation_bits": 8},
    "block": {"weight_bits": 4, "activation_bits": 32, "block_size": 32, "accuracy_level": 4},
}


class Quantize(Frozen):
    """Store weights, and compute activations, in fewer bits.

    activation_bits 4 to 8 give a network of integer kernels, calibrated on real images; 16 rounds activations to 16 bits and computes in
    float; 32 touches weights only: 2 to 8 bits per weight, or 16 for fp16, with `compute: float16` in use, too. `format` is the type of
    activations and weights in integer kernels (`u8s8`: unsigned × signed). `symmetric` concerns weights. `ends_8bit` keeps the first and
    last layer at 8 bits (default: below 4 bits). `method: qat` trains on with the rounding in place, step sizes included, for `epochs`;
    what training made worse on validation images stays as it was before. `method: dynamic` multiplies matrices in integers that are
    rounded as the network runs, for transformers and recurrent networks; convolutions compute in floats. `method: block` stores matrices
    of 4 or 8 bits with one scale for each `block_size` inputs, which ONNX Runtime multiplies as they are; `accuracy_level` is its
    kernels': 0 and 1 compute in floats, 4 in 8-bit integers.

    `auto` is the best that is known at the step's price, and the trial says what it was. `weight_range`: `safe` keeps 8-bit weights of
    integer kernels in 7 bits, which no CPU's sums overflow with; `full` uses all 8; auto is what the measuring machine computes exactly.
    `rounding`: learned in integer networks, or to the nearest where one has operators that learning does not know. `bias_correction`: of
    integer networks. `equalize`: with one scale per layer, where it brings answers on calibration images closer; `smooth`, in integer
    networks with LayerNormalization, moves ranges from activations to weights (SmoothQuant), 0 not at all, as strongly as brings answers
    closest. `calibration`: tensor by tensor, the range that changes least of what is computed from it.

    Mixed precision: with `mean_bits` every layer gets 2 to `weight_bits` bits, on average (over weights) no more than so many; with
    `max_latency`, a share of the float network's time, the layers that lose most stay in float as long as the time allows; with
    `float_layers` so many of them do, with `max_drop` as few as keep the metric, on validation samples, within so much of the network
    before (its own unit; points of accuracy), those of most harm for their measured time if `cheapest`; `layers` states bits (32: float).
    Where none of these is stated, integer networks of 3 or 4 bits with learned rounding share out a twentieth more bits, layer by layer,
    from one bit fewer to 7, by what each does to the answers; `layers: uniform` gives every layer `weight_bits`.
    """

    came_later: ClassVar[frozenset[str]] = frozenset(
        {"smooth", "max_drop", "cheapest", "float_layers", "block_size", "accuracy_level", "compute"}
    )
    step: Literal["quantize"] = "quantize"
    weight_bits: Literal[2, 3, 4, 5, 6, 7, 8, 16]
    activation_bits: Literal[4, 5, 6, 7, 8, 16, 32]
    method: Literal["ptq", "qat", "dynamic", "block"] = "ptq"
    per_channel: bool = True
    symmetric: bool = True
    format: Literal["u8s8", "u8u8", "s8s8"] = "u8s8"
    weight_range: Literal["auto", "full", "safe"] = "auto"
    calibration: Literal["auto", "minmax", "percentile", "entropy", "mse"] = "auto"
    calibration_samples: int = Field(256, ge=1, le=1_000_000)
    equalize: Literal["auto"] | bool = "auto"
    smooth: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] = "auto"
    bias_correction: Literal["auto"] | bool = "auto"
    rounding: Literal["auto", "nearest", "learned"] = "auto"
    ends_8bit: bool | None = None
    mean_bits: float | None = Field(None, ge=2, le=8)
    max_latency: float | None = Field(None, gt=0, le=1)
    max_drop: float | None = Field(None, gt=0)
    cheapest: bool = False
    float_layers: int | None = Field(None, ge=1, le=10_000)
    layers: Literal["uniform"] | LayerBits | None = None
    block_size: Literal[16, 32, 64, 128, 256] | None = None
    accuracy_level: Literal[0, 1, 2, 3, 4] | None = None
    compute: Literal["float16", "bfloat16"] | None = None
    epochs: int | None = Field(None, ge=1, le=1000)
    samples: int | None = Field(None, ge=1)
    learning_rate: float | None = Field(None, gt=0, le=10)

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        filled = dict(value)
        for name, stated in _USUAL_OF_METHOD.get(str(filled.get("method")), {}).items():
            filled[name] = stated if filled.get(name) is None else filled[name]
        if filled.get("method") == "qat":
            usual = {"epochs": 1, "learning_rate": usual_qat_rate(filled.get("weight_bits"))}
            filled |= {k: v for k, v in usual.items() if filled.get(k) is None}
        if isinstance(filled.get("layers"), Mapping):
            filled["layers"] = tuple(sorted(filled["layers"].items()))
        if filled.get("ends_8bit") is None and isinstance(filled.get("weight_bits"), int):
            filled["ends_8bit"] = filled["weight_bits"] < 4
        return filled

    def _beside_compute(self) -> str | None:
        """The first option that is stated and would be passed over by a network that computes in 16 bits."""
        heard = {"weight_bits", "activation_bits", "calibration_samples", "compute", "ends_8bit"}
        fields = type(self).model_fields
        return next((n for n in fields if n not in heard and getattr(self, n) != fields[n].default), None)

    @model_validator(mode="after")
    def _knobs_fit(self) -> Quantize:
        if self.weight_bits == 16 and self.activation_bits != 32:
            raise ValueError("16-bit weights go with activation_bits 32")
        if self.compute == "bfloat16":
            raise ValueError("compute bfloat16: ONNX Runtime has no kernels for it on CPUs (MatMul, Conv); use float16")
        if self.compute is not None and self.weight_bits != 16:
            raise ValueError(f"compute {self.compute} goes with weight_bits 16; this step has {self.weight_bits}")
        if self.compute is not None and (other := self._beside_compute()):
            raise ValueError(
                f"{other} says nothing where every layer computes in {self.compute}; leave one of both out"
            )
        if self.method != "qat":
            for name in _QAT_KNOBS:
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is a knob of method qat; post-training quantization does not train")
        if self.method in _USUAL_OF_METHOD or self.block_size or self.accuracy_level is not None:
            self._fits_dynamic_or_block()
        if self.method == "qat" and (self.activation_bits > 8 or self.weight_bits > 8):
            raise ValueError("method qat is for integer networks; use activation_bits 8 or fewer, and weight_bits too")
        integer = self.activation_bits <= 8
        if not self.symmetric and self.per_channel and integer:
            raise ValueError(
                "ONNX Runtime's integer kernels want one zero point per layer; use per_channel false with symmetric false"
            )
        if not integer and self.weight_range != "auto":
            raise ValueError(
                f"weight_range {self.weight_range} is one of integer kernels; use activation_bits 8 or fewer, or leave it out"
            )
        if not integer and self.format != "u8s8":
            raise ValueError(f"format {self.format} is one of integer kernels; use activation_bits 8 or fewer")
        if not integer and self.smooth not in ("auto", 0):
            raise ValueError(f"smooth {self.smooth:g} is for integer kernels; use activation_bits 8 or fewer")
        if self.mean_bits is not None and self.mean_bits > self.weight_bits:
            raise ValueError(
                f"mean_bits {self.mean_bits:g} is above weight_bits {self.weight_bits}, the most a layer gets"
            )
        choosing = [name for name in ("max_latency", "max_drop", "float_layers") if getattr(self, name) is not None]
        if choosing and (not integer or self.mean_bits is not None or len(choosing) > 1):
            raise ValueError(
                f"{choosing[0]} chooses between integer and float layers; use activation_bits 8, without "
                + " or ".join(["mean_bits", *(choosing[1:])])
            )
        if self.layers == "uniform" and (choosing or self.mean_bits is not None):
            other = [*choosing, "mean_bits"][0]
            raise ValueError(
                f"layers uniform gives every layer weight_bits and {other} does not; leave one of both out"
            )
        if self.cheapest and (self.max_drop is None or self.method != "ptq"):
            raise ValueError("cheapest says which layers max_drop leaves in float; use it with max_drop and method ptq")
        if self.max_drop is not None and self.method == "qat":
            raise ValueError("max_drop is no knob of method qat, which trains; use float_layers, or method ptq")
        return self

    def _fits_dynamic_or_block(self) -> None:
        """Raises ValueError for knobs that these methods do not have, and for theirs where the method is another."""
        stated = [name for name in ("block_size", "accuracy_level") if getattr(self, name) is not None]
        if stated and self.method != "block":
            raise ValueError(f"{stated[0]} is a knob of method block; this one is {self.method}")
        if self.method not in _USUAL_OF_METHOD:
            return
        block, known = self.method == "block", "4 or 8" if self.method == "block" else "2 to 8"
        if self.weight_bits == 16 or (block and self.weight_bits not in (4, 8)):
            raise ValueError(f"weight_bits {self.weight_bits} is not one of method {self.method}; use {known}")
        if self.activation_bits != (usual := _USUAL_OF_METHOD[self.method]["activation_bits"]):
            raise ValueError(f"method {self.method} goes with activation_bits {usual}; leave them out")
        if self.calibration != "auto":
            raise ValueError(f"method {self.method} calibrates no ranges; leave calibration out")
        if self.mean_bits or self.max_latency or (block and (self.max_drop or self.float_layers)):
            names = "mean_bits, max_latency, max_drop and float_layers" if block else "mean_bits and max_latency"
            raise ValueError(f"{names} are no knobs of method {self.method}; use {'max_drop or ' * (not block)}layers")
        if self.method == "dynamic" and self.format == "s8s8":
            raise ValueError("format s8s8 is not one of method dynamic, which rounds data to uint8; use u8s8 or u8u8")
        if block:
            for name, wanted in (("per_channel", True), ("equalize", "auto"), ("bias_correction", "auto")):
                if getattr(self, name) != wanted:
                    raise ValueError(f"{name} is no knob of method block; leave it out")
            if any(n not in (4, 8, 32) for n in self.stated_layers.values()):
                raise ValueError("layers of method block have 4, 8 or 32 bits")

    @property
    def learns_rounding(self) -> bool:
        """Whether weights are rounded as calibration images say, where the network allows it."""
        auto = self.activation_bits <= 8 or self.method == "block"
        return self.rounding == "learned" or (self.rounding == "auto" and auto)

    @property
    def stated_layers(self) -> dict[str, int]:
        """{name of a layer: bits} that the step states."""
        return dict(self.layers) if isinstance(self.layers, tuple) else {}

    @property
    def shares_out_bits(self) -> bool:
        """Whether layers get bits by what fewer of them do to the answers, though the step says nothing of it."""
        silent = (self.mean_bits, self.max_latency, self.max_drop, self.float_layers, self.layers) == (None,) * 5
        integer = self.method == "ptq" and self.activation_bits <= 8 and self.weight_bits in (3, 4)
        return integer and silent and self.learns_rounding

    @property
    def differs_by_layer(self) -> bool:
        """Whether layers may have bits of their own, the ends apart."""
        stated = (self.mean_bits, self.max_latency, self.float_layers, self.stated_layers)
        return any(stated) or self.shares_out_bits

    @property
    def can_overflow(self) -> bool:
        """Whether its kernels multiply unsigned activations by signed weights, of which the sums of 8-bit ones overflow on some CPUs."""
        return self.activation_bits <= 8 and self.format != "u8u8"


# What HTML, Markdown or a terminal's colours would take for theirs.
_MARKUP = frozenset('<>&"`|[]{}*$~^\\')


class Imported(Frozen):
    """Take a file that was made elsewhere as it is; `paretoscope add` writes this step, which is a whole recipe.

    `name` is what its trial is called; `sha256` are the bytes, which lie in the artifact store under that name. Where the file was is not
    kept: it may move, and the same file is the same recipe wherever it came from.
    """

    step: Literal["imported"] = "imported"
    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _name_can_stand_anywhere(self) -> Imported:
        """In tables, in charts and in Markdown, as it is."""
        if not (0 < len(self.name) <= 100 and self.name == self.name.strip() and self.name.isprintable()):
            raise ValueError(
                f"a name has 1 to 100 characters on one line and no space at its ends, but is {self.name[:120]!r}; give another"
            )
        if wrong := sorted(set(self.name) & _MARKUP):
            raise ValueError(f"{' '.join(wrong)} cannot stand in a name, as in {self.name!r}; give one without")
        return self

    @property
    def file(self) -> str:
        """The artifact that holds the bytes as they were added."""
        return self.sha256 + ".onnx"


Step = Annotated[Distill | Prune | Finetune | Quantize | Runtime | Imported, Field(discriminator="step")]


def needs_labels(step: Step, imitates: bool = False) -> bool:
    """Whether a step learns from, or chooses by, labels or targets, and nothing else would do; what `imitates` the baseline needs none."""
    if isinstance(step, Prune):
        return step.importance == "taylor" or step.allocation == "sensitivity"
    return (isinstance(step, Finetune) and not imitates) or (isinstance(step, Distill) and not step.has_teacher)


TorchStep = Distill | Prune | Finetune
TORCH_STEPS = (Distill, Prune, Finetune)
"""Steps on a torch network; all others work on the ONNX graph, after the one export."""
FAMILIES: dict[str, type[Frozen]] = {
    "distill": Distill,
    "prune": Prune,
    "finetune": Finetune,
    "quantize": Quantize,
    "runtime": Runtime,
}
