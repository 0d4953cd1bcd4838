"""Execution providers of ONNX Runtime on this machine: which there are, how a session gets one, and what of a network it took."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import threading
from typing import Any

from engine.errors import StepError
from engine.spec.providers import PROVIDERS, Provider, provider_of
from engine.trials.measurements import Machine

# Calls a service elsewhere for nodes of its own kind; every other node it leaves to the CPU, so nothing here would run on it.
_REMOTE = "Azure"
# Written into a session's options so that the session says afterwards who took which operator.
_RECORD = "session.record_ep_graph_assignment_info"
_registering = threading.Lock()
# Full names of the plugins that this process has loaded.
_plugins: set[str] = set()


def available_providers() -> tuple[str, ...]:
    """The execution providers that can compute here, as a spec names them: `CPU`, `CUDA`, …; plugins are looked for, not loaded."""
    import onnxruntime as ort

    names = [provider_of(name).name for name in ort.get_available_providers()]
    # A loaded plugin also lists what it calls its devices (`OpenVINOExecutionProvider.AUTO`).
    found = [name for name in names if name != _REMOTE and "." not in name]
    found += [p.name for p in PROVIDERS if p.plugin and importlib.util.find_spec(p.plugin) and p.name not in found]
    return tuple(sorted(found, key=lambda name: name != "CPU"))


def check_provider(name: str) -> None:
    """Raises StepError, in one line, for a provider that this machine does not have."""
    there = available_providers()
    if name not in there:
        raise StepError(
            f"runtime: provider {name} is not in this onnxruntime, which has {', '.join(there)}; choose one of these or "
            f"{provider_of(name).remedy}"
        )


def brought_by(name: str | None, where: Machine) -> dict[str, Any]:
    """What figures of a provider depend on beside the options: the versions of its packages, and the machine. Empty for the CPU's own.

    Answers depend on it as times do: kernels and precision differ by card and by instruction set.
    """
    if name in (None, "CPU"):
        return {}
    packages = {p: where.versions[p] for p in provider_of(str(name)).packages if p in where.versions}
    return {"brought_by": packages, "computed_on": where.fingerprint}


def add_provider(options: Any, name: str, threads: int) -> list[Any] | None:
    """Give a provider to the session options; what is to be passed as `providers` beside them, None for a plugin.

    Raises StepError when it is not there, its library cannot be loaded or it finds no device.
    """
    import onnxruntime as ort

    check_provider(name)
    provider = provider_of(name)
    if name == "CPU":
        return [provider.full_name]
    options.add_session_config_entry(_RECORD, "1")
    if provider.computes_on == "nvidia":
        # CUDA's own order is by speed: the card would be another than the one whose energy is counted, which goes by the bus.
        os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    if provider.plugin and provider.full_name not in _built_in(ort):
        _load_plugin(provider)
    # Naming a plugin's provider, as is done for one that is built in, silently gives a session on the CPU.
    devices = [d for d in ort.get_ep_devices() if d.ep_name == provider.full_name]
    if devices or (provider.plugin and provider.full_name not in _built_in(ort)):
        options.add_provider_for_devices([_device(provider, devices)], _plugin_options(name, threads))
        return None
    if name == "TensorRT":
        # What TensorRT does not take stays on the card.
        return [provider.full_name, provider_of("CUDA").full_name]
    return [(provider.full_name, _built_in_options(name, threads))]


def _built_in(ort: Any) -> set[str]:
    """Full names of providers that this onnxruntime brings itself; plugins are listed with them once they are loaded."""
    return set(ort.get_available_providers()) - _plugins


def _load_plugin(provider: Provider) -> None:
    """Register a plugin's library, once in a process. Raises StepError."""
    import onnxruntime as ort

    assert provider.plugin is not None, "only plugins are loaded"
    with _registering:
        if provider.full_name in _plugins:
            return
        try:
            library = importlib.import_module(provider.plugin).get_library_path()
            ort.register_execution_provider_library(provider.name, library)
        except Exception as error:  # a missing file or library, a runtime that is too old: they have no common base
            told = " ".join(str(error).split())[:200]
            raise StepError(
                f"runtime: provider {provider.name} does not start here: {told}; install {provider.packages[0]} again, or choose "
                "another provider"
            ) from None
        _plugins.add(provider.full_name)


def _device(provider: Provider, devices: list[Any]) -> Any:
    """The device to compute on, of the kind that the provider is known for, the first where there are several. Raises StepError."""
    kind = {"processor": ("CPU",), "nvidia": ("GPU",)}.get(provider.computes_on or "", ("CPU", "GPU", "NPU"))
    for found in devices:
        if found.device.type.name in kind:
            return found
    raise StepError(
        f"runtime: provider {provider.name} finds no device here that it can compute on ({' or '.join(kind)}); leave it out of `runtime`, "
        "choose another, or run the sweep where it has one (`paretoscope doctor` lists what is here)"
    )


def _plugin_options(name: str, threads: int) -> dict[str, str]:
    if name != "OpenVINO":
        return {}
    # The plugin passes over `num_of_threads` and `precision` in silence; these it checks. Float32 is what the file says: left alone,
    # processors with AMX would round it to bfloat16. Our own pinning holds, not one that it thinks out.
    config = {"INFERENCE_NUM_THREADS": str(threads), "NUM_STREAMS": "1"}
    return {
        "load_config": json.dumps({"CPU": {**config, "INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": "NO"}})
    }


def _built_in_options(name: str, threads: int) -> dict[str, str]:
    return {"device_type": "CPU", "precision": "FP32", "num_of_threads": str(threads)} if name == "OpenVINO" else {}


def placement_of(session: Any) -> dict[str, dict[str, int]]:
    """{provider: {type of operator: how many of these it runs}}: what of the graph of a session, opened with `add_provider`, runs where.

    Empty where the runtime does not say (before 1.24).
    """
    tell = getattr(session, "get_provider_graph_assignment_info", None)
    found: dict[str, dict[str, int]] = {}
    for part in tell() if tell else ():
        counts = found.setdefault(provider_of(part.ep_name).name, {})
        for node in part.get_nodes():
            counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return found
