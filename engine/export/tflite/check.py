"""The file held against the graph that it is made of: TensorFlow Lite's interpreter against ONNX Runtime, sample by sample, in steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import ModelError
from engine.export.tflite.convert import Converted, as_fed
from engine.export.tflite.flat import interpreters

Array = npt.NDArray[Any]

LEAST_SAME = 0.98
"""Share of the samples whose class must be the same; one sample may differ however few there are. Near ties fall otherwise where logits
have 256 values; a weight in the wrong place leaves far fewer."""
MOST_STEPS = 2.0
"""Mean distance of an output's codes from the graph's answer in the same steps: roundings add up over the layers, and mistakes to more."""


@dataclass(frozen=True)
class OutputAgreement:
    """Distance of an output from the graph's, in steps of its scale, over samples and numbers; `beyond` of these are outside its range."""

    name: str
    most_steps: int
    mean_steps: float
    beyond: int


@dataclass(frozen=True)
class Agreement:
    """How a file answered: `same` of `samples` have the graph's class (None where there are no classes), and how far each output is off.

    `right`: of labelled samples, those that the graph and the file got right. `codes`: the file's first output, (samples, …).
    """

    samples: int
    outputs: tuple[OutputAgreement, ...]
    same: int | None
    right: tuple[int, int] | None
    codes: npt.NDArray[np.int8]

    def refused(self, label: str) -> None:
        """Raises ModelError where the file is too far from the graph to be handed out."""
        allowed = max(1, int((1 - LEAST_SAME) * self.samples))
        if self.same is not None and self.samples - self.same > allowed:
            raise ModelError(
                f"--for tflite: {label} in int8 gives the same class on {self.same} of {self.samples} samples only, and "
                f"{LEAST_SAME:.0%} are asked; nothing was written, choose another trial"
            )
        far = max(self.outputs, key=lambda o: o.mean_steps)
        if far.mean_steps > MOST_STEPS:
            raise ModelError(
                f"--for tflite: {label} in int8 gives {far.name!r} {far.mean_steps:.1f} steps off on average over {self.samples} samples, "
                f"and {MOST_STEPS:g} are allowed; nothing was written, choose another trial"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain numbers."""
        found: dict[str, Any] = {"samples": self.samples}
        if self.same is not None:
            found["same_class"] = self.same
        if self.right is not None:
            found["right"] = {"onnx": self.right[0], "tflite": self.right[1]}
        found["outputs"] = {
            o.name: {"most_steps": o.most_steps, "mean_steps": round(o.mean_steps, 4), "beyond_range": o.beyond}
            for o in self.outputs
        }
        return found


def answers(made: Converted, samples: Mapping[str, Array]) -> list[npt.NDArray[np.int8]]:
    """The codes of each output, (n, …), in ONNX's order of axes, one sample at a time by TensorFlow Lite's reference kernels.

    TFLite Micro computes as those do (about a code in a hundred was a step off at most); the optimised ones of phones and servers round
    otherwise.
    """
    litert = interpreters()
    runner = litert.Interpreter(
        model_content=made.content, num_threads=1, experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF
    )
    runner.allocate_tensors()
    ins, outs = ([one["index"] for one in part] for part in (runner.get_input_details(), runner.get_output_details()))
    fed = [as_fed(port, samples[port.name]) for port in made.inputs]
    found: list[list[Array]] = [[] for _ in outs]
    for i in range(len(fed[0])):
        for number, codes in zip(ins, fed, strict=True):
            runner.set_tensor(number, codes[i : i + 1])
        runner.invoke()
        for kept, number in zip(found, outs, strict=True):
            kept.append(runner.get_tensor(number))
    return [
        np.concatenate(kept).transpose(np.argsort(port.axes)) for kept, port in zip(found, made.outputs, strict=True)
    ]


def compare(made: Converted, samples: Mapping[str, Array], classes: bool, labels: Array | None = None) -> Agreement:
    """Run both on the samples; `classes`: the first output is one score a class."""
    given = answers(made, samples)
    names = [port.name for port in made.outputs]
    parts = list(made.source.run(names, samples))
    wanted = [np.concatenate([part[name] for part in parts]) for name in names]
    outputs = []
    for port, codes, values in zip(made.outputs, given, wanted, strict=True):
        steps = np.abs(codes.astype(np.int64) - port.scale.codes(values))
        half = port.scale.scale / 2
        beyond = int(((values < port.scale.lowest - half) | (values > port.scale.highest + half)).sum())
        outputs.append(OutputAgreement(port.name, int(steps.max()), float(steps.mean()), beyond))
    same = right = None
    if classes:
        there, here = (rows.reshape(len(rows), -1).argmax(axis=1) for rows in (wanted[0], given[0]))
        same = int((there == here).sum())
        right = None if labels is None else (int((there == labels).sum()), int((here == labels).sum()))
    return Agreement(len(given[0]), tuple(outputs), same, right, given[0])
