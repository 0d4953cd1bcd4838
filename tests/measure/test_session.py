"""Sessions: calls whose input and output stay on a device, and no provider that silently hands over to the CPU."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from engine.errors import StepError
from engine.measure.latency_process import Limits, take_turns
from engine.measure.session import Bound, Runner
from engine.spec.providers import Provider
from tests.helpers.tiny_onnx import conv_net


def noise(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, 1, 8, 8), np.float32)


@pytest.mark.parametrize("n", [1, 7])
def test_a_bound_call_gives_what_a_plain_one_gives(tmp_path: Path, n: int) -> None:
    """The code that times graphics cards, on the memory that is here: the processor's."""
    runner, images = Runner(conv_net(tmp_path / "m.onnx"), 1), noise(n)
    bound = runner.bound(images, "cpu")
    bound()
    np.testing.assert_array_equal(bound.output(), runner(images))
    assert bound.output().shape == (n, 10)
    # Each call computes anew from what is bound: the processor's memory is the caller's own array.
    images[:] = noise(n, seed=1)
    bound()
    np.testing.assert_array_equal(bound.output(), runner(images))


def test_what_is_timed_is_bound_where_the_provider_has_a_memory_of_its_own(tmp_path: Path) -> None:
    runner, images = Runner(conv_net(tmp_path / "m.onnx"), 1), noise(2)
    plain = runner.repeated(images)
    np.testing.assert_array_equal(plain()[0], runner(images))
    runner._provider = Provider("Card", "CPUExecutionProvider", memory="cpu")
    call = runner.repeated(images)
    assert isinstance(call, Bound)
    turns = take_turns(call, plain, Limits(seconds=0.1))
    assert min(min(block) for block in turns.candidate_ms) > 0
    np.testing.assert_array_equal(call.output(), runner(images))


def test_images_that_do_not_fit_are_told_as_ever_when_bound(tmp_path: Path) -> None:
    runner = Runner(conv_net(tmp_path / "m.onnx"), 1)
    with pytest.raises(StepError, match=r"m\.onnx does not run on input of shape \(1, 3, 8, 8\)"):
        runner.bound(np.zeros((1, 3, 8, 8), np.float32), "cpu")
    with pytest.raises(
        StepError, match=r"m\.onnx does not run on input of shape \(1, 1, 8, 8\): .*allocate memory on the device"
    ):
        runner.bound(noise(1), "cuda")  # a memory that is not here


def test_vectors_and_series_are_taken_and_other_inputs_refused(tmp_path: Path) -> None:
    def net(shape: list[int | str]) -> Path:
        nodes = [helper.make_node("Flatten", ["x"], ["y"])]
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, axes)
            for name, axes in (("x", shape), ("y", ["N", 6]))
        ]
        graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "v.onnx"
        )
        return tmp_path / "v.onnx"

    for axes in ([6], [2, 3]):
        batch = np.arange(12, dtype=np.float32).reshape(2, *axes)
        np.testing.assert_array_equal(Runner(net(["N", *axes]), 1)(batch), batch.reshape(2, 6))
    with pytest.raises(StepError, match=r"v\.onnx must take inputs \(N, …\) of numbers, but takes: x"):
        Runner(net(["N"]), 1)


class FakeSession:
    """Says of itself what it is told to; everything else of a session is not needed before."""

    def __init__(self, names: list[str], parts: dict[str, list[str]]) -> None:
        self.names, self.parts = names, parts

    def get_providers(self) -> list[str]:
        return self.names

    def get_provider_graph_assignment_info(self) -> list[SimpleNamespace]:
        nodes = {name: [SimpleNamespace(op_type=t) for t in types] for name, types in self.parts.items()}
        return [SimpleNamespace(ep_name=name, get_nodes=lambda own=own: own) for name, own in nodes.items()]


@pytest.mark.parametrize(
    ("session", "words"),
    [
        (FakeSession(["CPUExecutionProvider"], {}), "provider CUDA does not start here"),
        (
            FakeSession(
                ["CUDAExecutionProvider", "CPUExecutionProvider"], {"CPUExecutionProvider": ["Loop", "If", "Loop"]}
            ),
            r"provider CUDA runs no operator of m\.onnx \(Loop, If\): the CPU would run all of it; leave the provider out",
        ),
    ],
)
def test_a_provider_that_hands_the_whole_network_to_the_cpu_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, session: FakeSession, words: str
) -> None:
    asked = {}
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # set otherwise, for the rest of the tests too
    monkeypatch.setattr(
        onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
    )
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *_, **options: asked.update(options) or session)
    with pytest.raises(StepError, match=words):
        Runner(conv_net(tmp_path / "m.onnx"), 1, provider="CUDA")
    # Its own fallback, which prints and goes on on the CPU, is off.
    assert asked["enable_fallback"] == 0
    assert asked["providers"] == [("CUDAExecutionProvider", {})]
