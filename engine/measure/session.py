"""One way to open an ONNX file in ONNX Runtime, shared by accuracy and latency, so that both measure the same thing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import StepError

FloatArray = npt.NDArray[np.float32]

_LEVELS = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_ENDING = "ExecutionProvider"
# Calls a service elsewhere for nodes of its own kind; every other node it leaves to the CPU, so nothing here would run on it.
_REMOTE = "Azure"


def one_line(error: BaseException, limit: int = 300) -> str:
    """An exception as one line of at most `limit` characters; ONNX Runtime's own run over several."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


def available_providers() -> tuple[str, ...]:
    """The execution providers that can compute here, by their names without the ending: `CPU`, `CUDA`, …"""
    import onnxruntime as ort

    names = (name.removesuffix(_ENDING) for name in ort.get_available_providers())
    return tuple(name for name in names if name != _REMOTE)


def check_provider(name: str) -> None:
    """Raises StepError, in one line, for a provider that this machine's onnxruntime does not have."""
    there = available_providers()
    if name not in there:
        raise StepError(
            f"runtime: provider {name} is not in this onnxruntime, which has {', '.join(there)}; choose one of these or install "
            "the onnxruntime package that brings it"
        )


def session_options(
    threads: int, graph_optimisation: str = "all", cpus: Sequence[int] = (), profile: str | None = None
) -> Any:
    """ONNX Runtime's options: sequential execution, `threads` intra-op threads and one inter-op thread.

    `cpus` pins the threads that it starts, the caller's own thread (which works too) aside: the first CPU is left to that one.
    `profile` is where the profile of each operator goes, a path that the runtime lengthens.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, _LEVELS[graph_optimisation])
    if threads > 1 and len(cpus) >= threads:
        # The runtime counts processors from 1.
        pinned = ";".join(str(cpu + 1) for cpu in cpus[1:threads])
        options.add_session_config_entry("session.intra_op_thread_affinities", pinned)
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    return options


class Runner:
    """A session of one file with the options of `session_options`, on one execution provider.

    Raises StepError when ONNX Runtime cannot load the file, does not have the provider, or the file does not take one 4-D float32 input.
    """

    def __init__(
        self,
        model: Path | bytes,
        threads: int,
        graph_optimisation: str = "all",
        provider: str = "CPU",
        cpus: Sequence[int] = (),
        profile: str | None = None,
    ) -> None:
        import onnxruntime as ort

        ort.set_default_logger_severity(4)
        check_provider(provider)
        options = session_options(threads, graph_optimisation, cpus, profile)
        source = model if isinstance(model, bytes) else str(model)
        self.name = "the model" if isinstance(model, bytes) else model.name
        try:
            self._session: Any = ort.InferenceSession(source, options, providers=[provider + _ENDING])
        except Exception as error:  # ONNX Runtime's exceptions have no common base but this.
            raise StepError(f"onnxruntime {ort.__version__} cannot load {self.name}: {one_line(error)}") from None
        if provider + _ENDING not in self._session.get_providers():
            # It falls back to the CPU when a provider's libraries or device are missing.
            raise StepError(f"runtime: provider {provider} does not start here (its device or libraries are missing)")
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

    def end_profiling(self) -> Path:
        """Write the profile and say where; only for a session that was opened with one."""
        return Path(self._session.end_profiling())
