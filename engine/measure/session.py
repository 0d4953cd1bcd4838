"""One way to open an ONNX file in ONNX Runtime, shared by accuracy and latency, so that both measure the same thing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import StepError
from engine.measure.providers import add_provider, placement_of
from engine.spec.providers import provider_of

FloatArray = npt.NDArray[np.float32]

_LEVELS = {
    "disable": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}


def one_line(error: BaseException, limit: int = 300) -> str:
    """An exception as one line of at most `limit` characters; ONNX Runtime's own run over several."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"


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

    `placement`: which provider runs how many operators of each type, empty on the CPU provider. Raises StepError when ONNX Runtime cannot
    load the file, does not have the provider, the provider takes no operator of it, or the file does not take one float32 input (N, …).
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
        options = session_options(threads, graph_optimisation, cpus, profile)
        providers = add_provider(options, provider, threads)
        source = model if isinstance(model, bytes) else str(model)
        self.name = "the model" if isinstance(model, bytes) else model.name
        try:
            # Its own fallback would print, and go on on the CPU.
            self._session: Any = ort.InferenceSession(source, options, providers=providers, enable_fallback=0)
        except Exception as error:  # ONNX Runtime's exceptions have no common base but this.
            raise StepError(f"onnxruntime {ort.__version__} cannot load {self.name}: {one_line(error)}") from None
        self._provider = provider_of(provider)
        if self._provider.full_name not in self._session.get_providers():
            # It falls back to the CPU when a provider's libraries or device are missing.
            raise StepError(f"runtime: provider {provider} does not start here (its device or libraries are missing)")
        self.placement = {} if provider == "CPU" else placement_of(self._session)
        if set(self.placement) == {"CPU"}:
            raise StepError(
                f"runtime: provider {provider} runs no operator of {self.name} ({', '.join(self.placement['CPU'])}): the CPU would run "
                "all of it; leave the provider out"
            )
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) < 2:
            found = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs) or "none"
            raise StepError(f"{self.name} must take one float32 input (N, …), but takes: {found}")
        self._input = inputs[0].name
        self._outputs = [self._session.get_outputs()[0].name]
        batch = inputs[0].shape[0]
        self.fixed_batch: int | None = batch if isinstance(batch, int) and batch > 0 else None
        """The batch that the file insists on; None where any will do."""

    def __call__(self, images: FloatArray) -> npt.NDArray[Any]:
        """Images (n, channels, height, width) -> the first output; raises StepError when the graph does not take them."""
        with self._told(images):
            output: npt.NDArray[Any] = self._session.run(self._outputs, {self._input: images})[0]
        return output

    def repeated(self, images: FloatArray) -> Callable[[], object]:
        """One call on these images, to be repeated and timed or counted; raises StepError when the graph does not take them.

        Where the provider computes on the host's processor it is what Python's `session.run` takes. On a device with a memory of its own,
        input and output stay there, and the call ends when the device is done.
        """
        if self._provider.memory:
            return self.bound(images, self._provider.memory)
        return lambda: self(images)

    def bound(self, images: FloatArray, device: str) -> Bound:
        """A call on these images with its input and output in the memory of `device`, `cpu` or `cuda`. Raises StepError."""
        with self._told(images):
            bound = Bound(self._session, self._input, self._outputs[0], images, device)
            bound()
        return bound

    @contextlib.contextmanager
    def _told(self, images: FloatArray) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # as above
            raise StepError(f"{self.name} does not run on input of shape {images.shape}: {one_line(error)}") from None

    def end_profiling(self) -> Path:
        """Write the profile and say where; only for a session that was opened with one."""
        return Path(self._session.end_profiling())


class Bound:
    """A call whose input was copied to a device once and whose output stays there; it returns when the device is done."""

    def __init__(self, session: Any, name: str, output: str, images: FloatArray, device: str) -> None:
        import onnxruntime as ort

        self._session, self._binding = session, session.io_binding()
        self._binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(images, device, 0))
        self._binding.bind_output(output, device, 0)
        self._binding.synchronize_inputs()

    def __call__(self) -> None:
        """Run once."""
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()

    def output(self) -> npt.NDArray[Any]:
        """What the last call gave, copied to the host."""
        found: npt.NDArray[Any] = self._binding.copy_outputs_to_cpu()[0]
        return found
