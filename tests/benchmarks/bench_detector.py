"""A text detector under its user's metric, ours beside the peers': PP-OCRv4's on text drawn on photographs, in one run.

    python tests/benchmarks/bench_detector.py --peers PYTHON --network FILE.onnx --photographs FOLDER [--keep FOLDER]

PYTHON is one of an environment of its own with PACKAGES of tests/helpers/swept.py. FILE is ch_PP-OCRv4_det_infer.onnx of the package
rapidocr-onnxruntime 1.4.4, the photographs are skimage/data of scikit-image 0.25.2 (`pip download --no-deps`, each a zip).

100 pictures of 224×224 are looked at, on photographs that no other split has; 32 calibrate, `max_drop` looks at 40 more. The metric
(tests/helpers/text_on_photographs.py) makes boxes of the map and counts F1 of the lines that they find, in each picture.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import yaml

from engine.measure.machine import machine
from tests.helpers import text_on_photographs
from tests.helpers.swept import PEERS, arguments, peers, swept, table

RECIPES = (
    None,
    {"weight_bits": 8, "activation_bits": 8},
    {"weight_bits": 8, "activation_bits": 8, "max_drop": 1.0},
    {"weight_bits": 8, "activation_bits": 8, "weight_range": "safe"},
    {"weight_bits": 8, "activation_bits": 8, "rounding": "nearest"},
    {"weight_bits": 4, "activation_bits": 8},
    {"weight_bits": 8, "activation_bits": 32},
    {"weight_bits": 4, "activation_bits": 32},
    {"weight_bits": 16, "activation_bits": 32},
)


def main() -> None:
    given = arguments("network", "photographs")
    os.environ["PHOTOGRAPHS"] = str(given.photographs.resolve())
    with tempfile.TemporaryDirectory() as kept:
        folder = (given.keep or Path(kept)).resolve()
        folder.mkdir(exist_ok=True)
        code = Path(text_on_photographs.__file__)
        half = [0.5, 0.5, 0.5]
        spec = {
            "name": "text lines",
            "model": {"source": str(given.network.resolve())},
            "data": {
                "source": f"{code}:load",
                "task": "other",
                "preprocess": {"channels": "BGR", "scale": 1 / 255, "mean": half, "std": half},
            },
            "metric": {"source": f"{code}:lines_found", "higher_is_better": True, "unit": "%"},
            "space": {"quantize": list(RECIPES)},
            "measure": {"latency": None},
        }
        (folder / "spec.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
        ours = swept(folder / "spec.yaml", folder)
        arrays = text_on_photographs.load()

        def prepared(pixels: np.ndarray) -> np.ndarray:
            # Digit for digit as the spec says it: pixels lie on ties of the first layer's steps, which the last digit decides.
            turned = pixels[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)
            return np.ascontiguousarray((turned * np.float32(1 / 255) - np.float32(0.5)) / np.float32(0.5))

        print(machine().label)
        theirs = peers(given.peers, PEERS, ours[0].path, prepared(arrays["x_calibration"]), folder)
        rated = lambda found: text_on_photographs.lines_found(found, arrays["y_test"])  # noqa: E731
        table([*theirs, *ours], ours[0], prepared(arrays["x_test"]), rated)


if __name__ == "__main__":
    main()
