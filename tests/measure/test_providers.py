"""Providers on this machine: what there is, what is refused, and what OpenVINO does where it is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from engine.errors import StepError
from engine.measure import providers
from engine.measure.latency import measure_latency
from engine.measure.machine import machine
from engine.measure.providers import add_provider, available_providers, brought_by, check_provider
from engine.measure.session import Runner, session_options
from engine.spec.runtime import Runtime
from engine.spec.sections import LatencyOptions
from tests.helpers.openvino import needs_openvino, net_of
from tests.helpers.places import ROOT
from tests.helpers.tiny_onnx import conv_net

FULL = "OpenVINOExecutionProvider"


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, 1, 8, 8), np.float32)


@pytest.mark.parametrize("installed", [True, False])
def test_a_plugin_is_there_when_its_package_is(monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    names = ["AzureExecutionProvider", "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if installed else None)
    assert available_providers() == ("CPU", "TensorRT", "CUDA", *(["OpenVINO"] if installed else []))
    # A plugin that is loaded is listed by the runtime, with its devices.
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider", FULL, f"{FULL}.AUTO"])
    assert available_providers() == ("CPU", "OpenVINO")


def test_what_is_missing_is_told_with_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(StepError, match=r"has CPU; choose one of these or run `pip install onnxruntime-ep-openvino`$"):
        check_provider("OpenVINO")
    with pytest.raises(StepError, match=r"run `pip install onnxruntime-gpu` after `pip uninstall onnxruntime`"):
        check_provider("CUDA")


def test_a_plugin_that_cannot_be_loaded_or_finds_no_device_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(providers, "_plugins", set())
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    plugin = SimpleNamespace(get_library_path=lambda: str(tmp_path / "gone.so"))
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_openvino", plugin)
    with pytest.raises(
        StepError, match=r"provider OpenVINO does not start here: .*gone\.so.*install onnxruntime-ep-open"
    ) as told:
        add_provider(session_options(1), "OpenVINO", 1)
    assert "\n" not in str(told.value)
    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", lambda name, library: None)
    monkeypatch.setattr(onnxruntime, "get_ep_devices", list)
    with pytest.raises(StepError, match="provider OpenVINO finds no device here"):
        add_provider(session_options(1), "OpenVINO", 1)


def test_tensorrt_leaves_the_rest_to_the_same_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["TensorrtExecutionProvider"])
    assert add_provider(session_options(1), "TensorRT", 1) == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]


def test_figures_depend_on_the_providers_packages_and_on_the_machine() -> None:
    here = machine()
    assert brought_by("CPU", here) == brought_by(None, here) == {}
    there = SimpleNamespace(versions={"onnxruntime-ep-openvino": "1.8.1", "torch": "2"}, fingerprint="f")
    assert brought_by("OpenVINO", there) == {"brought_by": {"onnxruntime-ep-openvino": "1.8.1"}, "computed_on": "f"}


@needs_openvino
def test_openvino_answers_as_the_cpu_does_and_runs_every_operator(tmp_path: Path) -> None:
    path, images = conv_net(tmp_path / "m.onnx", 32), noise(9)
    runner = Runner(path, 1, provider="OpenVINO")
    assert runner.placement == {"OpenVINO": {"Conv": 1, "Relu": 1, "GlobalAveragePool": 1, "Flatten": 1, "MatMul": 1}}
    answers, plain = runner(images), Runner(path, 1)(images)
    assert not np.array_equal(answers, plain), "kernels of its own add in an order of their own"
    np.testing.assert_allclose(answers, plain, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(runner.bound(images, "cpu").output(), answers)


@needs_openvino
def test_what_openvino_leaves_to_the_cpu_is_seen_and_a_network_that_it_takes_nothing_of_refused(tmp_path: Path) -> None:
    partly = Runner(net_of(tmp_path / "partly.onnx", ["Conv", "Relu", "Det"]), 1, provider="OpenVINO")
    assert partly.placement == {"OpenVINO": {"Conv": 1, "Relu": 1}, "CPU": {"Det": 1}}
    with pytest.raises(
        StepError, match=r"OpenVINO runs no operator of none\.onnx \(Det\): the CPU would run all of it"
    ):
        Runner(net_of(tmp_path / "none.onnx", ["Det"]), 1, provider="OpenVINO")


@needs_openvino
def test_openvinos_options_are_those_that_it_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It passes over `num_of_threads` in silence; one in `load_config` that it does not know, it refuses."""
    monkeypatch.setattr(providers, "_plugin_options", lambda *_: {"load_config": json.dumps({"CPU": {"NO_SUCH": "1"}})})
    with pytest.raises(StepError, match="Unsupported property NO_SUCH"):
        Runner(conv_net(tmp_path / "m.onnx"), 1, provider="OpenVINO")


@needs_openvino
@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="a second thread needs a second CPU")
@pytest.mark.parametrize("threads", [1, 2])
def test_openvino_computes_on_as_many_threads_as_it_is_told(tmp_path: Path, threads: int) -> None:
    path = conv_net(tmp_path / "m.onnx", channels=64, size=64)
    code = f"""
import os
import numpy as np
from pathlib import Path
from engine.measure.session import Runner
def ticks():
    stats = {{t: Path(f"/proc/self/task/{{t}}/stat").read_text() for t in os.listdir("/proc/self/task")}}
    return {{t: sum(map(int, text.rpartition(")")[2].split()[11:13])) for t, text in stats.items()}}
run = Runner(Path({str(path)!r}), {threads}, provider="OpenVINO").repeated(np.ones((32, 1, 64, 64), np.float32))
for _ in range(3):
    run()
before = ticks()
while sum((now := ticks()).values()) - sum(before.values()) < 60:
    run()
print(sum(now[t] - before.get(t, 0) > 5 for t in now))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(done.stdout) == threads


@needs_openvino
def test_a_latency_on_openvino_says_what_ran_where(tmp_path: Path) -> None:
    quick = LatencyOptions(time_limit_s=0.4, processes=1)
    path = net_of(tmp_path / "m.onnx", ["Conv", "Relu", "Det"])
    result = measure_latency(path, path, (1, 8, 8), quick, Runtime(provider="OpenVINO"))
    assert result.placement == {"OpenVINO": {"Conv": 1, "Relu": 1}, "CPU": {"Det": 1}}
    assert result.latency_ratio.value > 0
    # ONNX Runtime's arena knows nothing of the memory of another provider.
    assert result.arena_bytes is None
    assert measure_latency(path, None, (1, 8, 8), quick).placement == {}
