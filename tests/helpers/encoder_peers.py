"""Runs in the peers' own environment: a text encoder's file quantized by one of them, or sentences as tokens."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np


def tokens(tokenizer: str, texts: str, length: str, output: str) -> None:
    from tokenizers import Tokenizer

    made = Tokenizer.from_file(tokenizer)
    made.enable_truncation(int(length))
    made.enable_padding(length=int(length))
    found = made.encode_batch(Path(texts).read_text(encoding="utf-8").splitlines())
    np.savez(output, input_ids=[x.ids for x in found], attention_mask=[x.attention_mask for x in found])


def quantize(how: str, source: str, data: str, output: str) -> None:
    import onnx

    arrays = dict(np.load(data))
    rows = [{name: values[i : i + 1] for name, values in arrays.items()} for i in range(len(arrays["input_ids"]))]
    if how == "onnxruntime-dynamic":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(source, output, weight_type=QuantType.QInt8, per_channel=True)
    elif how == "onnxruntime-static":
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

        class Reader(CalibrationDataReader):
            def __init__(self) -> None:
                self.left = iter(rows)

            def get_next(self):
                return next(self.left, None)

        quantize_static(
            source, output, Reader(), QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul", "Gemm", "Gather"],
        )  # fmt: skip
    elif how == "onnxruntime-4-bit":
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        made = MatMulNBitsQuantizer(onnx.load(source), block_size=32, is_symmetric=True, accuracy_level=4)
        made.process()
        onnx.save(made.model.model, output)
    else:
        import nncf

        dataset = nncf.Dataset(rows, lambda row: row)
        onnx.save(
            nncf.quantize(onnx.load(source), dataset, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(rows)),
            output,
        )


if __name__ == "__main__":
    {"tokens": tokens, "quantize": quantize}[sys.argv[1]](*sys.argv[2:])
