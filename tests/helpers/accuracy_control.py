"""Runs in the peers' own environment: a file quantized by NNCF, as it is or under its accuracy control; the last line says how long."""

from __future__ import annotations

import json
import sys
import time

import numpy as np


def main(source: str, arrays: str, limit: str, how: str, output: str) -> None:
    import nncf
    import onnx
    import onnxruntime

    data = np.load(arrays)
    model = onnx.load(source)
    name = model.graph.input[0].name
    images, labels = data["images"], data["labels"]
    calibration = nncf.Dataset([{name: row[None]} for row in data["calibration"]])
    parts = [({name: images[i : i + 32]}, labels[i : i + 32]) for i in range(0, len(images), 32)]

    def validate(some, rows):
        session = getattr(some, "_session", None) or some
        if not hasattr(session, "run"):
            session = onnxruntime.InferenceSession(some.SerializeToString(), providers=["CPUExecutionProvider"])
        said = [session.run(None, feed)[0] for feed, _ in rows]
        right = [(found.argmax(1) == wanted) for found, (_, wanted) in zip(said, rows, strict=True)]
        return float(np.concatenate(right).mean()), [float(one.mean()) for one in right]

    begin, used = time.perf_counter(), time.process_time()
    if how == "plain":
        made = nncf.quantize(model, calibration, subset_size=256)
    else:
        restoring = nncf.quantization.advanced_parameters.AdvancedAccuracyRestorerParameters(ranking_subset_size=10)
        made = nncf.quantize_with_accuracy_control(
            model, calibration, nncf.Dataset(parts, lambda part: part[0]), validate, max_drop=float(limit), subset_size=256,
            advanced_accuracy_restorer_parameters=restoring,
        )  # fmt: skip
    found = {"seconds": time.perf_counter() - begin, "cpu": time.process_time() - used}
    onnx.save(made, output)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
