"""Providers are one thing under every spelling, and each says what to install."""

import pytest

from engine.spec.providers import PROVIDERS, provider_of
from engine.spec.runtime import Runtime


@pytest.mark.parametrize(
    ("written", "name", "full_name"),
    [
        ("CPU", "CPU", "CPUExecutionProvider"),
        ("cuda", "CUDA", "CUDAExecutionProvider"),
        ("TensorRT", "TensorRT", "TensorrtExecutionProvider"),
        ("TensorrtExecutionProvider", "TensorRT", "TensorrtExecutionProvider"),
        ("openvino", "OpenVINO", "OpenVINOExecutionProvider"),
        ("XnnpackExecutionProvider", "Xnnpack", "XnnpackExecutionProvider"),
    ],
)
def test_a_provider_goes_by_one_name_however_it_is_written(written: str, name: str, full_name: str) -> None:
    """Otherwise the same runtime would have two keys, and two trials."""
    provider = provider_of(written)
    assert (provider.name, provider.full_name) == (name, full_name)
    assert provider_of(full_name) == provider
    assert Runtime.model_validate({"provider": written}).provider == name


def test_each_says_what_brings_it() -> None:
    remedies = {p.name: p.remedy for p in PROVIDERS}
    assert remedies["OpenVINO"] == "run `pip install onnxruntime-ep-openvino`"
    assert remedies["TensorRT"].startswith("run `pip install onnxruntime-gpu` after `pip uninstall onnxruntime`")
    assert provider_of("CoreML").remedy == "install the onnxruntime package that brings it"


def test_what_lies_in_a_memory_of_its_own_is_a_card() -> None:
    assert {p.name: (p.computes_on, p.memory) for p in PROVIDERS} == {
        "CPU": ("processor", None),
        "CUDA": ("nvidia", "cuda"),
        "TensorRT": ("nvidia", "cuda"),
        "OpenVINO": ("processor", None),
    }
    assert provider_of("CoreML").computes_on is None
