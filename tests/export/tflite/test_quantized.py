"""What this project's own quantizer writes, as int8: packed weights, functions, every type of codes, layers in float."""

from __future__ import annotations

from functools import cache

import onnx
import pytest

from engine.compress.quantize import apply
from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.errors import ModelError
from engine.export.tflite.check import compare
from engine.export.tflite.convert import convert
from engine.models.export import export_onnx
from engine.models.sources import load_network
from engine.spec.sections import Model
from engine.spec.steps import Quantize
from tests.helpers.qdq import needs_litert

pytestmark = needs_litert

DATA = load_fashion_mnist()
SEEN = DATA.preprocessing(DATA.calibration.inputs[:64])
ASKED = {"input": DATA.preprocessing(DATA.test.inputs[:100])}


@cache
def network() -> onnx.ModelProto:
    """The depthwise network that ships, whose layers are of few kinds: they become functions of the file."""
    return export_onnx(load_network(Model(source="ds_cnn"), DATA).module, DATA.input_shape)


def quantized(**how: object) -> onnx.ModelProto:
    step = Quantize(**{"weight_bits": 8, "activation_bits": 8, "rounding": "nearest", **how})  # type: ignore[arg-type]
    return apply(step, network(), SEEN)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"weight_bits": 4},
        # Rounded to the nearest two bits leave a network whose classes are nearly ties, and what `auto` chooses differs with the CPU.
        {
            "weight_bits": 2,
            "rounding": "learned",
            "calibration": "percentile",
            "equalize": False,
            "bias_correction": False,
        },
        {"format": "u8u8", "per_channel": False},
        {"format": "s8s8"},
        {"weight_range": "safe"},
    ],
    ids=str,
)
def test_every_form_of_our_quantized_networks(how: dict[str, object]) -> None:
    made = convert(quantized(**how), ASKED)
    found = compare(made, ASKED, classes=True)
    found.refused(str(how))
    assert found.outputs[0].mean_steps < 1.5


def test_activations_of_fewer_bits_keep_their_bounds() -> None:
    made = convert(quantized(activation_bits=6), ASKED)
    assert {"MAXIMUM", "MINIMUM"} & set(made.operators)
    assert compare(made, ASKED, classes=True).outputs[0].mean_steps < 1.5


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"activation_bits": 16}, "rounds activations to uint16"),
        ({"activation_bits": 32, "weight_bits": 4}, "has weights in float"),
        ({"symmetric": False, "per_channel": False}, "steps around their zero"),
    ],
    ids=str,
)
def test_what_is_no_full_int8_network_is_refused(how: dict[str, object], words: str) -> None:
    with pytest.raises(ModelError, match=words) as error:
        convert(quantized(**how), ASKED)
    assert "\n" not in str(error.value)


def test_a_layer_left_in_float_is_refused_by_its_name() -> None:
    graph = network()
    kept = next(node for node in graph.graph.node if node.op_type == "Conv")
    step = Quantize(weight_bits=8, activation_bits=8, rounding="nearest")
    mixed = apply(step, graph, SEEN, bits={kept.input[1]: 32})
    with pytest.raises(ModelError, match=rf"{kept.op_type} '{kept.name}' has weights in float"):
        convert(mixed, ASKED)
