"""A text recogniser by its character error rate, ours beside the peers': lines of handwritten digits, read by an LSTM and CTC.

    python tests/benchmarks/bench_ocr.py --peers PYTHON --digits FILE [--keep FOLDER]

PYTHON is one of an environment of its own with PACKAGES of tests/helpers/swept.py; FILE is `digits.csv.gz` among the data sets of
scikit-learn's wheel (`pip download --no-deps scikit-learn`, a zip). The network is trained here, on 3,000 lines for 8 epochs; 500 lines
of digits that no other split has are read, 64 calibrate, `max_drop` looks at 200 more. The table's metric is 100 less the CER.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import torch
import yaml

from engine.measure.machine import machine
from engine.models.export import export_onnx
from engine.quality.task_scores import edit_distance
from tests.helpers import digit_strings
from tests.helpers.swept import PEERS, RECURRENT, File, arguments, peers, swept, table

EPOCHS = 8


def main() -> None:
    given = arguments("digits")
    os.environ["DIGITS"] = str(given.digits.resolve())
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as kept:
        folder = (given.keep or Path(kept)).resolve()
        folder.mkdir(exist_ok=True)
        code = Path(digit_strings.__file__)
        if not (folder / "reader.onnx").is_file():
            begun = time.perf_counter()
            onnx.save(
                export_onnx(digit_strings.trained(EPOCHS), (1, digit_strings.HEIGHT, digit_strings.WIDTH)),
                folder / "reader.onnx",
            )
            print(f"trained in {time.perf_counter() - begun:.0f} s", flush=True)
        spec = {
            "name": "reader",
            "model": {"source": "reader.onnx"},
            "data": {"source": f"{code}:load", "task": "other", "preprocess": "none"},
            "metric": {"name": "cer", "decode": f"{code}:to_text"},
            "space": {"quantize": list(RECURRENT)},
            "measure": {"latency": None},
        }
        (folder / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
        ours = swept(folder / "spec.yaml", folder)
        arrays = digit_strings.load()
        x, texts = arrays["x_test"], arrays["y_test"].tolist()
        print(machine().label)
        theirs = peers(given.peers, PEERS, ours[0].path, arrays["x_calibration"], folder)
        mean_length = np.mean([len(text) for text in texts])

        def rated(outputs: np.ndarray) -> np.ndarray:
            said = digit_strings.to_text(outputs)
            return np.array([1 - edit_distance(a, b) / mean_length for a, b in zip(said, texts, strict=True)])

        files: list[File] = [*theirs, *(dataclasses.replace(file, said=1 - (file.said or 0.0)) for file in ours)]
        table(files, ours[0], x, rated)


if __name__ == "__main__":
    main()
