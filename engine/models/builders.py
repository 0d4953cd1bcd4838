"""Builds networks for a class count and an image shape: the zoo's, torchvision's, or those of a function in a Python file."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from engine.errors import ModelError
from engine.models.baked import bake
from engine.models.catalog import check_model, one_line, source_kind, split_python
from engine.models.scaling import build_scaled
from engine.models.zoo import BUILDERS
from engine.spec.sections import Model

# Auxiliary classifiers help only while training from scratch, and return more than logits.
_TORCHVISION_OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}
_BUILDING = threading.RLock()


@dataclass(frozen=True)
class Origin:
    """How to build a network again. `input_shape` is (channels, height, width); `weights` says in words where they came from.

    `options` are what a student has of its own: the factors `width` and `depth`, and `repeats`; `code_sha256` is that of a Python
    source's code.
    """

    source: str
    num_classes: int
    input_shape: tuple[int, int, int]
    weights: str
    options: dict[str, Any] = field(default_factory=dict)
    code_sha256: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Origin:
        """The inverse of `to_json`."""
        return cls(**{**record, "input_shape": tuple(record["input_shape"])})


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
    with _seeded(seed):
        if kind == "zoo":
            builder = BUILDERS[origin.source]
            _check_options(origin, set(inspect.signature(builder).parameters), "choose recursive_resnet")
            module = builder(origin.num_classes, origin.input_shape[0], **origin.options)
        elif kind == "torchvision":
            module = _build_torchvision(origin)
        elif kind == "python":
            module = _build_python(origin)
        else:
            raise ModelError(f"model {origin.source} is an ONNX file, which torch cannot build; use ONNX steps")
        module = module.float().cpu().eval()
        if kind == "python":
            # Lazy modules, and layers that a forward makes when it first runs, are there only afterwards.
            run_blank(module, origin, 2)
    return module


def run_blank(module: nn.Module, origin: Origin, images: int) -> Any:
    """What the network, in evaluation mode, makes of so many blank images; raises ModelError for one that does not run."""
    try:
        with torch.no_grad():
            return module(torch.zeros(images, *origin.input_shape))
    except Exception as error:
        shape = "×".join(map(str, origin.input_shape))
        many = "" if images > 1 else "a single one of "
        raise ModelError(
            f"model {origin.source!r} cannot read {many}{shape} images: {one_line(error)}; "
            "choose a network that fits the dataset, or resize the images"
        ) from None


def _build_torchvision(origin: Origin) -> nn.Module:
    """A torchvision classifier whose first convolution reads the images' channels."""
    import torchvision

    name, in_channels = origin.source.removeprefix("torchvision:"), origin.input_shape[0]
    check_model(Model(source=f"torchvision:{name}"))
    _check_options(origin, {"width", "depth"}, "choose recursive_resnet")
    try:
        if origin.options:
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


def _check_options(origin: Origin, known: set[str], remedy: str) -> None:
    for name, value in origin.options.items():
        if name not in known:
            raise ModelError(
                f"student {origin.source!r} has no {name} to set to {value:g}; {remedy}, or leave {name} out"
            )


def _build_python(origin: Origin) -> nn.Module:
    """Call the user's function with those of `num_classes` and `in_channels` that it takes; every failure is one line."""
    source = origin.source
    path, function = split_python(source)
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        # A name of its own for each file; dataclasses and the like look their module up by it.
        name = f"paretoscope_model_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]}"
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ModelError(f"model {source!r}: {path} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        build = getattr(module, function, None)
        if not callable(build):
            raise ModelError(f"model {source!r}: {path} has no function {function!r}; check the name after the colon")
        offered = {"num_classes": origin.num_classes, "in_channels": origin.input_shape[0], **origin.options}
        accepted = _accepted(source, build, offered)
        _check_options(origin, set(accepted), f"give {function} a parameter of this name")
        network = build(**accepted)
    except ModelError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(
            f"model {source!r} failed: {type(error).__name__}: {one_line(error)}; fix the function"
        ) from None
    finally:
        sys.path.remove(folder)
    if not isinstance(network, nn.Module):
        raise ModelError(f"model {source!r} returned {type(network).__name__}; return a torch.nn.Module")
    return network


def _accepted(source: str, build: Any, offered: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(build).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return offered
    taken = {p.name for p in parameters if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}}
    for p in parameters:
        if p.default is p.empty and p.name not in offered and p.kind is not p.VAR_POSITIONAL:
            raise ModelError(f"model {source!r} needs an argument {p.name!r}; give it a default value")
    return {name: value for name, value in offered.items() if name in taken}
