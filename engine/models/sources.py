"""Networks from where people keep them, and back: a zoo name, torchvision, timm, or a function of theirs.

A network travels between steps as one safetensors file. Its metadata says how the original was built; tensors that steps made
smaller say, by their shapes, how to fit it. No pickle is ever read or written.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from engine.datasets.dataset import Dataset
from engine.errors import ModelError
from engine.graph.one_output import as_one, described
from engine.graph.outputs import levelled
from engine.models.baked import bake
from engine.models.builders import Origin, build, build_as_written, run_blank
from engine.models.catalog import ZooEntry, check_model, one_line, source_kind, zoo_index
from engine.models.checkpoints import read_weights
from engine.models.functions import code_sha256
from engine.models.narrow import packed_sizes, unpack_sizes
from engine.models.pruned import packed_masks, unpack_masks
from engine.models.remembering import remembering
from engine.models.shapes import inputs_text, noun
from engine.models.shorter import keep_layers, layers_to_keep
from engine.models.state import fit_to, load_state
from engine.models.state_sizes import stated_sizes
from engine.models.torch_inputs import as_tensors, call, outputs_text
from engine.models.zoo import BUILDERS
from engine.spec.sections import Model
from engine.spec.steps import SELF

__all__ = [
    "Network",
    "Origin",
    "build_student",
    "load_network",
    "open_network",
    "read_origin",
    "save_network",
    "taken_student",
]

_METADATA = "paretoscope"
# Samples by which it is told how much outputs vary.
_MEASURED = 100
# What each dataset that checkpoints were trained on gives: the shape of one item and the class count.
_TRAINED_ON: dict[str, tuple[tuple[int, ...], int]] = {
    "fashion_mnist": ((1, 28, 28), 10),
    "pen_digits": ((2, 8), 10),
}


@dataclass(frozen=True)
class Network:
    """A torch network in evaluation mode, and where it came from; (n, *origin.input_shape) -> (n, num_classes).

    `note`: what to know of how it was loaded.
    """

    module: nn.Module
    origin: Origin
    note: str | None = None


def load_network(model: Model, data: Dataset) -> Network:
    """A model source, built for the dataset's classes and inputs, with its weights.

    Zoo names bring their shipped checkpoint; networks of torchvision and timm start from a random initialisation (seed 0) unless `weights`
    are given; functions start as they return. Raises ModelError.
    """
    check_model(model)
    kind = source_kind(model.source)
    if kind in {"onnx", "exported"}:
        raise ModelError(f"model {model.source} is a graph, which torch steps cannot change; use quantize alone")
    named = kind in {"torchvision", "timm"}
    weights, state, note = "random, seed 0" if named else "as the function returned them", None, None
    if model.weights is not None:
        weights = Path(model.weights).name
    elif kind == "zoo":
        entry = zoo_index()[model.source]
        _check_fits(entry, data)
        weights, state = f"shipped, trained on {entry.dataset}", load_file(entry.path)
    code = code_sha256(model.source) if kind == "python" else None
    sizes = stated_sizes(model.source, model.state_shapes, model.axes, [*model.state])
    origin = replace(
        _of(data, model.source, weights),
        code_sha256=code,
        arguments=dict(model.options),
        output=model.output,
        outputs=model.outputs,
        state=dict(model.state),
        sizes=sizes,
    )
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
    module = bake(module, origin.source)
    if origin.outputs:
        origin = replace(origin, units=_units(module, origin, data))
    return Network(_checked(module, origin), origin, note)


def _units(module: nn.Module, origin: Origin, data: Dataset) -> tuple[float, ...]:
    """How much each of several outputs varies on samples, which steps divide it by from here on; raises ModelError for classes."""
    if data.has_classes:
        raise ModelError(
            f"model {origin.source!r}: several outputs count, but the data have classes; name the one with their scores under "
            "model.output, or write data.task: other, with a metric of your own"
        )
    run_blank(module, origin, 2)
    hooks = remembering(module)
    assert hooks is not None
    some = as_tensors(data.preprocessing(data.calibration.head(_MEASURED).inputs))
    with torch.no_grad():
        whole = call(module, some).double().numpy()
    found = levelled(whole, tuple(("", width) for width in hooks.widths))
    units = tuple(float(found[end - 1]) for end in np.cumsum(hooks.widths))
    hooks.wanted = replace(hooks.wanted, units=units)
    return units


def convert_file(model: Model, graph: onnx.ModelProto, data: Dataset) -> Network:
    """The torch network of an ONNX file's graph, held against it on real samples; raises ModelError naming what stands against it."""
    from engine.models.converted import convert  # not at the top: few networks come from files

    several: tuple[tuple[str, int, tuple[int, ...]], ...] = ()
    if len(graph.graph.output) > 1:
        several = described(graph.graph.output)
        graph = as_one(graph, data.preprocessing(data.calibration.head(_MEASURED).inputs))
    module, text, note = convert(graph, data, model.source)
    origin = replace(_of(data, model.source, "as in the file"), graph=text, several=several)
    return Network(_checked(bake(module, origin.source), origin), origin, note)


def _of(data: Dataset, source: str, weights: str) -> Origin:
    last = data.preprocessing.channels_last
    origin = Origin(
        source, data.target_width, data.input_shape, weights, channels_last=last, values=not data.has_classes
    )
    # Networks of ours read the one array, whatever it is called.
    return (
        replace(origin, only=data.only, constants=dict(data.constants)) if source_kind(source) == "python" else origin
    )


def build_student(
    name: str,
    data: Dataset,
    width: float,
    seed: int,
    depth: float = 1.0,
    repeats: int | None = None,
    own: Origin | None = None,
) -> Network:
    """A freshly initialised network for the dataset: of the zoo, `torchvision:NAME`, `timm:NAME`, or `self`, which is `own` built anew.

    `width` multiplies the channels of the original, `depth` the blocks in each stage (one at least), `repeats` is how often
    recursive_resnet applies its blocks. Raises ModelError for unknown names and for what a network cannot be scaled by.
    """
    knobs = {"width": None if width == 1 else width, "depth": None if depth == 1 else depth, "repeats": repeats}
    options = {knob: value for knob, value in knobs.items() if value is not None}
    weights = f"random, seed {seed}"
    if name == SELF:
        if own is None:
            raise ModelError(
                "student 'self': the sweep's network is an ONNX file or an exported program, which no other size can be made of; "
                f"choose one of {', '.join(BUILDERS)}, or torchvision:NAME"
            )
        origin = replace(own, weights=weights, options=options)
    elif source_kind(name) in {"zoo", "torchvision", "timm"}:
        origin = replace(_of(data, name, weights), options=options)
    else:
        raise ModelError(
            f"student {name!r} is not a built-in network; choose one of {', '.join(BUILDERS)}, or torchvision:NAME"
        )
    return Network(_checked(build(origin, seed), origin), origin)


def taken_student(network: Network, depth: float) -> Network:
    """A copy of a network with `depth` of its layers, their weights kept, the first and last among them; raises ModelError."""
    own = network.origin
    module = copy.deepcopy(network.module)
    places = layers_to_keep(module, depth, lambda whole: run_blank(whole, own, 1), own.source)
    origin = replace(own, weights=f"{own.weights}; layers taken", shortened=places)
    return Network(_checked(keep_layers(module, places), origin), origin)


def _check_fits(entry: ZooEntry, data: Dataset) -> None:
    """A shipped checkpoint reads one image shape and knows one number of classes."""
    shape, classes = _TRAINED_ON[entry.dataset]
    if (data.input_shape, len(data.classes)) != (shape, classes):
        what = f"in {len(data.classes)}" if data.has_classes else "without classes"
        raise ModelError(
            f"{entry.name}'s shipped checkpoint is for {inputs_text(shape)} in {classes} classes, but {data.name} has "
            f"{inputs_text(data.input_shape)} {what}; give a checkpoint of your own under `weights`"
        )


def _checked(module: nn.Module, origin: Origin) -> nn.Module:
    """The module, once it is known to turn (n, *input_shape) into (n, num_classes), for two inputs and for one."""
    shape = origin.input_shape
    for n, word in ((2, f"two {noun(shape)}"), (1, f"one {noun(shape, 1)}")):
        logits = run_blank(module, origin, n)
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        if found == (n, origin.num_classes):
            continue
        if not isinstance(logits, Tensor):
            raise ModelError(
                f"model {origin.source!r} returns {outputs_text(logits)}, not one tensor; say which counts: model.output, a name or a "
                f"number"
            )
        if origin.values:
            if found[:1] == (n,):
                continue
            raise ModelError(
                f"model {origin.source!r} returns {found} for {word}, not one row for each; return one tensor, with the batch first"
            )
        if n == 1:
            raise ModelError(
                f"model {origin.source!r} returns {found} for {word}, not (1, {origin.num_classes}): something, such as squeeze() "
                "without an axis, drops the batch where it is one; write flatten(1) instead"
            )
        raise ModelError(
            f"model {origin.source!r} returns {found} for {word}, but the dataset has {origin.num_classes} classes; "
            f"return logits of shape ({noun(shape)}, {origin.num_classes})"
        )
    return module


def save_network(network: Network, path: Path) -> None:
    """One safetensors file, the same bytes for the same network; tensors shared under several names are stored once.

    Which of the weights were pruned (`pruned.py`), and which sizes of its code are others (`narrow.py`), is stored beside them.
    """
    stored = network.module.state_dict()
    unique = [n for n, _ in network.module.named_parameters()] + [n for n, _ in network.module.named_buffers()]
    state = {name: stored[name].detach().contiguous().clone() for name in unique if name in stored}
    state |= packed_masks(network.module) | packed_sizes(network.module)
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

    The original is built again and its layers fitted to the stored shapes. A function's code must be what it was: a file that
    came from elsewhere cannot make code run that its reader does not have, unchanged, in the same place.
    """
    origin = read_origin(path)
    try:
        state = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"artifact {path} cannot be read ({one_line(error)}); delete it and run again") from None
    if source_kind(origin.source) == "python" and code_sha256(origin.source) != origin.code_sha256:
        raise ModelError(f"artifact {path}: the code of {origin.source} has changed since; run the sweep again")
    module = build(origin)
    state = unpack_sizes(module, state)
    fit_to(module, state)
    load_state(module, unpack_masks(module, state), f"artifact {path}", origin.source)
    return Network(_checked(module, origin), origin)
