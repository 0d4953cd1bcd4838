"""What no other runtime does is refused before anything is made for it."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from engine.export.predict_template import BundleError
from engine.export.targets import refuse_states
from engine.graph.states import State, set_states
from tests.helpers.tiny_onnx import conv_net


@pytest.mark.parametrize("batch", ["N", 1, 2])
def test_a_network_that_remembers_goes_home_as_a_bundle_alone(tmp_path: Path, batch: int | str) -> None:
    model = onnx.load(str(conv_net(tmp_path / "net.onnx", batch=batch)))
    refuse_states(model.SerializeToString())
    set_states(model, [State("h", "hN", 0)])
    with pytest.raises(BundleError, match=r"the network remembers \(h are fed back"):
        refuse_states(model.SerializeToString())
