"""One way to open an ONNX file in ONNX Runtime, shared by accuracy and latency, so that both measure the same thing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import StepError

FloatArray = npt.NDArray[np.float32]


def one_line(error: BaseException, limit: int = 300) -> str:
    """An exception as one line of at most `limit` characters; ONNX Runtime's own run over several."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


class Runner:
    """A session of one file on the CPU: sequential execution, `threads` intra-op threads, one inter-op thread.

    Raises StepError when ONNX Runtime cannot load the file, or the file does not take one 4-D float32 input.
    """

    def __init__(self, model: Path | bytes, threads: int) -> None:
        import onnxruntime as ort

        ort.set_default_logger_severity(4)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 4
        source = model if isinstance(model, bytes) else str(model)
        self.name = "the model" if isinstance(model, bytes) else model.name
        try:
            self._session: Any = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no common base but this.
            raise StepError(f"onnxruntime {ort.__version__} cannot load {self.name}: {one_line(error)}") from None
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
            found = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs) or "none"
            raise StepError(f"{self.name} must take one float32 input (N, C, H, W), but takes: {found}")
        self._input = inputs[0].name
        self._outputs = [self._session.get_outputs()[0].name]
        batch = inputs[0].shape[0]
        self.fixed_batch: int | None = batch if isinstance(batch, int) and batch > 0 else None
        """The batch that the file insists on; None where any will do."""

    def __call__(self, images: FloatArray) -> npt.NDArray[Any]:
        """Images (n, channels, height, width) -> the first output; raises StepError when the graph does not take them."""
        try:
            output: npt.NDArray[Any] = self._session.run(self._outputs, {self._input: images})[0]
        except Exception as error:  # as above
            raise StepError(f"{self.name} does not run on input of shape {images.shape}: {one_line(error)}") from None
        return output
