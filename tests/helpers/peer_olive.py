"""Olive's search over eight int8 settings of one float ONNX file; run by `bench_ptq.py olive` in the peers' environment, never imported.

    python tests/helpers/peer_olive.py IN.onnx ARRAYS.npz FOLDER BATCH

ARRAYS: `calibration` (n, C, H, W) and `images` (m, C, H, W) as the network takes them, `labels` (m,) of the images. Each setting is
quantized by ONNX Runtime's static quantizer, its accuracy counted on all images and its latency taken, as Olive's own evaluator does.
BATCH images are counted in one call; 1 is what Olive does unless told. Prints the seconds from the first pass to the last evaluation.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

# What Olive imports to find its data; it runs in a module of its own, which knows the arrays only by this path.
SCRIPT = """
import numpy as np
from olive.data.registry import Registry

ARRAYS = np.load({arrays!r})

class Pairs:
    def __init__(self, images, labels):
        self.images, self.labels = images, labels
    def __len__(self):
        return len(self.images)
    def __getitem__(self, i):
        return {{{name!r}: self.images[i]}}, int(self.labels[i])

@Registry.register_dataset()
def calibration_pairs(**_):
    images = ARRAYS["calibration"]
    return Pairs(images, np.zeros(len(images)))

@Registry.register_dataset()
def test_pairs(**_):
    return Pairs(ARRAYS["images"], ARRAYS["labels"])

@Registry.register_post_process()
def largest(output, **_):
    return (output["logits"] if isinstance(output, dict) else output).argmax(dim=-1)
"""


def main() -> None:
    from olive.workflows import run

    source, arrays, folder = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    import onnx

    script = folder / "olive_data.py"
    script.write_text(SCRIPT.format(arrays=arrays, name=onnx.load(source).graph.input[0].name))
    accuracy = {"name": "accuracy_score", "priority": 1, "metric_config": {"task": "multiclass", "num_classes": 10}}
    config = {
        "input_model": {"type": "ONNXModel", "model_path": str(source)},
        "systems": {"here": {"type": "LocalSystem", "accelerators": [{"device": "cpu", "execution_providers": ["CPUExecutionProvider"]}]}},
        "data_configs": [
            {
                "name": "calibration", "user_script": str(script), "load_dataset_config": {"type": "calibration_pairs"},
                "dataloader_config": {"batch_size": 1},
            },
            {
                "name": "test", "user_script": str(script), "load_dataset_config": {"type": "test_pairs"},
                "post_process_data_config": {"type": "largest"}, "dataloader_config": {"batch_size": int(sys.argv[4])},
            },
        ],
        "evaluators": {
            "both": {
                "type": "OnnxEvaluator",
                "metrics": [
                    {
                        "name": "accuracy", "type": "accuracy", "data_config": "test",
                        "sub_types": [accuracy],
                    },
                    {"name": "latency", "type": "latency", "data_config": "calibration", "sub_types": [{"name": "avg", "priority": 2}]},
                ]
            }
        },
        "passes": {
            "quantize": {
                "type": "OnnxStaticQuantization", "data_config": "calibration", "precision": ["int8", "uint8"], "activation_type": "uint8",
                "per_channel": [True, False], "calibrate_method": ["MinMax", "Percentile"], "quant_format": "QDQ", "reduce_range": False,
                "quant_preprocess": True,
            }
        },
        "search_strategy": {"execution_order": "joint", "sampler": "sequential"},
        "evaluator": "both", "host": "here", "target": "here", "output_dir": str(folder / "out"), "cache_dir": str(folder / "cache"),
        "log_severity_level": 2, "clean_cache": True, "evaluate_input_model": True,
    }  # fmt: skip
    started = time.perf_counter()
    run(config)
    print(f"{time.perf_counter() - started:.1f}")


if __name__ == "__main__":
    main()
