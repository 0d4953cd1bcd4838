"""Builds networks for the classes and inputs of a dataset: the zoo's, torchvision's, timm's, or those of the user's functions."""

from __future__ import annotations

import importlib.util
import inspect
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from engine.errors import ModelError
from engine.graph.inputs import Shape, Signature
from engine.models.baked import bake
from engine.models.call import call_function
from engine.models.catalog import check_model, one_line, source_kind
from engine.models.remembering import Wanted, remember
from engine.models.shapes import batch_text, inputs_text
from engine.models.shorter import keep_layers
from engine.models.torch_inputs import blank_tensors, call, fit_interface
from engine.models.zoo import BUILDERS
from engine.spec.sections import Model

# Auxiliary classifiers help only while training from scratch, and return more than logits.
_TORCHVISION_OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}
_BUILDING = threading.RLock()
_LATEST = ("outputs", "state", "sizes", "units", "several")


@dataclass(frozen=True)
class Origin:
    """How to build a network again.

    `input_shape` is that of one item as the network reads it, an image's being (channels, height, width), or (height, width, channels) with
    `channels_last`; `weights` says in words where they came from. `options` are what a student has of its own: the factors `width` and
    `depth`, and `repeats`; `arguments` what the spec calls the function with; `code_sha256` is that of the code behind a function.
    `values`: what it gives are no scores of classes, and `num_classes` the numbers of a target, 0 where nobody knows.
    `shortened`: which of its layers are left in the network after it was built, where some were left out (`shorter.py`).
    `graph`: of a network that an ONNX file was turned into, the graph to build it from (`converted.py`).
    `only`, `constants` and `output` are as of `torch_inputs.fit_interface`, `only` being the name of the one input; `outputs`, `state`,
    `sizes` and `units` as of `remembering.Wanted`. `several`: of a network that a file with several outputs was turned into, what these are
    called, their number types and axes, 0 where free.
    """

    source: str
    num_classes: int
    input_shape: Shape
    weights: str
    options: dict[str, Any] = field(default_factory=dict)
    code_sha256: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    channels_last: bool = False
    values: bool = False
    only: str | None = None
    constants: dict[str, Any] = field(default_factory=dict)
    output: str | int | None = None
    graph: str | None = None
    shortened: dict[str, list[int]] = field(default_factory=dict)
    outputs: tuple[str | int, ...] = ()
    state: dict[str, str | None] = field(default_factory=dict)
    sizes: dict[str, list[int | None]] = field(default_factory=dict)
    units: tuple[float, ...] = ()
    several: tuple[tuple[str, int, tuple[int, ...]], ...] = ()

    @property
    def in_channels(self) -> int:
        """Channels of the data; of a vector, its numbers. Raises ModelError for inputs that are not one array of floats."""
        if isinstance(self.input_shape, Signature):
            raise ModelError(
                f"model {self.source!r} reads one array of numbers, but the data have {batch_text(self.input_shape)}; give a network of "
                f"your "
                "own, path/to/file.py:function"
            )
        return self.input_shape[-1 if self.channels_last else 0]

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs, where they have some."""
        if isinstance(self.input_shape, Signature) and self.input_shape.tensors[0][0]:
            return tuple(name for name, _, _ in self.input_shape.tensors)
        return (self.only,) if self.only else ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; what came later only where it says something."""
        later = ("only", "constants", "output", "values", "graph", "shortened", *_LATEST)
        nothing: tuple[Any, ...] = (None, {}, False, ())
        return {name: value for name, value in asdict(self).items() if name not in later or value not in nothing}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Origin:
        """The inverse of `to_json`."""
        shape = record["input_shape"]
        shape = Signature(shape["tensors"]) if isinstance(shape, Mapping) else tuple(shape)
        lists = {name: tuple(record[name]) for name in ("outputs", "units") if name in record}
        if "several" in record:
            lists["several"] = tuple((name, kind, tuple(axes)) for name, kind, axes in record["several"])
        return cls(**{**record, **lists, "input_shape": shape})


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random initialisation that depends on the seed alone, also while other threads build; torch's generator is left as it was."""
    with _BUILDING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def build(origin: Origin, seed: int = 0) -> nn.Module:
    """The network in evaluation mode, float32, initialised from `seed`, every weight a plain parameter; raises ModelError."""
    return bake(build_as_written(origin, seed), origin.source)


def build_as_written(origin: Origin, seed: int = 0) -> nn.Module:
    """As `build`, with whatever a user's function computes weights from: what its own checkpoints hold."""
    kind = source_kind(origin.source)
    if origin.channels_last and kind not in ("python", "onnx"):
        raise ModelError(
            f"model {origin.source!r} reads channels first; leave data.preprocess.layout out, or choose a network of channels last (NHWC)"
        )
    with _seeded(seed):
        if kind == "zoo":
            builder = BUILDERS[origin.source]
            _check_options(origin, set(inspect.signature(builder).parameters), "choose recursive_resnet")
            module = builder(origin.num_classes, origin.in_channels, **origin.options)
        elif kind == "torchvision":
            module = _build_torchvision(origin)
        elif kind == "timm":
            module = _build_timm(origin)
        elif kind == "python":
            module = _build_python(origin)
        elif origin.graph is not None:
            from engine.models.converted import of_text  # not at the top: few networks come from files

            module = of_text(origin.graph, origin.source)
        else:
            raise ModelError(f"model {origin.source} is a graph, which torch cannot build; use ONNX steps")
        module = module.float().cpu().eval()
        several = bool(origin.outputs or origin.state)
        output = None if several else origin.output
        fit_interface(module, origin.source, origin.inputs, origin.constants, output, origin.state)
        if several:
            counting = origin.outputs or (() if origin.output is None else (origin.output,))
            remember(module, origin.source, Wanted(counting, origin.state, origin.sizes, origin.units))
        if kind == "python":
            # Lazy modules, and layers that a forward makes when it first runs, are there only afterwards.
            run_blank(module, origin, 2)
        keep_layers(module, origin.shortened)
    return module


def run_blank(module: nn.Module, origin: Origin, images: int) -> Any:
    """What the network, in evaluation mode, makes of so many blank inputs; raises ModelError for one that does not run."""
    shape = origin.input_shape
    try:
        with torch.no_grad():
            return call(module, blank_tensors(shape, images))
    except ModelError:
        raise
    except Exception as error:
        many = "" if images > 1 else "a single one of "
        remedy = ", or resize the images" if not isinstance(shape, Signature) and len(shape) == 3 else ""
        if isinstance(shape, Signature) and not origin.inputs:
            remedy = ", or save numbers as float32: x.astype(np.float32)"
        raise ModelError(
            f"model {origin.source!r} cannot read {many}{inputs_text(shape)}: {one_line(error)}; "
            f"choose a network that fits the dataset{remedy}"
        ) from None


def _build_torchvision(origin: Origin) -> nn.Module:
    """A torchvision classifier whose first convolution reads the images' channels."""
    import torchvision

    name, in_channels = origin.source.removeprefix("torchvision:"), origin.in_channels
    check_model(Model(source=f"torchvision:{name}"))
    _check_options(origin, {"width", "depth"}, "choose recursive_resnet")
    try:
        if origin.options:
            from engine.models.scaling import build_scaled

            width, depth = origin.options.get("width", 1.0), origin.options.get("depth", 1.0)
            module = build_scaled(name, origin.num_classes, width, depth)
        else:
            extra = _TORCHVISION_OPTIONS.get(name, {})
            module = torchvision.models.get_model(name, weights=None, num_classes=origin.num_classes, **extra)
    except (TypeError, ValueError) as error:
        raise ModelError(f"torchvision:{name} cannot be built ({one_line(error)}); choose another network") from None
    for path, stem in module.named_modules():
        if isinstance(stem, nn.Conv2d):
            if stem.in_channels != in_channels:
                module.set_submodule(path, _with_in_channels(stem, in_channels))
            break
    return module


def _with_in_channels(conv: nn.Conv2d, in_channels: int) -> nn.Conv2d:
    new = nn.Conv2d(
        in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        bias=conv.bias is not None,
    )
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    return new


def _build_timm(origin: Origin) -> nn.Module:
    """A network of timm, randomly initialised; nothing is ever downloaded."""
    check_model(Model(source=origin.source))
    _check_options(origin, set(), "choose recursive_resnet")
    try:
        timm = importlib.import_module("timm")
        network: nn.Module = timm.create_model(
            origin.source.removeprefix("timm:"),
            pretrained=False,
            **{"num_classes": origin.num_classes, "in_chans": origin.in_channels, **origin.arguments},
        )
    except Exception as error:  # whatever its constructors raise
        named = f"correct model.options ({', '.join(origin.arguments)}), or " if origin.arguments else ""
        raise ModelError(
            f"{origin.source} cannot be built for {inputs_text(origin.input_shape)} ({one_line(error)}); {named}choose another network"
        ) from None
    return network


def _check_options(origin: Origin, known: set[str], remedy: str) -> None:
    for name, value in origin.options.items():
        if name not in known:
            raise ModelError(
                f"student {origin.source!r} has no {name} to set to {value:g}; {remedy}, or leave {name} out"
            )
        if name in origin.arguments:
            raise ModelError(
                f"student {origin.source!r}: {name} is one of model.options ({origin.arguments[name]}), so it is no factor to set to "
                f"{value:g}; leave {name} out of one of the two"
            )


def _build_python(origin: Origin) -> nn.Module:
    """Call the user's function with those of `num_classes` and `in_channels` that it takes, and with all options; failures are one line."""
    # Of tokens, and of several inputs, nobody can say what the channels are.
    channels = {} if isinstance(origin.input_shape, Signature) else {"in_channels": origin.in_channels}
    offered = {
        "num_classes": origin.num_classes,
        **channels,
        **origin.arguments,
        **origin.options,
    }
    network = call_function(
        origin.source,
        offered,
        origin.arguments,
        lambda known, function: _check_options(origin, known, f"give {function} a parameter of this name"),
    )
    if not isinstance(network, nn.Module):
        raise ModelError(f"model {origin.source!r} returned {type(network).__name__}; return a torch.nn.Module")
    return network
