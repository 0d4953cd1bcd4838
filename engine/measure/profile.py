"""What one profiling of a file found: its kernels, and the layers that they belong to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Kernel:
    """One node at run time: its name, the runtime's operator type, the layer whose weights it multiplies by ("" for others), ms a call."""

    name: str
    op_type: str
    layer: str
    ms: float


@dataclass(frozen=True)
class Profile:
    """A file's kernels in the order in which they run. `call_ms` is a whole call of `images` images; `macs` are per image.

    `layer_macs`: by layer, per image; `channels`: what each convolution puts out.
    """

    kernels: tuple[Kernel, ...]
    call_ms: float
    images: int
    macs: int
    layer_macs: dict[str, int]
    channels: dict[str, int]

    @property
    def kernel_ms(self) -> float:
        """Milliseconds of all kernels in one call."""
        return sum(k.ms for k in self.kernels)

    def by_type(self) -> dict[str, float]:
        """Milliseconds by operator type, per image."""
        return self._summed(lambda k: k.op_type)

    def by_layer(self) -> dict[str, float]:
        """Milliseconds by layer, per image; under "" what is no layer's own."""
        return self._summed(lambda k: k.layer)

    def _summed(self, key: Callable[[Kernel], str]) -> dict[str, float]:
        total: dict[str, float] = {}
        for kernel in self.kernels:
            total[key(kernel)] = total.get(key(kernel), 0.0) + kernel.ms / self.images
        return dict(sorted(total.items(), key=lambda item: -item[1]))
