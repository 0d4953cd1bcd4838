"""The step that says how a finished file is run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from engine.spec.frozen import Frozen
from engine.spec.providers import provider_of


class Runtime(Frozen):
    """How the finished file is run: it goes last, changes no byte of the file, and is measured against the baseline as the sweep runs it.

    `threads`: intra-op threads. `batch`: images per call. `graph_optimisation`: how far ONNX Runtime rewrites the graph when it loads it.
    `provider`: an execution provider of ONNX Runtime by its name without the ending, `CPU`, `CUDA`, `TensorRT`, `OpenVINO`. What is left
    out is as the sweep measures.
    """

    step: Literal["runtime"] = "runtime"
    threads: int | None = Field(None, ge=1, le=1024)
    batch: int | None = Field(None, ge=1, le=65_536)
    graph_optimisation: Literal["disable", "basic", "extended", "all"] | None = None
    provider: str | None = Field(None, pattern=r"^[A-Za-z0-9]+$", max_length=40)

    @model_validator(mode="before")
    @classmethod
    def _short_name(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and isinstance(value.get("provider"), str):
            return {**value, "provider": provider_of(value["provider"]).name}
        return value

    @model_validator(mode="after")
    def _says_something(self) -> Runtime:
        if not self.options:
            raise ValueError(
                "runtime without an option changes nothing; give threads, batch, graph_optimisation or provider"
            )
        return self

    @property
    def options(self) -> dict[str, Any]:
        """What it states, by name."""
        return {k: v for k, v in self.model_dump(exclude={"step"}).items() if v is not None}

    @property
    def numerics(self) -> dict[str, str]:
        """Those options that may change what the network answers, where they are not ONNX Runtime's defaults on a CPU."""
        return {
            name: self.options[name]
            for name, default in (("graph_optimisation", "all"), ("provider", "CPU"))
            if self.options.get(name, default) != default
        }
