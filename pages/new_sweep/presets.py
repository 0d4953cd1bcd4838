"""Ready ways to fill the form in: presets of steps, and scenarios of use. Nothing of streamlit here."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from engine.datasets.load import is_available
from engine.devices.cost import Scenario
from engine.models.catalog import onnx2torch_installed
from engine.spec.space import expand_space
from pages.new_sweep.draft import AS_IT_IS, BUILT_IN, Draft, readers_of, to_spec
from pages.new_sweep.reading import Reading


@dataclass(frozen=True)
class Preset:
    """Steps and measurements by name; model, data and limits stay as they are. `says`: what it does, in a line."""

    title: str
    icon: str
    says: str
    fields: Mapping[str, Any]

    def fill(self, draft: Draft) -> Draft:
        """A draft with this preset's steps."""
        kept = ("name", "model", "weights", "data", "target_device", "limits", *(f.name for f in fields(Reading)))
        filled = replace(Draft(), **{name: getattr(draft, name) for name in kept}, **self.fields)
        able = [name for name in readers_of(filled.data) if name != filled.model]
        filled = replace(filled, students=tuple(s for s in filled.students if s in able))
        if filled.model.endswith(".onnx"):
            # What the form has no boxes for then.
            filled = replace(filled, students=(), own_widths=(), own_depths=())
            if not onnx2torch_installed():
                filled = replace(filled, channels=(), parts=(), zeros=(), patterns=())
        return filled


def presets(providers: Collection[str]) -> tuple[Preset, ...]:
    """The presets for a machine with these execution providers."""
    gpu = tuple(p for p in ("CUDA",) if p in providers)
    where = "run on its GPU" if gpu else "no GPU here: run on this CPU, GPUs estimated from datasheets"
    return (
        FIRST_LOOK,
        Preset(
            "int8 only",
            ":material/looks_8:",
            "Every integer format, ranges chosen in two ways, weights rounded as learned. No training: seconds for each recipe.",
            {
                "quantizations": (AS_IT_IS, "int8"),
                "formats": ("u8s8", "u8u8", "s8s8"),
                "calibrations": ("auto", "minmax"),
                "profiles": ("host",),
            },
        ),
        Preset(
            "Microcontroller",
            ":material/memory:",
            "Small students, fewer channels, everything in integers, weights down to 4 bits; fitted to real boards.",
            {
                "students": ("ds_cnn",),
                "channels": (0.25, 0.5, 0.7),
                "quantizations": ("int8", "w4a8"),
                "profiles": ("host", "stm32h7a3-xcubeai", "stm32l4r5-xcubeai", "nrf5340-microtvm"),
            },
        ),
        Preset(
            "GPU server",
            ":material/dns:",
            f"fp16, int8 and 2:4 sparsity, at 1, 8 and 32 samples per call; {where}.",
            {
                "channels": (0.25, 0.5),
                "patterns": ("2:4",),
                "quantizations": (AS_IT_IS, "int8", "fp16 weights"),
                "run_batches": (1, 8, 32) if gpu else (8, 32),
                "run_providers": gpu,
                "profiles": ("host", "nvidia-t4", "nvidia-l4", "nvidia-a100-sxm4-40gb"),
            },
        ),
    )


FIRST_LOOK = Preset(
    "First look",
    ":material/visibility:",
    "A smaller student if there is one, three prunings, int8 and 4-bit weights, and their combinations: what each kind of step is worth.",
    {
        "students": ("ds_cnn",),
        "channels": (0.25, 0.5, 0.7),
        "quantizations": (AS_IT_IS, "int8", "4-bit weights"),
        "profiles": ("host", "stm32h7a3-xcubeai"),
    },
)


def count(draft: Draft) -> int:
    """How many recipes a draft stands for; raises SpecError."""
    return len(expand_space(to_spec(draft)["space"]))


def under(scenario: Scenario, draft: Draft) -> Draft:
    """A draft for a scenario: its device, its limits, and the first of its datasets that can be loaded; the steps stay."""
    data = next((d for d in scenario.datasets if is_available(d)), BUILT_IN)
    profiles = tuple(dict.fromkeys(("host", scenario.device)))
    read = (
        Reading(model_options=draft.model_options, model_outputs=draft.model_outputs) if data != draft.data else draft
    )
    return replace(
        draft,
        **{f.name: getattr(read, f.name) for f in fields(Reading)},
        data=data,
        profiles=profiles,
        target_device=scenario.device,
        limits=tuple((metric, float(limit)) for metric, limit in scenario.limits.items()),
    )


def about_data(scenario: Scenario) -> str:
    """Which data suits a scenario, and what of it can be used here."""
    suited = [d for d in scenario.datasets if d != BUILT_IN]
    here = [d for d in suited if is_available(d)]
    names = " or ".join(suited)
    return f"Data: {here[0]}." if here else f"Data that suits: {names}; not installed: uses the built-in data."
