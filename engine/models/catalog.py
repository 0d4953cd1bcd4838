"""Which models there are, and what identifies one: names, descriptions, content hashes. Never imports torch.

The command line and the browser check a model source here before any work starts; `sources.py` loads it.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from safetensors import SafetensorError, safe_open

from engine.errors import ModelError
from engine.paths import CHECKPOINTS
from engine.spec import code_hash
from engine.spec.canonical import digest
from engine.spec.sections import Model

DESCRIPTIONS: dict[str, str] = {
    "resnet8": "MLPerf Tiny's image classifier: a stem and three residual blocks.",
    "resnet20": "The CIFAR ResNet-20: a stem and nine residual blocks.",
    "ds_cnn": "MLPerf Tiny's keyword spotter on images: four depthwise-separable blocks of 64 channels.",
    "mobilenet_v2": "torchvision's MobileNetV2 at half width, stem and strides fitted to 28×28.",
    "recursive_resnet": "One residual block per stage, applied three times with the same weights: depth without parameters.",
}
WEIGHT_SUFFIXES = (".safetensors", ".pt", ".pth", ".th", ".ckpt", ".bin", ".tar")
Kind = Literal["zoo", "torchvision", "python", "onnx"]
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
    package = find_spec("torchvision")
    if package is None or package.origin is None:
        return ()
    names: list[str] = []
    for file in sorted((Path(package.origin).parent / "models").glob("*.py")):
        names += re.findall(
            r"^@register_model\(\)\n(?:@.*\n)*def (\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE
        )
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


def source_kind(source: str) -> Kind:
    """Where a model source comes from, by its form alone; raises ModelError for a form or zoo name that does not exist."""
    if source.endswith(".onnx"):
        return "onnx"
    if source.startswith("torchvision:"):
        return "torchvision"
    if ".py:" in source:
        return "python"
    if source in DESCRIPTIONS:
        return "zoo"
    suffix = Path(source).suffix
    if suffix == ".py":
        raise ModelError(f"model {source!r} names no function; write {source}:FUNCTION, which returns the network")
    if suffix in WEIGHT_SUFFIXES:
        raise ModelError(
            f"model {source!r} holds weights alone; write model: {{source: path/to/file.py:function, weights: {source}}}"
        )
    if source.startswith("timm:"):
        raise ModelError(
            f"model {source!r}: timm is not supported yet; build it in a file and write path/to/file.py:function"
        )
    if ":" in source:
        raise ModelError(f"model {source!r} is not known; write torchvision:NAME or path/to/file.py:function")
    raise ModelError(
        f"model {source!r} is not known; {suggest(source, zoo_names())} "
        "Or write torchvision:NAME, path/to/file.py:function or path/to/model.onnx"
    )


def split_python(source: str) -> tuple[Path, str]:
    """`path/to/file.py:function` -> the file and the function's name."""
    path, _, function = source.rpartition(":")
    return Path(path), function


def check_model(model: Model) -> None:
    """Everything about a model source that can be checked without loading it; raises ModelError."""
    kind = source_kind(model.source)
    if kind == "torchvision":
        name = model.source.removeprefix("torchvision:")
        if name not in torchvision_names():
            raise ModelError(f"model {model.source!r} is not known; {suggest(name, torchvision_names())}")
    elif kind == "python":
        path, function = split_python(model.source)
        if not path.is_file():
            raise ModelError(f"model {model.source!r}: {path} does not exist; give the path of a Python file")
        if not function.isidentifier():
            raise ModelError(f"model {model.source!r}: {function!r} is not a function's name; write {path}:FUNCTION")
    elif kind == "onnx":
        if not Path(model.source).is_file():
            raise ModelError(f"model {model.source} does not exist; give the path of an ONNX file")
        if model.weights is not None:
            raise ModelError(f"model {model.source} holds its own weights; remove `weights: {model.weights}`")
        # Not at the top: graphs are read here alone, and importing onnx takes a third of a second.
        from engine.graph.graph import load_onnx

        load_onnx(Path(model.source))
    elif model.weights is None:
        entry = zoo_index().get(model.source)
        if entry is None:
            raise ModelError(
                f"model {model.source!r} has no shipped checkpoint; give `weights`, or use it as a student"
            )
        check_shipped(entry)
    _check_weights(model)


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


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex; raises ModelError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}); give the path of a file that can") from None


def code_sha256(path: Path) -> str:
    """Hash of a Python file and, transitively, of the files beside it that it imports; raises ModelError when one cannot be read."""
    return code_hash.code_sha256(path, file_sha256)


def package_version(name: str) -> str:
    """An installed package's version, without importing it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def model_fingerprint(model: Model) -> str:
    """SHA-256, in hex, of all that decides the loaded network; the first link of every node key. Raises ModelError.

    A zoo network: its checkpoint, by the index; torchvision: the name and the versions that build it; a Python function: the
    bytes of its file and of what it imports from beside it; an ONNX file: its bytes. `weights`: the checkpoint's bytes.
    """
    check_model(model)
    kind = source_kind(model.source)
    parts: list[str] = [kind]
    if kind == "zoo":
        parts += [model.source, "" if model.weights else zoo_index()[model.source].sha256]
    elif kind == "torchvision":
        parts += [model.source, package_version("torchvision"), package_version("torch")]
    elif kind == "python":
        path, function = split_python(model.source)
        parts += [function, code_sha256(path)]
    else:
        parts.append(file_sha256(Path(model.source)))
    return digest([*parts, file_sha256(Path(model.weights)) if model.weights else None])
