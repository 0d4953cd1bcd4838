"""The host that measures: what a latency depends on beside the network, and a fingerprint of it."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from engine.spec.canonical import digest
from engine.spec.providers import PROVIDERS, RUNTIME_PACKAGES
from engine.trials.measurements import Machine

# Instruction sets that ONNX Runtime's kernels (MLAS) choose between, by their names in /proc/cpuinfo.
_FLAGS = frozenset({"sse4_1", "avx", "avx2", "fma", "f16c", "avx_vnni", "neon", "asimd", "asimddp", "fphp", "asimdhp"})
_FLAGS |= {"i8mm", "bf16", "sve", "sve2", "sme"}
_FLAG_PREFIXES = ("avx512", "amx", "avx10")
_PACKAGES = ("onnx", "torch", "numpy", *(package for provider in PROVIDERS for package in provider.packages))


def _cpuinfo(path: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """The first processor's fields; empty where the file does not exist (not Linux)."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return {}
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip(), value.strip())
    return fields


def _sysctl(name: str) -> str:
    """A macOS kernel value, empty elsewhere."""
    try:
        done = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()


def cpu_name(fields: dict[str, str]) -> str:
    """The name that the processor gives itself, without trade marks, from the fields of /proc/cpuinfo.

    Hypervisors hide the model, so family and model number follow a name without digits; Arm cores have numbers only.
    """
    name = re.sub(r"\((?:R|TM|C)\)", "", fields.get("model name", ""), flags=re.IGNORECASE)
    name = " ".join(re.sub(r"\bCPU\b|@.*", " ", name).split())
    if not name and "CPU part" in fields:
        board = f", {fields['Model']}" if "Model" in fields else ""
        return f"Arm implementer {fields.get('CPU implementer', '?')} part {fields['CPU part']}{board}"
    if name and not any(c.isdigit() for c in name) and "model" in fields:
        return f"{name} (family {fields.get('cpu family', '?')}, model {fields['model']})"
    return name or _sysctl("machdep.cpu.brand_string") or platform.processor() or platform.machine()


def relevant_flags(fields: dict[str, str]) -> tuple[str, ...]:
    """The instruction sets among a processor's flags that change how fast a network runs, sorted."""
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    return tuple(sorted(f for f in set(flags) if f in _FLAGS or f.startswith(_FLAG_PREFIXES)))


def _memory_gib() -> float:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return 0.0


def _governor(path: Path = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")) -> str | None:
    """How the kernel sets the first core's clock (`performance`, `powersave`, …); None where it does not say (most virtual machines)."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip() or None
    except OSError:
        return None


def _gpus(root: Path = Path("/proc/driver/nvidia/gpus")) -> tuple[str, ...]:
    """The names of NVIDIA's graphics cards, sorted, as their driver shows them on Linux; empty where it does not."""
    try:
        texts = [path.read_text(errors="replace") for path in root.glob("*/information")]
    except OSError:
        return ()
    return tuple(sorted(name.strip() for text in texts for name in re.findall(r"^Model:(.*)", text, re.MULTILINE)))


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def runtime_version() -> str | None:
    """The version of ONNX Runtime, whichever of its packages is installed; None where none is."""
    return next((found for package in RUNTIME_PACKAGES if (found := _installed(package))), None)


def _versions() -> dict[str, str]:
    found = {package: _installed(package) for package in _PACKAGES} | {"onnxruntime": runtime_version()}
    return {"python": platform.python_version()} | {name: v for name, v in found.items() if v is not None}


def describe(
    fields: dict[str, str],
    cores: int,
    os_name: str,
    memory_gib: float,
    versions: dict[str, str],
    governor: str | None = None,
    gpus: tuple[str, ...] = (),
) -> Machine:
    """A Machine from its parts.

    Memory, governor and versions other than onnxruntime's are not in the fingerprint (SHA-256): latency is a ratio to a baseline taken in
    turns, which a change of the governor leaves alone, and the packages of other providers are in the keys of what they measure.
    """
    model = [fields.get(k, "") for k in ("cpu family", "model", "stepping", "CPU implementer", "CPU part")]
    flags, cpu = relevant_flags(fields), cpu_name(fields)
    cards = [list(gpus)] if gpus else []
    fingerprint = digest([cpu, model, cores, flags, os_name, versions.get("onnxruntime", ""), *cards])
    return Machine(fingerprint, cpu, cores, memory_gib, flags, os_name, versions, governor, gpus)


def integer_sums(host: Machine) -> Literal["exact", "saturating", "unknown"]:
    """Whether ONNX Runtime's uint8 × int8 kernels add without overflow on a machine: tried on this one, read off its flags for another.

    x86 without VNNI or AMX adds pairs of products in 16 bits, which saturate (VPMADDUBSW); Arm adds in 32 bits.
    """
    if host.fingerprint == machine().fingerprint:
        # An emulated CPU shows the flags of its host. Not at the top: what only describes the machine needs no ONNX Runtime.
        from engine.measure.emulation import runtime_sums

        return runtime_sums()
    if any("vnni" in flag or flag == "amx_int8" for flag in host.flags):
        return "exact"
    if not host.os.lower().endswith(("x86_64", "amd64")):
        return "exact"
    return "saturating" if host.flags else "unknown"


@lru_cache(maxsize=1)
def machine() -> Machine:
    """This host; memory in GiB (0 where the system does not say), `cores` as the operating system counts them.

    Neither torch nor onnxruntime is imported: versions are read from the packages' metadata.
    """
    # The kernel's release is left out: it changes with every update and would empty the cache of latencies.
    os_name = f"{platform.system()} {platform.machine()}"
    return describe(_cpuinfo(), os.cpu_count() or 1, os_name, _memory_gib(), _versions(), _governor(), _gpus())
