"""The Open Inference Protocol, version 2, as Triton and KServe speak it over HTTP: bodies of requests and answers.

Source: https://github.com/kserve/open-inference-protocol (specification/protocol/inference_rest.md), and Triton's extension for binary
data (https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md), which its clients use unasked:
after the JSON, whose length a header tells, the tensors follow as they lie in memory, row by row, little end first.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.export.tensors import Tensor
from engine.serve.errors import Malformed
from engine.serve.model import NUMPY, json_of

Array = npt.NDArray[Any]
HEADER = "inference-header-content-length"


def request_of(body: bytes, header: str | None) -> tuple[dict[str, Any], bytes]:
    """The JSON of a request and the binary data behind it; `header` is the length of the JSON as the header has it. Raises Malformed."""
    length = len(body)
    if header is not None:
        if not header.isascii() or not header.isdigit() or int(header) > len(body):
            raise Malformed(f"{HEADER} is {header[:40]!r}, but the body has {len(body)} bytes")
        length = int(header)
    value = json_in(body[:length])
    if not isinstance(value, dict):
        raise Malformed('the body must be a JSON object with "inputs"')
    return value, body[length:]


def json_in(text: bytes) -> Any:
    """A JSON value; NaN and its like, which Python would take, are none. Raises Malformed."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the body is no JSON: {str(error)[:200]}") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON; send it as binary data")


def inputs_of(request: Mapping[str, Any], rest: bytes, wanted: Sequence[Tensor]) -> dict[str, Array]:
    """The tensors of a request, checked against the model's: all of them, none else, of its types and shapes. Raises Malformed."""
    given = request.get("inputs")
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise Malformed('"inputs" must be a list of tensors: {"name", "shape", "datatype", "data"}')
    if any(key in _parameters(request) for key in ("sequence_id", "sequence_start", "sequence_end")):
        raise Malformed(
            "sequences are not kept here: states are zeros at the start of every sample; predict.py --stream feeds them back"
        )
    known, arrays, start = {tensor.name: tensor for tensor in wanted}, dict[str, Array](), 0
    for one in given:
        name = one.get("name")
        if not isinstance(name, str) or name not in known:
            raise Malformed(f"the model has no input {str(name)[:80]!r}; it takes {', '.join(known)}")
        if name in arrays:
            raise Malformed(f"input {name!r} is given twice")
        arrays[name], start = _array(one, known[name], rest, start)
    if missing := [name for name in known if name not in arrays]:
        raise Malformed(f"input {missing[0]!r} is missing; the model takes {', '.join(known)}")
    if start != len(rest):
        raise Malformed(f"{len(rest)} bytes follow the JSON, but its tensors are {start} bytes long")
    return arrays


def _array(given: Mapping[str, Any], tensor: Tensor, rest: bytes, start: int) -> tuple[Array, int]:
    """One tensor, and where the next one's binary data begin."""
    if given.get("datatype") != tensor.datatype:
        raise Malformed(
            f"input {tensor.name!r} is {tensor.datatype} and given as {str(given.get('datatype'))[:40]}: what the graph itself "
            "takes is sent here; /predict takes samples as they are stored, and prepares them"
        )
    shape = given.get("shape")
    if not isinstance(shape, list) or not all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape):
        raise Malformed(f"the shape of input {tensor.name!r} must be a list of sizes")
    if len(shape) != len(tensor.shape) or any(
        b not in (-1, a) for a, b in zip(shape[1:], tensor.shape[1:], strict=True)
    ):
        raise Malformed(f"input {tensor.name!r} is {list(tensor.shape)} (-1: any size) and given as {shape}"[:300])
    if not shape or shape[0] < 1:
        raise Malformed(f"input {tensor.name!r} has no rows")
    kind, count = np.dtype(NUMPY[tensor.datatype]).newbyteorder("<"), math.prod(shape)
    size = _parameters(given).get("binary_data_size")
    if size is None:
        return _of_json(given.get("data"), kind, count, tensor.name).reshape(shape), start
    if not isinstance(size, int) or size != count * kind.itemsize or start + size > len(rest):
        raise Malformed(
            f"input {tensor.name!r} of shape {shape} and type {tensor.datatype} is {count * kind.itemsize} bytes; "
            f"binary_data_size says {str(size)[:40]}, and {len(rest) - start} are there"
        )
    return np.frombuffer(rest, kind, count, start).reshape(shape), start + size


def _of_json(data: Any, kind: np.dtype[Any], count: int, name: str) -> Array:
    """Numbers, flat or nested, as an array that holds exactly those; raises Malformed."""
    try:
        found = np.asarray(data)
    except ValueError:
        raise Malformed(f"the data of input {name!r} are ragged") from None
    fits = {"f": "iuf", "i": "iu", "u": "iu", "b": "biu"}[kind.kind]
    if found.size != count or not count or found.dtype.kind not in fits:
        raise Malformed(f"the data of input {name!r} must be {count} numbers of the type {kind.name}")
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            values = found.astype(kind).reshape(-1)
        if not np.isfinite(values).all():
            raise Malformed(f"the data of input {name!r} hold numbers that are too large for {kind.name}")
        return values
    low, high = (0, 1) if kind.kind == "b" else (np.iinfo(kind).min, np.iinfo(kind).max)
    if int(found.min()) < low or int(found.max()) > high:
        raise Malformed(f"the data of input {name!r} lie outside {kind.name}, {low} to {high}")
    return found.astype(kind).reshape(-1)


def answer(
    request: Mapping[str, Any], name: str, version: str, tensors: Sequence[Tensor], found: Sequence[Array]
) -> tuple[bytes, dict[str, str]]:
    """The body of an answer and its headers: the outputs that were asked for, all where none was named. Raises Malformed."""
    asked = _asked(request, tensors)
    everything = bool(_parameters(request).get("binary_data_output"))
    told, binary = [], []
    for tensor, array in zip(tensors, found, strict=True):
        if asked and tensor.name not in asked:
            continue
        one: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(array.shape)}
        if asked.get(tensor.name, {}).get("binary_data", everything):
            data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
            one["parameters"] = {"binary_data_size": len(data)}
            binary.append(data)
        else:
            one["data"] = array.reshape(-1).tolist()
        told.append(one)
    about = {"model_name": name, "model_version": version, "outputs": told}
    if isinstance(said := request.get("id"), str):
        about["id"] = said
    text = json_of(about)
    if not binary:
        return text, {"content-type": "application/json"}
    return b"".join([text, *binary]), {"content-type": "application/octet-stream", HEADER: str(len(text))}


def _asked(request: Mapping[str, Any], tensors: Sequence[Tensor]) -> dict[str, dict[str, Any]]:
    """{output that was asked for: its parameters}, empty where none was."""
    asked = request.get("outputs", [])
    if not isinstance(asked, list) or not all(isinstance(one, dict) for one in asked):
        raise Malformed('"outputs" must be a list of {"name"}')
    known = {tensor.name for tensor in tensors}
    found = {}
    for one in asked:
        if not isinstance(one.get("name"), str) or one["name"] not in known:
            raise Malformed(f"the model has no output {str(one.get('name'))[:80]!r}; it gives {', '.join(known)}")
        parameters = _parameters(one)
        if "classification" in parameters:
            raise Malformed("outputs as classes are not given here; /predict names them")
        found[one["name"]] = parameters
    return found


def _parameters(of: Mapping[str, Any]) -> dict[str, Any]:
    found = of.get("parameters", {})
    if not isinstance(found, dict):
        raise Malformed('"parameters" must be an object')
    return found
