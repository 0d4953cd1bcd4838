"""A trial as C: its file as a constant array, test vectors, and a program that holds both against what was exported.

    model.c  model.h  samples.c  samples.h  main.c  sha256.h  Makefile  CMakeLists.txt  README.md  preprocess.json  [labels.txt]

The fixed files are in `c_files/`. The vectors go in as the graph takes them, since nothing in C prepares them.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.export.parts_folder import Made, Opened, opened
from engine.export.predict_template import Array, BundleError, fed, fixed_batch
from engine.export.verify_template import VALUES_MAY_DIFFER

CALLS = 8
VECTOR_BYTES = 256 << 10
"""Of the vectors, inputs and outputs together: a few calls tell whether a model answers alike, and flash is dear. At least one call is."""
LARGEST_MODEL = 16 << 20
"""gcc 12 takes 2.6 GB of memory for an array of so many bytes."""

_FILES = Path(__file__).with_name("c_files")
_LEVELS = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_TYPES = {
    "float32": ("FLOAT", "float"), "float64": ("DOUBLE", "double"), "float16": ("FLOAT16", "uint16_t"), "bool": ("BOOL", "uint8_t"),
    **{f"{kind}{bits}": (f"{kind.upper()}{bits}", f"{kind}{bits}_t") for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}  # fmt: skip
"""numpy's name of a type -> that in samples.h, and C's."""


def sources(parts: Mapping[str, bytes]) -> Made:
    """The C project of a bundle's parts; raises BundleError for a file that is too large for an array."""
    with opened(parts) as bundle:
        bare = parts["model.onnx"][: bundle.manifest["bare"]]
        if len(bare) > LARGEST_MODEL:
            raise BundleError(
                f"the file has {len(bare) / 1e6:,.1f} MB; as a C array {LARGEST_MODEL / 1e6:,.1f} MB can be compiled: load model.onnx of "
                "the bundle from a file instead"
            )
        if (provider := bundle.manifest["runtime"]["provider"]) != "CPU":
            raise BundleError(
                f"the trial was measured with {provider}, but main.c runs CPU kernels; export its recipe without that"
            )
        given, answered = vectors(bundle)
        manifest = bundle.manifest
        digest = hashlib.sha256(bare).hexdigest()
        members = {path.name: path.read_bytes() for path in sorted(_FILES.iterdir()) if path.is_file()}
        members |= {
            "model.h": _model_h(len(bare), digest, bundle.manifest["runtime"]["graph_optimisation"]).encode(),
            "model.c": _model_c(bare, bundle.manifest["label"]).encode(),
            "samples.c": samples_c(
                given, answered, manifest["arithmetic"], manifest["runtime"], bundle.labels
            ).encode(),
            "preprocess.json": parts["preprocess.json"],
        }
        if bundle.labels:
            members["labels.txt"] = parts["labels.txt"]
    calls = len(next(iter(given.values())))
    facts = {"bytes": len(bare), "sha256": digest, "calls": calls, "runtime": bundle.manifest["runtime"]}
    return members, facts, f"{len(bare):,} bytes as an array, {calls} calls as test vectors"


def vectors(bundle: Opened) -> tuple[dict[str, Array], dict[str, Array]]:
    """What goes into some calls and comes out, by the graph's names: (calls, …) of each, a call being one sample or a fixed batch."""
    session, size = bundle.session, fixed_batch(bundle.session)
    names = [output.name for output in session.get_outputs()]
    given: list[dict[str, Array]] = []
    answered: list[dict[str, Array]] = []
    room = VECTOR_BYTES
    for start in range(0, len(next(iter(bundle.inputs.values()))), size or 1):
        some = {name: array[start : start + (size or 1)] for name, array in bundle.inputs.items()}
        taken = fed(session, some, bundle.settings, size)
        found = dict(zip(names, (np.asarray(output) for output in session.run(names, taken)), strict=True))
        room -= sum(array.nbytes for array in (*taken.values(), *found.values()))
        if given and (room < 0 or len(given) == CALLS):
            break
        given.append(taken)
        answered.append(found)
    return _stacked(given), _stacked(answered)


def _stacked(calls: list[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.stack([call[name] for call in calls]) for name in calls[0]}


def _model_h(size: int, digest: str, optimisation: str) -> str:
    return f"""\
/* The ONNX file, byte for byte as it was measured. */
#ifndef MODEL_H
#define MODEL_H

#define MODEL_SIZE {size}u
#define MODEL_SHA256 "{digest}"
#define MODEL_OPTIMISATION {_LEVELS[optimisation]}

extern const unsigned char model_onnx[MODEL_SIZE];

#endif
"""


def _model_c(bare: bytes, label: str) -> str:
    rows = "\n".join(",".join(map(str, bare[at : at + 32])) + "," for at in range(0, len(bare), 32))
    said = re.sub(r"[^\x20-\x7e]", "?", label).replace("*/", "")
    return f'#include "model.h"\n\n/* {said} */\n_Alignas(64) const unsigned char model_onnx[MODEL_SIZE] = {{\n{rows}\n}};\n'


def samples_c(
    given: Mapping[str, Array],
    answered: Mapping[str, Array],
    arithmetic: str,
    runtime: Mapping[str, Any],
    labels: Sequence[str],
) -> str:
    """samples.c of calls, (calls, …) of each input and output; C reads the very same numbers."""
    tolerance = VALUES_MAY_DIFFER[arithmetic]
    lines = ["#include <math.h>", "", '#include "samples.h"', ""]
    for kind, tensors in (("input", given), ("output", answered)):
        entries = []
        for number, (name, array) in enumerate(tensors.items()):
            said, c_type = _TYPES[str(array.dtype)]
            shape, each = array.shape[1:], array[0]
            dims = ", ".join(map(str, shape)) or "0"
            lines.append(f"static const int64_t {kind}_{number}_dims[] = {{{dims}}};")
            lines.append(f"static const {c_type} {kind}_{number}[] = {{\n{_numbers(array)}\n}};")
            sizes = f"{len(shape)}, {kind}_{number}_dims, {each.size}, {each.nbytes}, {kind}_{number}"
            entries.append(f"    {{{_text(name)}, SAMPLE_{said}, {sizes}, {tolerance:g}}},")
        lines += [f"const sample_tensor sample_{kind}[] = {{", *entries, "};"]
    calls = len(next(iter(given.values())))
    lines.append(
        f"const size_t sample_calls = {calls}, sample_inputs = {len(given)}, sample_outputs = {len(answered)};"
    )
    lines.append(f"const int sample_threads = {runtime['threads']}, sample_classes = {int(bool(labels))};")
    return "\n".join(lines) + "\n"


def _text(name: str) -> str:
    """A C string of any name."""
    plain = "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in name.encode())
    return f'"{plain}"'


def _numbers(array: Array) -> str:
    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype == np.float16:
        flat = flat.view(np.uint16)
    told = [_number(value) for value in flat]
    return "\n".join(", ".join(told[at : at + 12]) + "," for at in range(0, len(told), 12))


def _number(value: Any) -> str:
    """A literal that C reads as the very same number."""
    if isinstance(value, np.floating):
        if not np.isfinite(value):
            return "NAN" if np.isnan(value) else "INFINITY" if value > 0 else "-INFINITY"
        said = np.format_float_scientific(value, unique=True, trim="0")
        return said + ("f" if isinstance(value, np.float32) else "")
    whole = int(value)
    if value.dtype == np.uint64:
        return f"UINT64_C({whole})"
    if value.dtype == np.int64:
        # The least has no literal of its own.
        return "INT64_MIN" if whole == np.iinfo(np.int64).min else f"INT64_C({whole})"
    return "INT32_MIN" if value.dtype == np.int32 and whole == np.iinfo(np.int32).min else str(whole)
