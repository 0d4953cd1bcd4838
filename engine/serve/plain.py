"""What /predict takes and says: samples as they are stored, as a picture, a sound, .npy, .npz or JSON; the bundle prepares them."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from engine.export.answers_template import shares_of
from engine.export.predict_template import BundleError, as_stored, inputs_of
from engine.serve.errors import Malformed
from engine.serve.model import Model
from engine.serve.open_inference import json_in
from engine.uploads.bounds import Refused as NoArray
from engine.uploads.npz_file import header

Array = npt.NDArray[Any]
LARGEST_PICTURE = 50_000_000
"""Pixels; a picture of a few bytes may declare billions."""
MOST_TOLD = 5
"""Classes that an answer names, the likeliest first."""


def inputs_in(body: bytes, model: Model, largest: int) -> dict[str, Array]:
    """The samples of a request by the names of their inputs, as stored; `largest` bound the bytes that .npz may unpack to.

    What it is shows in its first bytes, not in what it calls itself. Raises Malformed.
    """
    if not body:
        raise Malformed("the body is empty; send a picture, .npy, .npz or JSON")
    name = "the body" + _kind(body, largest)
    try:
        as_json = name.endswith(".json")
        found = (
            _of_json(json_in(body), model.settings) if as_json else inputs_of(io.BytesIO(body), name, model.settings)
        )
    except BundleError as error:
        raise Malformed(str(error)) from None
    sizes = {len(array) if array.ndim else 0 for array in found.values()}
    if len(sizes) != 1 or 0 in sizes:
        raise Malformed(f"each input needs the same number of samples, one at least; found {sorted(sizes)}")
    for one in model.settings.get("inputs", ()):
        array = found[one["name"]]
        if array.shape[1:] != tuple(one["shape"][1:]) or array.dtype.kind != np.dtype(one["dtype"]).kind:
            raise Malformed(
                f"{one['name']} is {array.dtype} {array.shape[1:]}, but {one['dtype']} {one['shape'][1:]} is read"
            )
    return found


def _kind(body: bytes, largest: int) -> str:
    """The ending that a file of these bytes would have; what would unpack to too much is refused."""
    if body.startswith(b"\x93NUMPY"):
        _checked(io.BytesIO(body), len(body), "array")
        return ".npy"
    if body.startswith(b"PK"):
        try:
            with zipfile.ZipFile(io.BytesIO(body)) as archive:
                size = sum(info.file_size for info in archive.infolist())
                if size > largest:
                    raise Malformed(
                        f"the .npz unpacks to {size / 1e6:,.0f} MB; {largest / 1e6:,.0f} MB are allowed", 413
                    )
                for info in archive.infolist():
                    with archive.open(info) as member:
                        _checked(member, info.file_size, info.filename)
        # RuntimeError and NotImplementedError: encrypted members and unknown compression.
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise Malformed(f"the .npz cannot be read: {error}") from None
        return ".npz"
    if body.startswith(b"RIFF") and body[8:12] == b"WAVE":
        return ".wav"
    if body.lstrip()[:1] in (b"{", b"["):
        return ".json"
    _small_enough(body)
    return ".png"


def _checked(stream: IO[bytes], n_bytes: int, name: str) -> None:
    """Refuses an array that declares more than is there, before room is made for it, and what is no numbers."""
    try:
        header(stream, n_bytes, name)
    except NoArray as error:
        raise Malformed(f"the body {error}") from None


def _small_enough(body: bytes) -> None:
    from PIL import Image

    try:
        with Image.open(io.BytesIO(body)) as picture:
            width, height = picture.size
    except Image.DecompressionBombError as error:
        raise Malformed(str(error)[:200], 413) from None
    except Exception as error:  # whatever a decoder finds in hostile bytes
        raise Malformed(f"the body is no picture, .wav, .npy, .npz or JSON ({type(error).__name__})", 415) from None
    if width * height > LARGEST_PICTURE:
        raise Malformed(f"the picture is {width}×{height}; {LARGEST_PICTURE / 1e6:.0f} million pixels are allowed", 413)


def _of_json(value: Any, settings: dict[str, Any]) -> dict[str, Array]:
    """`{"inputs": samples}`, or one sample; of several inputs `{"inputs": {name: samples}}`."""
    if not isinstance(value, dict) or "inputs" not in value:
        raise Malformed('JSON must be {"inputs": …}')
    given = value["inputs"]
    if several := settings.get("inputs"):
        if not isinstance(given, dict) or set(given) != {one["name"] for one in several}:
            raise Malformed(f'"inputs" must have {", ".join(one["name"] for one in several)}, each a list of samples')
        return {one["name"]: _numbers(given[one["name"]], one["dtype"], one["name"]) for one in several}
    found, shape = _numbers(given, settings["stored_dtype"], "inputs"), tuple(settings["stored_shape"])
    return {"": as_stored(found[None] if found.shape in (shape, shape[1:]) else found, settings, "inputs")}


def _numbers(value: Any, dtype: str, name: str) -> Array:
    try:
        found = np.asarray(value)
    except ValueError:
        raise Malformed(f"{name}: lists of unequal length") from None
    kind = np.dtype(dtype)
    if found.dtype.kind not in ("iuf" if kind.kind == "f" else "iu") or not found.size:
        raise Malformed(f"{name}: numbers of the type {dtype} are needed")
    if kind.kind != "f" and (found.min() < np.iinfo(kind).min or found.max() > np.iinfo(kind).max):
        raise Malformed(
            f"{name}: numbers of the type {dtype} lie between {np.iinfo(kind).min} and {np.iinfo(kind).max}"
        )
    return found.astype(kind)


def told_of(model: Model, outputs: Sequence[Array]) -> list[dict[str, Any]]:
    """An answer a sample: its likeliest classes with their shares, or its values, by output where there are several."""
    if model.labels:
        return [_likeliest(row, model.labels) for row in shares_of(outputs[0])]
    if len(outputs) == 1:
        return [{"values": row.tolist()} for row in outputs[0]]
    names = [tensor.name for tensor in model.outputs]
    return [
        {"outputs": {name: row.tolist() for name, row in zip(names, rows, strict=True)}}
        for rows in zip(*outputs, strict=True)
    ]


def _likeliest(shares: Array, labels: list[str]) -> dict[str, Any]:
    best = np.argsort(-shares, kind="stable")[:MOST_TOLD]
    top = [{"class": labels[i], "share": float(shares[i])} for i in best]
    return {**top[0], "top": top}
