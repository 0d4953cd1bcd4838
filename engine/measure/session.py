"""One way to open an ONNX file in ONNX Runtime, shared by accuracy and latency, so that both measure the same thing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import StepError
from engine.graph.inputs import Feeds, Inputs, is_array
from engine.graph.outputs import Layout, Parts, side_by_side
from engine.graph.states import counted_of_session
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


def _has_blocks(model: Path | bytes) -> bool:
    """Whether weights are stored in blocks; the operator's name stands in the file, and onnx is not loaded to read it."""
    return b"MatMulNBits" in (model if isinstance(model, bytes) else model.read_bytes())


class Runner:
    """A session of one file with the options of `session_options`, on one execution provider.

    `placement`: which provider runs how many operators of each type, empty on the CPU provider. Raises StepError when ONNX Runtime cannot
    load the file, does not have the provider, the provider takes no operator of it, or the file does not take inputs (N, …) of numbers.
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
        if graph_optimisation == "disable" and _has_blocks(model):
            raise StepError(
                f"runtime: graph_optimisation disable makes onnxruntime {ort.__version__} compute zeros in operator MatMulNBits of "
                f"{self.name}; use basic"
            )
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
        self.feeds = Feeds.of_session(self._session)
        least = 2 if len(self.feeds.taken) == 1 else 1
        if not self.feeds.taken or any(t.kind.kind not in "iufb" or len(t.axes) < least for t in self.feeds.taken):
            found = ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs) or "none"
            raise StepError(f"{self.name} must take inputs (N, …) of numbers, but takes: {found}")
        self._outputs = counted_of_session(self._session)
        self.layout: Layout | None = None
        """How several outputs lie side by side, known after the first call; None where there is one."""
        self.fixed_batch: int | None = self.feeds.batch
        """The batch that the file insists on; None where any will do."""

    def __call__(self, images: Inputs) -> npt.NDArray[Any]:
        """Images (n, channels, height, width), or what else the file takes -> its output, several side by side as (n, numbers); raises
        StepError when it does not take them.
        """
        with self._told(images):
            found = self._session.run(self._outputs, self.feeds(images))
        return self._together(found)

    def _together(self, found: list[npt.NDArray[Any]]) -> npt.NDArray[Any]:
        if len(found) == 1:
            return found[0]
        together = side_by_side(found, self._outputs)
        self.layout = Layout.of(self._outputs, found)
        return together

    @property
    def parts(self) -> Parts:
        """Names and widths of outputs that lie side by side; empty where there is one."""
        return self.layout.parts if self.layout else ()

    def fed(self, feed: dict[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        """The outputs for arrays as `feeds` made them. Raises StepError."""
        with self._told(feed):
            found: list[npt.NDArray[Any]] = self._session.run(self._outputs, feed)
        return found

    def repeated(self, images: Inputs) -> Callable[[], object]:
        """One call on these images, to be repeated and timed or counted; raises StepError when the graph does not take them.

        Where the provider computes on the host's processor it is what Python's `session.run` takes. On a device with a memory of its own,
        input and output stay there, and the call ends when the device is done.
        """
        if self._provider.memory:
            return self.bound(images, self._provider.memory)
        with self._told(images):
            feed = self.feeds(images)
        return lambda: self.fed(feed)

    def bound(self, images: Inputs, device: str) -> Bound:
        """A call on these images with its inputs and output in the memory of `device`, `cpu` or `cuda`. Raises StepError."""
        with self._told(images):
            bound = Bound(self._session, self.feeds(images), self._outputs, device)
            bound()
        return bound

    @contextlib.contextmanager
    def _told(self, images: Inputs | dict[str, npt.NDArray[Any]]) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # as above
            arrays = images if isinstance(images, dict) else {"": images} if is_array(images) else images.arrays
            shapes = " and ".join(f"{name} {array.shape}" for name, array in arrays.items() if name)
            shape = shapes if len(arrays) > 1 else next(iter(arrays.values())).shape
            raise StepError(f"{self.name} does not run on input of shape {shape}: {one_line(error)}") from None

    def end_profiling(self) -> Path:
        """Write the profile and say where; only for a session that was opened with one."""
        return Path(self._session.end_profiling())


class Bound:
    """A call whose inputs were copied to a device once and whose output stays there; it returns when the device is done."""

    def __init__(self, session: Any, feed: dict[str, npt.NDArray[Any]], outputs: list[str], device: str) -> None:
        import onnxruntime as ort

        self._session, self._binding = session, session.io_binding()
        for name, array in feed.items():
            self._binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, device, 0))
        for name in outputs:
            self._binding.bind_output(name, device, 0)
        self._binding.synchronize_inputs()

    def __call__(self) -> None:
        """Run once."""
        self._session.run_with_iobinding(self._binding)
        self._binding.synchronize_outputs()

    def output(self) -> npt.NDArray[Any]:
        """What the last call gave, copied to the host."""
        found: npt.NDArray[Any] = self._binding.copy_outputs_to_cpu()[0]
        return found
