"""The zip of `--for tflite`: the file, how to feed it, and what it was checked with.

model.tflite  preprocess.json  labels.txt  README.md  check.json  vectors.npz
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from engine.export import predict_template
from engine.export.tflite.check import Agreement, compare
from engine.export.tflite.convert import Converted, Port, as_fed, convert
from engine.export.zips import json_bytes, npz_bytes
from engine.graph.inputs import Feeds, NamedArrays

Array = npt.NDArray[Any]

_VECTORS = 16
_ADDED = {
    "AVERAGE_POOL_2D": "AveragePool2D",
    "CONV_2D": "Conv2D",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2D",
    "MAX_POOL_2D": "MaxPool2D",
    "PADV2": "PadV2",
}
"""Operators whose `resolver.Add…()` is not their name in capitals and small letters."""


def packaged(parts: Mapping[str, bytes]) -> tuple[dict[str, bytes], dict[str, Any], str]:
    """A bundle's parts -> the members of the zip, what there is to say about it as JSON, and in one line.

    Raises SetupError without `ai-edge-litert`, ModelError for an operator without an int8 form, or a file too far from the graph.
    """
    settings, manifest = (json.loads(parts[name]) for name in ("preprocess.json", "manifest.json"))
    model, label = onnx.load_model_from_string(parts["model.onnx"]), str(manifest["label"])
    stored = dict(np.load(io.BytesIO(parts["sample.npz"]), allow_pickle=False))
    samples = _samples(model, stored, settings)
    # Of maps and values a bundle keeps outputs; of classes that nobody has labelled, no accuracy.
    classes = "predictions" in stored and len(model.graph.output) == 1
    labelled = manifest["expected"].get("accuracy") is not None
    made = convert(model, samples, f"Paretoscope {manifest['paretoscope']}: {label}"[:200])
    agreement = compare(made, samples, classes, stored["labels"] if classes and labelled else None)
    agreement.refused(label)
    facts = {"bytes": len(made.content), "operators": list(made.operators), **agreement.to_json()}
    members = {
        "model.tflite": made.content,
        "preprocess.json": json_bytes(_settings(settings, made)),
        "labels.txt": parts["labels.txt"],
        "README.md": _readme(label, manifest, made, agreement).encode(),
        "check.json": json_bytes(facts),
        "vectors.npz": _vectors(made, samples, agreement),
    }
    return members, facts, _in_a_line(facts)


def _samples(model: onnx.ModelProto, stored: Mapping[str, Array], settings: dict[str, Any]) -> dict[str, Array]:
    """The bundle's inputs as the graph is fed them, by its own names."""
    several = {n.removeprefix("inputs/"): a for n, a in stored.items() if n.startswith("inputs/")}
    feeds = Feeds.of_graph(model)
    return feeds(NamedArrays(several) if several else predict_template.preprocess(stored["inputs"], settings))


def _settings(settings: dict[str, Any], made: Converted) -> dict[str, Any]:
    """preprocess.json: the bundle's, and how what it leads to is rounded, laid out and meant."""
    kept = {k: v for k, v in settings.items() if k not in ("input", "output", "outputs", "channels_last")}
    inputs, outputs = ([_port(port) for port in ports] for ports in (made.inputs, made.outputs))
    kept["inputs"], kept["outputs"] = inputs, outputs
    if settings.get("stored_dtype") == "uint8" and not settings.get("untouched"):
        inputs[0]["of_uint8"] = _table(settings, made.inputs[0])
    return kept


def _port(port: Port) -> dict[str, Any]:
    facts = {
        "name": port.name,
        "dtype": "int8",
        "layout": port.layout,
        "shape": list(port.shape),
        "scale": port.scale.scale,
        "zero_point": port.scale.zero,
        "formula": "value = (code - zero_point) * scale; code = round(value / scale) + zero_point, in -128 .. 127",
    }
    return facts | ({"range": "of the graph's answers on the bundle's samples"} if port.from_samples else {})


def _table(settings: dict[str, Any], port: Port) -> list[list[int]]:
    """The code of each of 256 pixel values, by channel in the network's order: preprocessing and rounding without floats on the board."""
    channels = settings["stored_shape"][0]
    pixels = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None, None], (256, channels, 1, 1))
    values = predict_template.preprocess(pixels, settings).reshape(256, channels)
    return [[int(code) for code in column] for column in port.scale.codes(values).T]


def _vectors(made: Converted, samples: Mapping[str, Array], agreement: Agreement) -> bytes:
    """What to feed a board first, and what it must answer: int8, in the file's own layout."""
    given = {f"input/{port.name}": as_fed(port, samples[port.name][:_VECTORS]) for port in made.inputs}
    first = made.outputs[0]
    return npz_bytes(given | {f"output/{first.name}": agreement.codes[:_VECTORS].transpose(first.axes)})


def _in_a_line(facts: Mapping[str, Any]) -> str:
    first = next(iter(facts["outputs"].values()))
    same = (
        f"same class on {facts['same_class']} of {facts['samples']} samples"
        if "same_class" in facts
        else f"{facts['samples']} samples"
    )
    return (
        f"int8, {facts['bytes']:,} bytes, {len(facts['operators'])} kinds of operators; {same}, outputs at most {first['most_steps']} "
        f"steps from ONNX Runtime's, {first['mean_steps']:.2f} on average"
    )


def _readme(label: str, manifest: Mapping[str, Any], made: Converted, agreement: Agreement) -> str:
    """What a person needs at the board."""
    rows = [
        f"| {kind} | `{p.name}` | {p.layout} {list(p.shape)} | {p.scale.scale:.9g} | {p.scale.zero} |"
        for kind, ports in (("input", made.inputs), ("output", made.outputs))
        for p in ports
    ]
    adds = [f"resolver.Add{_ADDED.get(n, n.title().replace('_', ''))}();" for n in made.operators]
    ranged = [f"`{p.name}`" for p in made.outputs if p.from_samples]
    lines = [
        f"# {label}: model.tflite",
        "",
        f"Trial {manifest['trial']}, written by Paretoscope {manifest['paretoscope']} from the ONNX file that was measured. "
        "Every tensor is int8 (biases int32), a batch is one sample. Weights take a byte each, those that the recipe rounds to fewer bits "
        "too: the same values in more flash.",
        "",
        "| | name | shape | scale | zero point |",
        "|---|---|---|---|---|",
        *rows,
        "",
        "`value = (code - zero_point) * scale`. preprocess.json says what leads to the values, and, of pictures in bytes, the code of each "
        "pixel value (`of_uint8`, one row a channel). labels.txt names the classes in the order of the scores.",
    ]
    if ranged:
        lines += [
            "",
            f"The ONNX file gives {', '.join(ranged)} in float; the scale here is of its range over the bundle's "
            f"{agreement.samples} samples, beyond which it ends.",
        ]
    lines += [
        "",
        "## Checked",
        "",
        f"On {agreement.samples} samples, TensorFlow Lite's reference kernels against ONNX Runtime:",
        "",
    ]
    if agreement.same is not None:
        lines.append(f"- the same class on {agreement.same} of {agreement.samples}")
    if agreement.right is not None:
        lines.append(f"- right by label: {agreement.right[1]}, ONNX file {agreement.right[0]}")
    lines += [
        f"- `{o.name}`: {o.mean_steps:.3f} steps apart on average, {o.most_steps} at most"
        + (f"; {o.beyond} numbers beyond its range" if o.beyond else "")
        for o in agreement.outputs
    ]
    lines += [
        "",
        "vectors.npz holds inputs and the outputs that these kernels give: feed them to the board first. It should give the same; a code "
        "may be one step off where a runtime rounds otherwise.",
        "",
        "## On a microcontroller",
        "",
        "`xxd -i model.tflite > model.h`, `alignas(16)` before the array, and in TFLite Micro:",
        "",
        "```cpp",
        f"tflite::MicroMutableOpResolver<{len(adds)}> resolver;",
        *adds,
        "```",
        "",
        f"The file takes {len(made.content):,} bytes of flash, the runtime's code apart. It does not say how large an arena it "
        "needs: `interpreter.arena_used_bytes()` does, on the board.",
    ]
    return "\n".join(lines) + "\n"
