"""A process of its own for OpenVINO: reads an ONNX file, writes it as OpenVINO's IR, and runs what it wrote on the CPU.

Apart, because OpenVINO numbers what it makes up from a counter of the process, so that the same file is the same bytes only in a fresh one.
Nothing is reported to anybody: the package's telemetry is kept from being imported.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def in_calls(run: Callable[[dict[str, Array]], list[Array]], inputs: Mapping[str, Array], size: int) -> list[Array]:
    """The outputs (n, …) for inputs (n, …), `size` samples a call; the last call is filled up with its first sample."""
    n, found = len(next(iter(inputs.values()))), []
    for start in range(0, n, size):
        some = {name: array[start : start + size] for name, array in inputs.items()}
        held = len(next(iter(some.values())))
        whole = {name: np.concatenate([a, np.repeat(a[:1], size - held, axis=0)]) for name, a in some.items()}
        found.append([output[:held] for output in run(whole)])
    return [np.concatenate(parts) for parts in zip(*found, strict=True)]


def keep(path: str | Path, arrays: Iterable[Array]) -> None:
    """Arrays by their number, since their names may be any text."""
    np.savez(path, allow_pickle=False, **{str(i): array for i, array in enumerate(arrays)})


def main() -> None:
    """One request on stdin, `{model, xml, inputs, input_names, outputs, names, size}`; one line of JSON out: `{version}`, or `{error}`."""
    asked = json.load(sys.stdin)
    # Its import alone would report to Intel; without that package it does without.
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import openvino

        core = openvino.Core()
        openvino.save_model(core.read_model(asked["model"]), asked["xml"], compress_to_fp16=False)
        # Of the files that were written, in the numbers that they are in.
        how = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        compiled = core.compile_model(asked["xml"], "CPU", how)

        def run(inputs: dict[str, Array]) -> list[Array]:
            given = compiled(inputs)
            return [np.array(given[compiled.output(name)]) for name in asked["names"]]

        with np.load(asked["inputs"]) as arrays:
            inputs = {name: arrays[str(i)] for i, name in enumerate(asked["input_names"])}
        keep(asked["outputs"], in_calls(run, inputs, asked["size"]))
        answer = {"version": openvino.__version__}
    except Exception as error:  # OpenVINO raises RuntimeError and classes of its own
        answer = {"error": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
