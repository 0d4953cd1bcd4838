"""The emulation of saturating sums against ONNX Runtime's own AVX2 kernels, on an emulated CPU."""

from __future__ import annotations

import json

import numpy as np
import onnx

from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.graph.graph import constant_values, load_onnx, with_outputs
from engine.graph.inline import inlined
from engine.measure.emulation import Emulator
from engine.paths import EXAMPLE
from tests.helpers.haswell import needs_haswell, on_haswell
from tests.helpers.integer_nets import CONVOLUTIONS, EXACT_CONVOLUTIONS, PRODUCTS, case

pytestmark = needs_haswell


def layers_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same network giving the codes of every rounding, too: of uint8, since the runtime changes int8 codes only where nobody looks."""
    model = inlined(model)
    rounded = [n for n in model.graph.node if n.op_type == "QuantizeLinear"]
    zeros = constant_values(model, [n.input[2] for n in rounded])
    rounded = [n.output[0] for n in rounded if zeros[n.input[2]].dtype == np.uint8]
    return with_outputs(model, [*rounded, model.graph.output[0].name])


def test_every_path_of_the_kernels_gives_the_same_codes(tmp_path):
    cases = {name: case(name) for name in (*CONVOLUTIONS, *EXACT_CONVOLUTIONS, *PRODUCTS)}
    real = on_haswell({name: (layers_of(model), x) for name, (model, x) in cases.items()}, tmp_path)
    for name, (model, x) in cases.items():
        first = "yq" if "yq" in real[name] else "logits"
        plain = Emulator(with_outputs(model, [first])).exact(x)
        if name in EXACT_CONVOLUTIONS and first == "yq":
            np.testing.assert_array_equal(plain, real[name][first], err_msg=name)
        if name not in EXACT_CONVOLUTIONS:
            assert not np.array_equal(plain, real[name][first]), name
        found = Emulator(layers_of(model)).emulated(x)
        for tensor, expected in real[name].items():
            np.testing.assert_array_equal(found[tensor], expected, err_msg=f"{name}: {tensor}")


def test_networks_give_the_same_codes_layer_by_layer_and_the_same_classes(tmp_path):
    """The shipped example's files: packed weights, shortcuts, depthwise layers, the runtime's own fused additions and pools."""
    trials = json.loads((EXAMPLE / "sweep.json").read_text())["trials"]
    data = load_fashion_mnist()
    x = data.preprocessing(data.test.head(20).inputs)
    models = {}
    for label in ("int8", "distil ds_cnn (2×25k) · int8"):
        artifact = next(t["artifact"] for t in trials if t["label"] == label)
        models[label] = load_onnx(EXAMPLE / "artifacts" / artifact)
    real = on_haswell({label: (layers_of(model), x) for label, model in models.items()}, tmp_path)
    for label, model in models.items():
        found = Emulator(layers_of(model)).emulated(x)
        assert len(found) > 8
        for tensor, expected in real[label].items():
            np.testing.assert_array_equal(found[tensor], expected, err_msg=f"{label}: {tensor}")
        assert not np.array_equal(found["logits"], Emulator(model).exact(x)), label
