"""What is measured of networks that read several inputs: on real samples, since no noise is a token."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from engine.datasets.dataset import Dataset
from engine.datasets.load import load_dataset
from engine.errors import StepError
from engine.graph.count_demand import graph_demand
from engine.graph.counts import graph_facts
from engine.graph.graph import load_onnx, save_onnx
from engine.graph.inputs import NamedArrays
from engine.measure.accuracy import predict
from engine.measure.batches import batch_note
from engine.measure.emulation import Emulator
from engine.measure.latency import sample_file
from engine.measure.latency_process import fed
from engine.measure.session import Runner
from engine.measure.timed_on import timed_on
from engine.models.files import load_file
from engine.models.made_elsewhere import fit
from engine.spec.sections import Data, Model
from tests.helpers.several_inputs import token_data, token_net, tokens_and_masks


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return load_dataset(Data(source=str(token_data(tmp_path / "data.npz")), inputs=["tokens", "mask"]))


@pytest.fixture
def net(tmp_path: Path, data: Dataset) -> Path:
    model, _ = load_file(Model(source=str(token_net(tmp_path / "file.onnx")), output="scores"), data)
    save_onnx(model, tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def test_times_are_of_real_samples(net: Path, data: Dataset) -> None:
    given = timed_on(net, data, 50)
    assert isinstance(given, NamedArrays)
    with sample_file(given) as request:
        batch = fed(request, 50)
        runner = Runner(net, 1)
        runner.repeated(batch)()
        # More than there are begin again with the first, and so does its mask.
        more = fed(request, 70)
    np.testing.assert_array_equal(batch.arrays["tokens"], given.arrays["tokens"])
    np.testing.assert_array_equal(more.arrays["mask"][50:], given.arrays["mask"][:20])
    assert runner(more).shape == (70, 4)


def test_answers_are_the_runtimes_own_whatever_the_order_of_the_data(net: Path, data: Dataset, tmp_path: Path) -> None:
    tokens, mask, labels = tokens_and_masks(120, 120)
    said = onnxruntime.InferenceSession(net).run(None, {"mask": mask, "tokens": tokens})[0]
    found = predict(net, data.test, data.preprocessing, 4)
    np.testing.assert_array_equal(found.predicted, said.argmax(1))
    np.testing.assert_array_equal(found.right, said.argmax(1) == labels)
    assert batch_note(net, data.test, data.preprocessing) is None
    turned = load_dataset(Data(source=str(tmp_path / "data.npz"), inputs=["mask", "tokens"]))
    np.testing.assert_array_equal(predict(net, turned.test, turned.preprocessing, 4).predicted, said.argmax(1))
    np.testing.assert_allclose(Emulator(load_onnx(net)).exact(data.test.inputs), said, rtol=1e-5)


def test_what_a_graph_asks_for_is_counted(net: Path) -> None:
    model = load_onnx(net)
    facts, demand = graph_facts(model), graph_demand(model)
    assert facts.macs == demand.macs == 8 * 8 + 8 * 4
    # The table of words was learned, too.
    assert facts.params == 12 * 8 + 8 * 8 + 8 * 4 + 4
    assert demand.peak_bytes >= 2 * 16 * 8


def test_an_input_that_the_data_lack_is_one_line(net: Path, data: Dataset) -> None:
    with pytest.raises(
        StepError, match=r"net\.onnx does not run on input of shape .*it takes 'mask', which is not among tokens"
    ):
        Runner(net, 1)(NamedArrays({"tokens": data.test.inputs.arrays["tokens"]}))
    with pytest.raises(StepError, match="takes tokens, mask, but is given one array"):
        Runner(net, 1)(data.test.inputs.arrays["tokens"])


def test_a_file_made_elsewhere_is_fitted_as_the_sweeps_own(data: Dataset, tmp_path: Path) -> None:
    made, output = token_net(tmp_path / "made.onnx"), tmp_path / "fitted.onnx"
    told = fit(made, data, output, Model(source="any", output="scores"))
    assert "the output that counts as in this sweep" in told
    assert [o.name for o in load_onnx(output).graph.output] == ["scores"]
    # One that has been made so already is measured as it is.
    again = fit(output, data, tmp_path / "again.onnx", Model(source="any", output="scores"))
    assert "measured as it is" in again
    assert onnx.load(tmp_path / "again.onnx") == onnx.load(output)
