"""Networks from where people keep them, and back: a zoo name, torchvision, or a function in a Python file.

A network travels between steps as one safetensors file. Its metadata says how the original was built; tensors that steps made
smaller say, by their shapes, how to fit it. No pickle is ever read or written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from engine.datasets.dataset import Dataset
from engine.errors import ModelError
from engine.models.baked import bake
from engine.models.builders import Origin, build, build_as_written, run_blank
from engine.models.catalog import ZooEntry, check_model, code_sha256, one_line, source_kind, split_python, zoo_index
from engine.models.checkpoints import read_weights
from engine.models.pruned import packed_masks, unpack_masks
from engine.models.state import fit_to, load_state, shape_text
from engine.models.zoo import BUILDERS
from engine.spec.sections import Model
from engine.spec.steps import SELF

__all__ = ["Network", "Origin", "build_student", "load_network", "open_network", "read_origin", "save_network"]

_METADATA = "paretoscope"
# What each dataset that checkpoints were trained on gives: (channels, height, width) and class count.
_TRAINED_ON = {"fashion_mnist": ((1, 28, 28), 10)}


@dataclass(frozen=True)
class Network:
    """A torch network in evaluation mode, and where it came from; (n, channels, height, width) -> (n, num_classes).

    `note`: what to know of how it was loaded.
    """

    module: nn.Module
    origin: Origin
    note: str | None = None


def load_network(model: Model, data: Dataset) -> Network:
    """A model source, built for the dataset's classes and image size, with its weights.

    Zoo names bring their shipped checkpoint; torchvision networks start from a random initialisation (seed 0) unless `weights` are
    given; Python functions start as they return. Raises ModelError.
    """
    check_model(model)
    kind = source_kind(model.source)
    if kind == "onnx":
        raise ModelError(f"model {model.source} is an ONNX file, which torch steps cannot change; use quantize alone")
    weights, state, note = "random, seed 0" if kind == "torchvision" else "as the function returned them", None, None
    if model.weights is not None:
        weights = Path(model.weights).name
    elif kind == "zoo":
        entry = zoo_index()[model.source]
        _check_fits(entry, data)
        weights, state = f"shipped, trained on {entry.dataset}", load_file(entry.path)
    code = code_sha256(split_python(model.source)[0]) if kind == "python" else None
    origin = Origin(model.source, len(data.classes), data.input_shape, weights, code_sha256=code)
    module = build_as_written(origin)
    if model.weights is not None:
        found = read_weights(Path(model.weights), module.state_dict().keys())
        if not found.fit:
            # Perhaps they were saved after what computes the weights (weight norm, say) had been removed.
            plain = build(origin)
            other = read_weights(Path(model.weights), plain.state_dict().keys())
            module, found = (plain, other) if other.fit else (module, found)
        state, note = found.state, found.note
    if state is not None:
        load_state(module, state, f"weights {model.weights or zoo_index()[model.source].path}", origin.source)
    return Network(_checked(bake(module, origin.source), origin), origin, note)


def build_student(
    name: str,
    data: Dataset,
    width: float,
    seed: int,
    depth: float = 1.0,
    repeats: int | None = None,
    own: Origin | None = None,
) -> Network:
    """A freshly initialised network for the dataset: of the zoo, `torchvision:NAME`, or `self`, which is `own` built anew.

    `width` multiplies the channels of the original, `depth` the blocks in each stage (one at least), `repeats` is how often
    recursive_resnet applies its blocks. Raises ModelError for unknown names and for what a network cannot be scaled by.
    """
    knobs = {"width": None if width == 1 else width, "depth": None if depth == 1 else depth, "repeats": repeats}
    options = {knob: value for knob, value in knobs.items() if value is not None}
    weights = f"random, seed {seed}"
    if name == SELF:
        if own is None:
            raise ModelError(
                "student 'self': the sweep's network is an ONNX file, which torch cannot build anew; "
                f"choose one of {', '.join(BUILDERS)}, or torchvision:NAME"
            )
        origin = replace(own, weights=weights, options=options)
    elif source_kind(name) in {"zoo", "torchvision"}:
        origin = Origin(name, len(data.classes), data.input_shape, weights, options)
    else:
        raise ModelError(
            f"student {name!r} is not a built-in network; choose one of {', '.join(BUILDERS)}, or torchvision:NAME"
        )
    return Network(_checked(build(origin, seed), origin), origin)


def _check_fits(entry: ZooEntry, data: Dataset) -> None:
    """A shipped checkpoint reads one image shape and knows one number of classes."""
    shape, classes = _TRAINED_ON[entry.dataset]
    if (data.input_shape, len(data.classes)) != (shape, classes):
        raise ModelError(
            f"{entry.name}'s shipped checkpoint is for {shape_text(shape)} images in {classes} classes, but {data.name} has "
            f"{shape_text(data.input_shape)} in {len(data.classes)}; give a checkpoint of your own under `weights`"
        )


def _checked(module: nn.Module, origin: Origin) -> nn.Module:
    """The module, once it is known to turn (n, channels, height, width) into (n, num_classes), for two images and for one."""
    for n, word in ((2, "two images"), (1, "one image")):
        logits = run_blank(module, origin, n)
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        if found == (n, origin.num_classes):
            continue
        if n == 1:
            raise ModelError(
                f"model {origin.source!r} returns {found} for {word}, not (1, {origin.num_classes}): something, such as squeeze() "
                "without an axis, drops the batch where it is one; write flatten(1) instead"
            )
        raise ModelError(
            f"model {origin.source!r} returns {found} for {word}, but the dataset has {origin.num_classes} classes; "
            f"return logits of shape (images, {origin.num_classes})"
        )
    return module


def save_network(network: Network, path: Path) -> None:
    """One safetensors file, the same bytes for the same network; tensors shared under several names are stored once.

    Which of the weights were pruned (`pruned.py`) is stored beside them.
    """
    stored = network.module.state_dict()
    unique = [n for n, _ in network.module.named_parameters()] + [n for n, _ in network.module.named_buffers()]
    state = {name: stored[name].detach().contiguous().clone() for name in unique if name in stored}
    state |= packed_masks(network.module)
    metadata = {_METADATA: json.dumps(network.origin.to_json(), sort_keys=True)}
    partial = path.with_name(f"{path.name}.part")
    partial.write_bytes(save(state, metadata))
    partial.replace(path)


def read_origin(path: Path) -> Origin:
    """How the network in an artifact was built, without building it. Raises ModelError."""
    try:
        with safe_open(path, "pt") as file:
            record = (file.metadata() or {}).get(_METADATA)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"artifact {path} cannot be read ({one_line(error)}); delete it and run again") from None
    if record is None:
        raise ModelError(f"{path} is not a Paretoscope artifact; give it as `weights` of a model source")
    try:
        return Origin.from_json(json.loads(record))
    except (ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"artifact {path} has unreadable metadata ({one_line(error)}); delete it and run again"
        ) from None


def open_network(path: Path) -> Network:
    """The inverse of `save_network`, in evaluation mode. Raises ModelError.

    The original is built again and its layers fitted to the stored shapes. A Python source's code must be what it was: a file that
    came from elsewhere cannot make code run that its reader does not have, unchanged, in the same place.
    """
    origin = read_origin(path)
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"artifact {path} cannot be read ({one_line(error)}); delete it and run again") from None
    if origin.code_sha256 and code_sha256(split_python(origin.source)[0]) != origin.code_sha256:
        raise ModelError(f"artifact {path}: the code of {origin.source} has changed since; run the sweep again")
    module = build(origin)
    fit_to(module, state)
    load_state(module, unpack_masks(module, state), f"artifact {path}", origin.source)
    return Network(_checked(module, origin), origin)
