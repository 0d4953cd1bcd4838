#!/usr/bin/env python3
"""What this bundle's model says of your inputs. Needs Python 3.9 or newer, numpy and onnxruntime; for pictures Pillow too.

    python predict.py INPUT... [--output FILE.npz] [--stream]

An INPUT is a picture, a .wav, an .npy of inputs, or an .npz with `x_test` or `x`, as the model's data were stored: what the network reads
is made of it here, by preprocess.json. One line an input: its class and the class's share, or the output's numbers. States begin as
zeros for each input; with --stream all are one stream. As a module it has `open_model`, `preprocess`, `outputs` and `Stream`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from engine.datasets.audio import AudioError, array_prepared, file_prepared
from engine.export.answers_template import told
from engine.export.stream_template import Memory, begun, counted, states_of

Array = npt.NDArray[Any]
Inputs = dict[str, Array]
"""Arrays (n, ...) by the names of the inputs that they are for; a single one has none."""

MAX_ARRAY_BYTES = 2 << 30
"""More than this in a .npz is refused before it is unpacked."""


class BundleError(Exception):
    """The bundle, or the data given with it, cannot be read; one line for the person at the keyboard."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of the bundle; raises BundleError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(f"{path.name} cannot be read: {error}; export the bundle again") from None
    if not isinstance(value, dict):
        raise BundleError(f"{path.name} is not a JSON object")
    return value


def read_arrays(path: Path, names: Sequence[str]) -> list[Array]:
    """The named arrays of a .npz, which may hold numbers only; raises BundleError."""
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(info.file_size for info in archive.infolist()) > MAX_ARRAY_BYTES:
                raise BundleError(f"{path.name} unpacks to more than {MAX_ARRAY_BYTES >> 30} GiB; give a smaller file")
        with np.load(path, allow_pickle=False) as arrays:
            missing = [name for name in names if name not in arrays]
            if missing:
                raise BundleError(f"{path.name} has no array {missing[0]!r}; it needs {', '.join(names)}")
            return [arrays[name] for name in names]
    except FileNotFoundError:
        raise BundleError(f"{path} does not exist; give the path of a .npz file") from None
    except (OSError, ValueError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(f"{path.name} is not a usable .npz file: {error}") from None


def preprocess(inputs: Array, settings: dict[str, Any]) -> Array:
    """Stored inputs (n, channels, ...) -> what the network reads, in float32 unless it reads them as they are."""
    if settings.get("untouched"):
        return inputs
    per_channel = (1, -1, *[1] * (inputs.ndim - 2))
    mean, std = (np.asarray(settings[name], np.float32).reshape(per_channel) for name in ("mean", "std"))
    values = inputs[:, ::-1] if settings["flip"] else inputs
    found = ((values.astype(np.float32) * np.float32(settings["scale"]) - mean) / std).astype(np.float32)
    return np.ascontiguousarray(np.moveaxis(found, 1, -1)) if settings["channels_last"] else found


LEVELS = {"disable": "DISABLE_ALL", "basic": "ENABLE_BASIC", "extended": "ENABLE_EXTENDED", "all": "ENABLE_ALL"}
"""A runtime's `graph_optimisation` -> onnxruntime's name for it, without its `ORT_`."""

PLUGINS = {"OpenVINO": "onnxruntime_ep_openvino"}
"""Providers that a package beside onnxruntime brings, and its module."""


def open_model(path: Path, threads: int = 1, graph_optimisation: str = "all", provider: str = "CPU") -> Any:
    """An onnxruntime session with the options that the model was measured with; raises BundleError."""
    try:  # here, so that what only reads a bundle's text parts need not wait for it
        import onnxruntime
    except ImportError:
        raise BundleError("onnxruntime is not installed; run `pip install onnxruntime numpy`") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, "ORT_" + LEVELS[graph_optimisation])
    name, plugin = {"TensorRT": "Tensorrt"}.get(provider, provider) + "ExecutionProvider", PLUGINS.get(provider)
    try:
        if plugin and name not in onnxruntime.get_available_providers():
            library = importlib.import_module(plugin).get_library_path()
            onnxruntime.register_execution_provider_library(provider, library)
        devices = [d for d in onnxruntime.get_ep_devices() if d.ep_name == name] if plugin else []
    except Exception as error:  # not installed, or any of onnxruntime's own
        raise BundleError(f"{one_line(error)}; run `pip install {str(plugin).replace('_', '-')}`") from None
    if name not in onnxruntime.get_available_providers():
        raise BundleError(f"the onnxruntime here lacks {name}, with which this model is run; install what brings it")
    if devices:
        # Naming a plugin, as is done for what is built in, silently gives the CPU. Float32 and no choice of cores, as it was measured.
        config = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": "NO"}
        device = next((d for d in devices if d.device.type.name == "CPU"), devices[0])
        options.add_provider_for_devices([device], {"load_config": json.dumps({"CPU": config | {"NUM_STREAMS": "1"}})})
    providers = None if devices else [name, "CUDAExecutionProvider"] if provider == "TensorRT" else [name]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
    except Exception as error:  # onnxruntime raises a dozen unrelated classes for a bad file
        raise BundleError(f"{path.name} cannot be loaded by onnxruntime: {one_line(error)}") from None
    if name not in session.get_providers():
        raise BundleError(f"{name} does not start here (its device or libraries are missing)")
    return session


def open_bundle(folder: Path, manifest: dict[str, Any], threads: int = 0) -> Any:
    """The session of an unpacked bundle's model, as it was measured, or with other `threads`; raises BundleError."""
    how = manifest["runtime"]
    return open_model(folder / "model.onnx", threads or how["threads"], how["graph_optimisation"], how["provider"])


def fixed_batch(session: Any) -> int:
    """Inputs per run where the file fixes that, else 0."""
    fed_in = [one for one in session.get_inputs() if one.name not in begun(session, 1)]
    return next((n for one in fed_in for n in one.shape[:1] if isinstance(n, int)), 0)


def fed(session: Any, inputs: Inputs, settings: dict[str, Any], batch: int = 0) -> dict[str, Array]:
    """What one run is given: stored inputs, preprocessed, in the model's number types; the first is repeated where `batch` wants more."""
    types = {"tensor(float)": "float32", "tensor(double)": "float64"}
    found = begun(session, max(batch, len(next(iter(inputs.values())))))
    for one in session.get_inputs():
        if one.name in found:
            continue  # a state
        values = preprocess(inputs[""], settings) if "" in inputs else inputs[one.name]
        more = np.repeat(values[:1], max(0, batch - len(values)), axis=0)
        found[one.name] = np.concatenate([values, more]).astype(types.get(one.type, one.type[7:-1]), copy=False)
    return found


def outputs(session: Any, inputs: Array | Inputs, settings: dict[str, Any]) -> Array:
    """The model's output for each stored input, shape (n, ...), several side by side (`parts_of`); raises BundleError.

    One by one where the file rounds to what it finds in a batch (`alone`).
    """
    named = inputs if isinstance(inputs, dict) else {"": inputs}
    first, fixed, found = next(iter(named.values())), fixed_batch(session), []
    for start in range(0, len(first), size := fixed or (1 if settings.get("alone") else 100)):
        some = {name: array[start : start + size] for name, array in named.items()}
        try:  # A file may fix its batch: the last one is filled up with its first image.
            given = session.run(counted(session), fed(session, some, settings, fixed))
            found.append(_together(given)[: len(first) - start])
        except Exception as error:  # as in open_model
            raise BundleError(f"the model cannot run on inputs of {first.shape[1:]}: {one_line(error)}") from None
    if not found:
        raise BundleError("there are no inputs")
    return np.concatenate(found)


def _together(given: Sequence[Array]) -> Array:
    # Whole numbers and float64 lose digits in float32.
    kind = np.float32 if all(a.dtype == np.float32 for a in given) else np.float64
    return np.asarray(given[0]) if len(given) == 1 else np.hstack([a.reshape(len(a), -1).astype(kind) for a in given])


class Stream:
    """One stream through a model with states: what a call leaves, the next begins with. Raises BundleError for a model that cannot."""

    def __init__(self, session: Any, settings: dict[str, Any]) -> None:
        if not states_of(session):
            raise BundleError("this model has no states: every input is answered by itself; leave --stream out")
        if fixed_batch(session) > 1:
            raise BundleError(f"this model takes {fixed_batch(session)} inputs at once, and a stream has one at a time")
        self._session, self._settings, self._memory = session, settings, Memory(session)
        self.reset = self._memory.reset

    def __call__(self, inputs: Array | Inputs) -> Array:
        """The model's output for each stored input in turn, as `outputs` gives it; raises BundleError."""
        named = inputs if isinstance(inputs, dict) else {"": inputs}
        try:
            some = ({n: a[i : i + 1] for n, a in named.items()} for i in range(len(next(iter(named.values())))))
            found = [_together(self._memory.run(fed(self._session, one, self._settings))) for one in some]
            return np.concatenate(found)
        except Exception as error:  # as in open_model
            raise BundleError(f"the model cannot run on these inputs: {one_line(error)}") from None


def parts_of(found: Array, settings: dict[str, Any]) -> Inputs:
    """What `outputs` gives by the outputs' names, each (n, ...) in its own number type; one output alone is called `outputs`."""
    if "outputs" not in settings:
        return {"outputs": found}
    ends = np.cumsum([int(np.prod(one["shape"])) for one in settings["outputs"]])
    return {
        one["name"]: part.reshape(len(found), *one["shape"]).astype(one["dtype"])
        for one, part in zip(settings["outputs"], np.split(found, ends[:-1], axis=1))
    }


def as_stored(inputs: Array, settings: dict[str, Any], name: str) -> Array:
    """Inputs as people keep them -> (n, channels, ...) as the model's data were stored; raises BundleError where they are others."""
    stored = tuple(settings["stored_shape"])
    inputs = inputs[:, None] if (1, *inputs.shape[1:]) == stored else inputs
    if inputs.shape[1:] == (*stored[1:], stored[0]) != stored:
        inputs = np.moveaxis(inputs, -1, 1)
    if (sounds := settings.get("audio")) and inputs.shape[1:] != stored:
        try:
            inputs = array_prepared(inputs, sounds)
        except AudioError as error:
            raise BundleError(f"{name} {error}") from None
    if inputs.shape[1:] != stored:
        raise BundleError(f"{name}: inputs of {inputs.shape[1:]}, but the model is given {'×'.join(map(str, stored))}")
    kinds = "biu" if np.dtype(settings["stored_dtype"]).kind in "biu" else "biuf"  # fractions would be cut off
    if inputs.dtype.kind not in kinds or (inputs.dtype == np.uint8) != (settings["stored_dtype"] == "uint8"):
        raise BundleError(
            f"{name}: inputs are {inputs.dtype}, but this model was measured on {settings['stored_dtype']}"
        )
    return inputs


def read_inputs(path: Path, settings: dict[str, Any]) -> Inputs:
    """The inputs of a file, as stored, several ones by name; raises BundleError."""
    try:
        with path.open("rb") as file:
            return inputs_of(file, path.name, settings)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {one_line(error)}") from None


def inputs_of(file: IO[bytes], name: str, settings: dict[str, Any]) -> Inputs:
    """The inputs in an open file, whose name says what it is; as `read_inputs` gives them. Raises BundleError."""
    kind = Path(name).suffix
    if (sounds := settings.get("audio")) and kind not in (".npy", ".npz"):
        try:
            return {"": as_stored(file_prepared(file, sounds), settings, name)}
        except AudioError as error:
            raise BundleError(f"{name} {one_line(error)}") from None
    if kind not in (".npy", ".npz"):
        return {"": as_stored(_picture(file, name, settings), settings, name)}
    try:
        found = np.load(file, allow_pickle=False)
        if isinstance(found, np.ndarray):  # an .npy, which nobody need close
            return {"": as_stored(found, settings, name)}
        with found:
            if several := settings.get("inputs"):
                return {one["name"]: found[_named(found.files, one, name)] for one in several}
            names = [name for name in ("x_test", "x", "inputs") if name in found.files]
            if not names:
                raise BundleError(f"{name} has no array x_test, x or inputs (it has {', '.join(found.files)})")
            return {"": as_stored(found[names[0]], settings, name)}
    except (ValueError, EOFError, AttributeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(f"{name} cannot be read: {one_line(error)}") from None


def read_data(path: Path, settings: dict[str, Any]) -> tuple[Inputs, Array]:
    """`x_test`, or each of several inputs under its array's name, and `y_test` of a .npz, as (n, ...) each; raises BundleError."""
    if several := settings.get("inputs"):
        *arrays, targets = read_arrays(path, [*(f"{one['array']}_test" for one in several), "y_test"])
        inputs = {one["name"]: array for one, array in zip(several, arrays)}
    else:
        stored, targets = read_arrays(path, ("x_test", "y_test"))
        inputs = {"": as_stored(stored, settings, path.name)}
    if settings["task"] == "classification":
        targets = targets.reshape(-1)
    if targets.dtype.kind not in "biuf" or not np.isfinite(targets).all():
        raise BundleError(f"{path.name}: y_test must hold numbers; found {targets.dtype}, or numbers that are none")
    n = len(targets)
    if not n or any(len(array) != n for array in inputs.values()):
        lengths = ", ".join(str(len(array)) for array in inputs.values())
        raise BundleError(f"{path.name}: y_test has {n} labels for {lengths} inputs; one label for each is needed")
    return inputs, targets


def _named(held: Sequence[str], one: dict[str, Any], file: str) -> str:
    """The array of an input as a file has it: of the test split, of all, or as a bundle's sample has it."""
    for form in ("{array}_test", "test_{array}", "test/{array}", "{array}", "inputs/{name}"):
        if (held_as := form.format(**one)) in held:
            return held_as
    raise BundleError(f"{file} has no array {one['array']}_test or {one['array']} (it has {', '.join(held)})")


def _picture(file: IO[bytes], name: str, settings: dict[str, Any]) -> Array:
    """A picture as its like were read: its shorter side `resize` pixels, `crop` cut around the centre; (1, channels, height, width)."""
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise BundleError("pictures need Pillow; run `pip install pillow`, or give an .npy of inputs") from None
    shape = settings.get("stored_shape", ())
    channels, height, width = shape if len(shape) == 3 else (0, 0, 0)
    if channels not in (1, 3) or settings["stored_dtype"] != "uint8":
        raise BundleError(f"{name}: this model's inputs are no pictures of bytes; give an .npy of inputs")
    try:
        picture = ImageOps.exif_transpose(Image.open(file)).convert("L" if channels == 1 else "RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise BundleError(f"{name} cannot be read as a picture: {one_line(error)}") from None
    pictures = settings.get("pictures", {})
    if resize := pictures.get("resize"):
        w, h = picture.size
        w, h = (resize, int(resize * h / w)) if w <= h else (int(resize * w / h), resize)
        picture = picture.resize((w, h), Image.Resampling.BILINEAR)
    if crop := pictures.get("crop"):
        left, top = round((picture.width - crop) / 2), round((picture.height - crop) / 2)
        picture = picture.crop((left, top, left + crop, top + crop))
    if picture.size != (width, height):
        raise BundleError(
            f"{name} is {picture.width}×{picture.height}, but the model is given {width}×{height}: resize it"
        )
    return np.asarray(picture, np.uint8).reshape(height, width, channels).transpose(2, 0, 1)[None]


def one_line(error: BaseException) -> str:
    """An exception's message as one line, cut in its middle: onnxruntime begins with where it stood, and ends with why."""
    said = " ".join(str(error).split())
    return said if len(said) <= 300 else f"{said[:120]} … {said[-177:]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of predict.py; returns the exit code."""
    parser = argparse.ArgumentParser(description="What this model says of your inputs.")
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="a picture, a .wav, an .npy or an .npz")
    parser.add_argument("--output", type=Path, metavar="FILE.npz", help="keep the outputs as numbers, too")
    parser.add_argument("--stream", action="store_true", help="feed states back from each input to the next")
    given, folder = parser.parse_args(arguments), Path(__file__).resolve().parent
    try:
        settings, manifest = read_json(folder / "preprocess.json"), read_json(folder / "manifest.json")
        labels = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()
        session = open_bundle(folder, manifest)
        say = Stream(session, settings) if given.stream else lambda some: outputs(session, some, settings)
        every = [say(read_inputs(path, settings)) for path in given.inputs]
    except (BundleError, OSError, KeyError) as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2
    for path, found in zip(given.inputs, every):
        for name, part in parts_of(found, settings).items():
            said = f"  {name}" if "outputs" in settings else ""
            for i, line in enumerate(told(part, labels)):
                print(f"{path.name}{f'[{i}]' if len(found) > 1 else ''}{said}  {line}")
    if given.output:
        np.savez(given.output, allow_pickle=False, **parts_of(np.concatenate(every), settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
