"""Which models there are, and what identifies one: names, descriptions, content hashes. Never imports torch.

The command line and the browser check a model source here before any work starts; `sources.py` loads it.
"""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from engine.errors import ModelError
from engine.models.functions import (
    check_function,
    code_sha256,
    file_sha256,
    names_file,
    names_module,
    package_version,
    split_function,
)
from engine.models.state_sizes import stated_sizes
from engine.paths import CHECKPOINTS
from engine.spec.canonical import digest
from engine.spec.sections import Model

DESCRIPTIONS: dict[str, str] = {
    "resnet8": "MLPerf Tiny's image classifier: a stem and three residual blocks.",
    "resnet20": "The CIFAR ResNet-20: a stem and nine residual blocks.",
    "ds_cnn": "MLPerf Tiny's keyword spotter on images: four depthwise-separable blocks of 64 channels.",
    "mobilenet_v2": "torchvision's MobileNetV2 at half width, stem and strides fitted to 28×28.",
    "recursive_resnet": "One residual block per stage, applied three times with the same weights: depth without parameters.",
    "series_transformer": "Four transformer encoder blocks over the points of a series, (channels, time).",
}
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".th", ".ckpt", ".bin", ".tar")
Kind = Literal["zoo", "torchvision", "timm", "python", "onnx", "exported"]
_RESTORE = "restore it from a fresh clone (`git checkout -- data/checkpoints`)"


@dataclass(frozen=True)
class ZooEntry:
    """One shipped checkpoint. `accuracy` is the share right on the dataset's test split, as counted when it was made."""

    name: str
    description: str
    accuracy: float
    params: int
    macs: int
    sha256: str
    dataset: str
    seed: int
    epochs: int

    @property
    def path(self) -> Path:
        """Where the checkpoint lies."""
        return CHECKPOINTS / f"{self.name}.safetensors"


def zoo_names() -> tuple[str, ...]:
    """Names of the built-in networks; each can be a student, those in `zoo_index` also a baseline."""
    return tuple(DESCRIPTIONS)


def zoo_index() -> dict[str, ZooEntry]:
    """The shipped checkpoints by name, from `data/checkpoints/index.json`; raises ModelError when it is missing or damaged."""
    path = CHECKPOINTS / "index.json"
    try:
        index = json.loads(path.read_text())
        return {name: ZooEntry(name, DESCRIPTIONS[name], **index[name]) for name in DESCRIPTIONS if name in index}
    except FileNotFoundError:
        raise ModelError(f"{path} is missing; {_RESTORE}") from None
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{path} is damaged ({one_line(error)}); {_RESTORE}") from None


@lru_cache(maxsize=1)
def torchvision_names() -> tuple[str, ...]:
    """Names of torchvision's image classifiers, read from its source files because importing it takes seconds."""
    return _registered("torchvision", r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\(")


@lru_cache(maxsize=1)
def timm_names() -> tuple[str, ...]:
    """Names of timm's networks, bare and with the tag of each training, read from its source files; none where it is not installed."""
    bare = _registered("timm", r"^@register_model\n(?:@.*\n)*def (\w+)\(")
    tagged = _registered("timm", r"^\s+['\"](\w+\.\w+)['\"]:")
    return tuple(sorted({*bare, *(name for name in tagged if name.partition(".")[0] in bare)}))


def onnx2torch_installed() -> bool:
    """Whether ONNX files can become torch networks here, which torch steps train and prune."""
    return find_spec("onnx2torch") is not None


def _registered(package: str, pattern: str) -> tuple[str, ...]:
    """What a pattern finds in the files of a package's `models` folder."""
    found = find_spec(package)
    if found is None or found.origin is None:
        return ()
    names: set[str] = set()
    for file in sorted((Path(found.origin).parent / "models").glob("*.py")):
        names.update(re.findall(pattern, file.read_text(encoding="utf-8"), re.MULTILINE))
    return tuple(sorted(names))


def one_line(error: BaseException) -> str:
    """An exception as a few words on one line, for messages that people read."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:199] + "…"


def suggest(name: str, known: tuple[str, ...]) -> str:
    """`did you mean 'resnet8'?` where a known name is close, otherwise the known names."""
    close = get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known names: {', '.join(known[:12])}{', …' if len(known) > 12 else ''}"


def is_torchscript(path: Path) -> bool:
    """Whether a file is a program of torch.jit.save, told by what the zip holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.split("/")[1:2] == ["code"] for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def source_kind(source: str) -> Kind:
    """Where a model source comes from, by its form alone; raises ModelError for a form or zoo name that does not exist.

    `python` is a function, of a file or of a module.
    """
    if source.endswith(".onnx"):
        return "onnx"
    if source.endswith(".pt2"):
        return "exported"
    if source.startswith("torchvision:"):
        return "torchvision"
    if source.startswith("timm:"):
        return "timm"
    if names_file(source) or names_module(source):
        return "python"
    if source in DESCRIPTIONS:
        return "zoo"
    suffix = Path(source).suffix
    if suffix == ".py":
        raise ModelError(f"model {source!r} names no function; write {source}:FUNCTION, which returns the network")
    if suffix in WEIGHT_SUFFIXES and is_torchscript(Path(source)):
        raise ModelError(
            f"model {source!r} is a TorchScript program, which is not read; give torch.onnx.export(torch.jit.load({source!r}), …) of it "
            "as .onnx, or the function that builds the network and its state_dict() as weights"
        )
    if suffix in WEIGHT_SUFFIXES:
        raise ModelError(
            f"model {source!r} holds weights alone; write model: {{source: path/to/file.py:function, weights: {source}}}"
        )
    if ":" in source:
        raise ModelError(
            f"model {source!r} is not known; write torchvision:NAME, timm:NAME, pkg.module:function or path/to/file.py:function"
        )
    raise ModelError(
        f"model {source!r} is not known; {suggest(source, zoo_names())} Or write torchvision:NAME, timm:NAME, pkg.module:function, "
        "path/to/file.py:function, path/to/model.onnx or path/to/program.pt2"
    )


def brings_own_weights(model: Model) -> bool:
    """Whether a network was trained by its user, who prepared its inputs in a way that nobody here knows; raises ModelError."""
    return model.weights is not None or source_kind(model.source) not in ("zoo", "torchvision", "timm")


def check_model(model: Model) -> None:
    """Everything about a model source that can be checked without loading it; raises ModelError."""
    kind = source_kind(model.source)
    said = [
        name
        for name in ("output", "outputs", "state", "state_shapes", "axes")
        if getattr(model, name) not in (None, {}, ())
    ]
    if kind in {"zoo", "torchvision", "timm"} and said:
        raise ModelError(f"model {model.source!r} has one input and one output; leave model.{said[0]} out")
    if model.state_shapes and kind != "python":
        raise ModelError(
            f"model {model.source}: the file says what shape its states have; leave model.state_shapes out"
        )
    if model.options and kind not in {"python", "timm"}:
        raise ModelError(
            f"model {model.source!r} takes no options; remove model.options ({', '.join(model.options)}), or name a function that takes "
            "them, such as torchvision.models:vit_b_16"
        )
    if kind == "torchvision":
        name = model.source.removeprefix("torchvision:")
        if name not in torchvision_names():
            raise ModelError(f"model {model.source!r} is not known; {suggest(name, torchvision_names())}")
    elif kind == "timm":
        _check_timm(model.source)
    elif kind == "python":
        check_function(model.source, model.options)
        stated_sizes(model.source, model.state_shapes, model.axes, [*model.state])
    elif kind in {"onnx", "exported"}:
        if not Path(model.source).is_file():
            what = "an ONNX file" if kind == "onnx" else "a file of torch.export.save"
            raise ModelError(f"model {model.source} does not exist; give the path of {what}")
        if model.weights is not None:
            raise ModelError(f"model {model.source} holds its own weights; remove `weights: {model.weights}`")
        # Not at the top: graphs are read here alone, and importing onnx takes a third of a second.
        from engine.models.files import check_file

        check_file(model)
    elif model.weights is None:
        entry = zoo_index().get(model.source)
        if entry is None:
            raise ModelError(
                f"model {model.source!r} has no shipped checkpoint; give `weights`, or use it as a student"
            )
        check_shipped(entry)
    _check_weights(model)


def _check_timm(source: str) -> None:
    name, known = source.removeprefix("timm:"), timm_names()
    if not known:
        raise ModelError(
            f"model {source!r} needs timm, which is not installed; run pip install 'paretoscope[timm]' (or pip install timm)"
        )
    if name not in known:
        raise ModelError(f"model {source!r} is not known to timm {package_version('timm')}; {suggest(name, known)}")


def _check_weights(model: Model) -> None:
    if model.weights is None:
        return
    if Path(model.weights).suffix not in WEIGHT_SUFFIXES:
        raise ModelError(f"weights {model.weights} are of an unknown kind; give one of {', '.join(WEIGHT_SUFFIXES)}")
    if not Path(model.weights).is_file():
        raise ModelError(f"weights {model.weights} do not exist; give the path of a checkpoint")
    if Path(model.weights).suffix == ".safetensors":
        try:
            # Holds the header against the file's length: a truncated file is told of before a sweep starts.
            with safe_open(model.weights, "numpy"):
                pass
        except (SafetensorError, OSError) as error:
            raise ModelError(
                f"weights {model.weights} cannot be read, damaged or cut short ({one_line(error)}); save them again"
            ) from None


def check_shipped(entry: ZooEntry) -> None:
    """Hold a shipped checkpoint's bytes against the index; raises ModelError."""
    if not entry.path.is_file():
        raise ModelError(f"checkpoint {entry.path} is missing; {_RESTORE}")
    found = file_sha256(entry.path)
    if found != entry.sha256:
        raise ModelError(
            f"checkpoint {entry.path} is damaged (SHA-256 {found[:12]}…, expected {entry.sha256[:12]}…); {_RESTORE}"
        )


def model_fingerprint(model: Model) -> str:
    """SHA-256, in hex, of all that decides the loaded network; the first link of every node key. Raises ModelError.

    A zoo network: its checkpoint, by the index; torchvision and timm: the name, and the versions that build it; a function: its name, its
    options and the code behind it; an ONNX file, or an exported program: its bytes, those of the files that it keeps weights in, and for a
    program the version that turns it into ONNX. `weights`: the checkpoint's bytes.
    """
    check_model(model)
    kind = source_kind(model.source)
    parts: list[Any] = [kind]
    if kind == "zoo":
        parts += [model.source, "" if model.weights else zoo_index()[model.source].sha256]
    elif kind in {"torchvision", "timm"}:
        parts += [model.source, package_version(kind), package_version("torch")]
    elif kind == "python":
        parts += [split_function(model.source)[1], code_sha256(model.source)]
    else:
        from engine.models.files import files_of

        parts += [file_sha256(path) for path in files_of(Path(model.source))]
        parts += [package_version("torch")] if kind == "exported" else []
    parts += [model.options] if model.options else []
    return digest([*parts, file_sha256(Path(model.weights)) if model.weights else None])
