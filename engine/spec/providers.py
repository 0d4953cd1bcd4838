"""The execution providers of ONNX Runtime that a spec can name: what each computes on, and which package brings it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_ENDING = "ExecutionProvider"

Hardware = Literal["processor", "nvidia"]


@dataclass(frozen=True)
class Provider:
    """An execution provider. `name` is what a spec says, `full_name` what ONNX Runtime says.

    `computes_on`: the host's processor, a graphics card of NVIDIA's, or None where that is not known here; `memory` is where inputs and
    outputs lie on a device with a memory of its own, as ONNX Runtime calls it. `packages` bring it, the first is the one to install; one
    with `plugin`, a module, lies beside the `onnxruntime` package, the others take its place.
    """

    name: str
    full_name: str
    computes_on: Hardware | None = None
    packages: tuple[str, ...] = ()
    plugin: str | None = None
    memory: str | None = None

    @property
    def remedy(self) -> str:
        """What to install, as the end of a sentence that begins with "choose one of these or"."""
        if not self.packages:
            return "install the onnxruntime package that brings it"
        instead = "" if self.plugin else " after `pip uninstall onnxruntime`, whose place it takes"
        return f"run `pip install {self.packages[0]}`{instead}"


_KNOWN = {
    provider.name: provider
    for provider in (
        Provider("CPU", "CPUExecutionProvider", "processor"),
        Provider("CUDA", "CUDAExecutionProvider", "nvidia", ("onnxruntime-gpu",), memory="cuda"),
        Provider("TensorRT", "TensorrtExecutionProvider", "nvidia", ("onnxruntime-gpu", "tensorrt"), memory="cuda"),
        Provider(
            "OpenVINO",
            "OpenVINOExecutionProvider",
            "processor",
            ("onnxruntime-ep-openvino", "onnxruntime-openvino"),
            "onnxruntime_ep_openvino",
        ),
    )
}
_BY_LOWER = {p.full_name.removesuffix(_ENDING).lower(): p for p in _KNOWN.values()}

PROVIDERS: tuple[Provider, ...] = tuple(_KNOWN.values())
"""Those that more is known of than their names."""
RUNTIME_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")
"""Packages that are ONNX Runtime; one environment holds one of them."""


def provider_of(name: str) -> Provider:
    """A provider by its name in either spelling and any case: `TensorRT`, `TensorrtExecutionProvider`, `openvino`."""
    short = name.removesuffix(_ENDING)
    return _BY_LOWER.get(short.lower()) or Provider(short, short + _ENDING)
