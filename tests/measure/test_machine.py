import json
import platform
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from engine.measure import machine as module
from engine.measure.machine import (
    _governor,
    _gpus,
    _versions,
    cpu_name,
    describe,
    integer_sums,
    machine,
    relevant_flags,
    runtime_version,
)
from engine.trials.measurements import Machine

XEON = {
    "model name": "Intel(R) Xeon(R) Platinum 8380 CPU @ 2.30GHz",
    "cpu family": "6",
    "model": "106",
    "stepping": "6",
    "flags": "fpu sse sse4_1 avx avx2 fma avx512f avx512_vnni amx_int8 ht",
}


def _fingerprint(fields=XEON, cores=8, os_name="Linux x86_64", memory_gib=16.0, onnxruntime="1.32.0", numpy="2.4"):
    versions = {"onnxruntime": onnxruntime, "numpy": numpy}
    return describe(fields, cores, os_name, memory_gib, versions).fingerprint


def test_the_fingerprint_is_a_sha256_that_repeats():
    assert len(_fingerprint()) == 64
    assert _fingerprint() == _fingerprint(dict(reversed(XEON.items())))


@pytest.mark.parametrize(
    "change",
    [
        {"fields": XEON | {"model name": "AMD EPYC 7763 64-Core Processor"}},
        {"fields": XEON | {"model": "143"}},
        {"fields": XEON | {"flags": XEON["flags"].replace("avx512_vnni", "")}},
        {"cores": 4},
        {"os_name": "Linux aarch64"},
        {"onnxruntime": "1.33.0"},
    ],
)
def test_what_latency_depends_on_changes_the_fingerprint(change):
    assert _fingerprint(**change) != _fingerprint()


@pytest.mark.parametrize(
    "change", [{"memory_gib": 64.0}, {"numpy": "2.5"}, {"fields": XEON | {"flags": XEON["flags"] + " smep"}}]
)
def test_what_latency_does_not_depend_on_leaves_it(change):
    assert _fingerprint(**change) == _fingerprint()


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (XEON, "Intel Xeon Platinum 8380"),
        ({"model name": "AMD EPYC 7763 64-Core Processor", "model": "1"}, "AMD EPYC 7763 64-Core Processor"),
        (
            {"model name": "Intel(R) Xeon(R) Processor", "cpu family": "6", "model": "207"},
            "Intel Xeon Processor (family 6, model 207)",
        ),
        (
            {"CPU implementer": "0x41", "CPU part": "0xd0b", "Model": "Raspberry Pi 5 Model B Rev 1.0"},
            "Arm implementer 0x41 part 0xd0b, Raspberry Pi 5 Model B Rev 1.0",
        ),
    ],
)
def test_the_name_is_what_the_processor_says(fields, name):
    assert cpu_name(fields) == name


def test_flags_are_those_that_kernels_choose_between():
    assert relevant_flags(XEON) == ("amx_int8", "avx", "avx2", "avx512_vnni", "avx512f", "fma", "sse4_1")
    assert relevant_flags({"Features": "fp asimd evtstrm asimddp i8mm"}) == ("asimd", "asimddp", "i8mm")
    assert relevant_flags({}) == ()


def test_the_governor_is_read_where_the_kernel_tells_it_and_does_not_change_the_fingerprint(tmp_path):
    (tmp_path / "scaling_governor").write_text("performance\n")
    assert _governor(tmp_path / "scaling_governor") == "performance"
    assert _governor(tmp_path / "missing") is None
    steady, saving = (describe(XEON, 2, "Linux x86_64", 8.0, {}, g) for g in ("performance", "powersave"))
    assert (steady.governor, saving.governor) == ("performance", "powersave")
    assert steady.fingerprint == saving.fingerprint


def test_graphics_cards_are_read_where_their_driver_shows_them_and_make_another_machine(tmp_path):
    for folder, name in (("0000:41:00.0", "NVIDIA H100 PCIe"), ("0000:01:00.0", "Tesla V100-SXM2-16GB")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "information").write_text(
            f"Model: \t\t {name}\nIRQ:   \t\t 45\nGPU UUID: \t GPU-8932f937\n"
        )
    assert _gpus(tmp_path) == ("NVIDIA H100 PCIe", "Tesla V100-SXM2-16GB")
    assert _gpus(tmp_path / "missing") == ()
    with_card = describe(XEON, 8, "Linux x86_64", 16.0, {"onnxruntime": "1.32.0"}, gpus=_gpus(tmp_path))
    assert with_card.fingerprint != _fingerprint()
    assert "NVIDIA H100 PCIe, Tesla V100-SXM2-16GB" in with_card.label
    assert Machine.from_json(json.loads(json.dumps(asdict(with_card)))) == with_card


@pytest.mark.parametrize("package", ["onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"])
def test_onnxruntime_has_its_version_under_whatever_package_it_is_installed(monkeypatch, package):
    there = {package: "1.40", "onnxruntime-ep-openvino": "1.8.1"}
    monkeypatch.setattr(module, "_installed", there.get)
    assert runtime_version() == "1.40"
    assert _versions() == {"python": platform.python_version(), "onnxruntime": "1.40", **there}
    monkeypatch.setattr(module, "_installed", {}.get)
    assert runtime_version() is None


def test_this_machine_describes_itself():
    here = machine()
    assert here.cpu
    assert here.cores >= 1
    assert here.memory_gib > 0
    assert here.versions["onnxruntime"] in here.label


def test_describing_the_machine_imports_neither_torch_nor_onnxruntime():
    code = "import sys; from engine.measure.machine import _governor, machine; machine(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "engine.measure.machine" in loaded
    assert not {"torch", "onnxruntime", "onnx"} & set(loaded)


def test_the_sums_of_this_machine_are_tried_and_those_of_another_read_off_its_flags(monkeypatch):
    """An emulated CPU shows its host's flags, so flags do not tell what the runtime does here."""
    here = machine()
    for tried in ("exact", "saturating"):
        monkeypatch.setattr("engine.measure.emulation.runtime_sums", lambda tried=tried: tried)
        assert integer_sums(here) == tried
    other = replace(here, fingerprint="another", os="Linux x86_64")
    assert integer_sums(replace(other, flags=("avx2",))) == "saturating"
    assert integer_sums(replace(other, flags=("avx2", "avx512_vnni"))) == "exact"
    assert integer_sums(replace(other, flags=())) == "unknown"
    assert integer_sums(replace(other, flags=("asimd",), os="Linux aarch64")) == "exact"
