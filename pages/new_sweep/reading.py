"""How data are read, and what a network's function is called with: the form's texts and the parts of a spec that they stand for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from engine.errors import SpecError
from engine.spec.read import load_plain_yaml
from engine.spec.sections import Data, Model

FOUND, STORED, STANDARDIZED, OWN = "", "none", "standardize", "own"
NUMBERS = {
    FOUND: "as the check finds",
    STORED: "as they are stored",
    STANDARDIZED: "mean and deviation of the training data",
    OWN: "as I say",
}
"""Ways to prepare numbers, and what the form calls them."""
KINDS = {
    "": "by their shape",
    "image": "images",
    "series": "series",
    "vector": "vectors",
    "array": "arrays, as they are",
}
LAYOUTS = {"": "what its file says", "NCHW": "channels first", "NHWC": "channels last"}
COLOURS = ("RGB", "BGR")


@dataclass(frozen=True)
class Reading:
    """The form's fields for it; empty texts and 0 say nothing.

    Classes are their number, or names between commas, as slices are; `data_scale` may be 1/255; mean and deviation are numbers between
    commas; `model_options` are as in a spec, `width: 32, depth: 2`, `model_outputs` the names of those that count.
    """

    model_options: str = ""
    model_outputs: tuple[str, ...] = ()
    data_kind: str = ""
    data_classes: str = ""
    data_target: str = ""
    data_labels: str = ""
    data_slices: str = ""
    data_numbers: str = FOUND
    data_scale: str = ""
    data_mean: str = ""
    data_std: str = ""
    data_layout: str = ""
    data_colours: str = "RGB"
    data_resize: int = 0
    data_crop: int = 0


def to_model(fields: Reading) -> dict[str, Any]:
    """What the fields add to a spec's `model`; raises SpecError."""
    text, outputs = fields.model_options.strip(), fields.model_outputs
    counting: dict[str, Any] = {"outputs": [*outputs]} if outputs[1:] else {"output": outputs[0]} if outputs else {}
    if not text:
        return counting
    where = "the network’s options"
    found = load_plain_yaml(text if text.startswith("{") else f"{{{text}}}", where)
    if not isinstance(found, Mapping):
        raise SpecError(f"{where} are {text!r:.80}; write them as `width: 32, depth: 2`")
    return {"options": dict(found)} | counting


def to_data(fields: Reading) -> dict[str, Any]:
    """What the fields add to a spec's `data`; raises SpecError."""
    classes = fields.data_classes.strip()
    stated = {
        "kind": fields.data_kind,
        "classes": int(classes)
        if classes.isdecimal()
        else [c.strip() for c in classes.split(",")]
        if classes
        else None,
        "target": fields.data_target.strip(),
        "labels": fields.data_labels.strip(),
        "slices": [name.strip() for name in fields.data_slices.split(",")] if fields.data_slices.strip() else None,
        "preprocess": _preprocess(fields),
    }
    return {name: value for name, value in stated.items() if value not in (None, "", {})}


def _preprocess(fields: Reading) -> dict[str, Any]:
    said: dict[str, Any] = {
        "layout": fields.data_layout or None,
        "resize": fields.data_resize or None,
        "crop": fields.data_crop or None,
    }
    if fields.data_colours != COLOURS[0]:
        said["channels"] = fields.data_colours
    if fields.data_numbers == STORED:
        said["scale"] = 1.0
    elif fields.data_numbers == STANDARDIZED:
        said["standardize"] = True
    elif fields.data_numbers == OWN:
        said["scale"] = _number(fields.data_scale, "scale") if fields.data_scale.strip() else None
        said |= {name: _numbers(getattr(fields, f"data_{name}"), name) for name in ("mean", "std")}
        if all(said[name] is None for name in ("scale", "mean", "std")):
            raise SpecError("numbers are prepared as you say, but nothing is said; give a scale, or mean and deviation")
    return {name: value for name, value in said.items() if value is not None}


def _numbers(text: str, name: str) -> list[float] | None:
    return [_number(part, name) for part in text.split(",")] if text.strip() else None


def _number(text: str, name: str) -> float:
    """`0.5`, or a fraction such as `1/255`."""
    over, slash, under = text.partition("/")
    try:
        return float(over) / float(under) if slash else float(text)
    except (ValueError, ZeroDivisionError):
        raise SpecError(
            f"data.preprocess.{name} is {text.strip()!r:.40}, which is no number; write 0.5, or 1/255"
        ) from None


def from_spec(model: Model, data: Data) -> dict[str, Any]:
    """The fields that stand for a spec's sections; what they cannot say shows when they are turned back."""
    found: dict[str, Any] = {
        "data_kind": data.kind or "",
        "data_target": data.target or "",
        "data_labels": data.labels or "",
        "data_slices": ", ".join(data.slices),
    }
    counting = model.outputs or (() if model.output is None else (model.output,))
    if counting and all(isinstance(name, str) for name in counting):
        found["model_outputs"] = tuple(map(str, counting))
    if model.options:
        written = yaml.safe_dump(dict(model.options), default_flow_style=True, width=10_000, sort_keys=False)
        found["model_options"] = written.strip().removeprefix("{").removesuffix("}")
    if data.classes is not None:
        found["data_classes"] = str(data.classes) if isinstance(data.classes, int) else ", ".join(data.classes)
    if data.preprocess is None:
        return found
    said = data.preprocess
    found["data_layout"] = said.layout if "layout" in said.model_fields_set else ""
    found |= {"data_colours": said.channels, "data_resize": said.resize or 0, "data_crop": said.crop or 0}
    if said.standardize:
        found["data_numbers"] = STANDARDIZED
    elif said.mean is None and said.scale == 1:
        found["data_numbers"] = STORED
    elif said.says_numbers:
        found |= {"data_numbers": OWN, "data_scale": _written(said.scale)}
        found |= {f"data_{name}": ", ".join(map(_written, getattr(said, name) or ())) for name in ("mean", "std")}
    return found


def _written(value: float | None) -> str:
    if value is None:
        return ""
    if float(f"{value:g}") == value:
        return f"{value:g}"
    under = round(1 / value) if 0 < value < 1 else 0
    return f"1/{under}" if under and 1 / under == value else f"{value:.17g}"
