"""Whether a provider has a device, asked in a process of its own before anything runs."""

from __future__ import annotations

import subprocess

import pytest

from engine.errors import StepError
from engine.measure import provider_device
from tests.helpers.openvino import lacking


def test_a_plugin_without_a_device_is_refused_with_what_to_do() -> None:
    """Against what a program of a few lines finds here (tests/helpers/openvino.py)."""
    if lacking() is None:
        provider_device.check_device("OpenVINO")
        return
    with pytest.raises(
        StepError, match=r"provider OpenVINO (finds no device here|is not in)[^\n]*(leave it out|pip)"
    ) as told:
        provider_device.check_device("OpenVINO")
    assert "\n" not in str(told.value)


def test_providers_of_the_runtime_itself_are_asked_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_device, "run_module", lambda *given: pytest.fail("a process was started"))
    provider_device.check_device("CPU")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((0, '{"error": "runtime: provider OpenVINO finds no device here"}\n'), "finds no device"),
        ((-11, ""), "does not start here: its process ended with code -11"),
        ((0, 'a warning\n{"error": null}\n'), None),
    ],
)
def test_what_the_process_says_is_what_is_told(
    monkeypatch: pytest.MonkeyPatch, answer: tuple[int, str], said: str | None
) -> None:
    monkeypatch.setattr(provider_device, "check_provider", lambda name: None)
    done = subprocess.CompletedProcess([], answer[0], answer[1], "")
    monkeypatch.setattr(provider_device, "run_module", lambda *given: done)
    provider_device.check_device.cache_clear()
    if said is None:
        provider_device.check_device("OpenVINO")
    else:
        with pytest.raises(StepError, match=said):
            provider_device.check_device("OpenVINO")
    provider_device.check_device.cache_clear()
