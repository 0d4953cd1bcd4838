"""Bias correction: the mean of every channel comes back, the output comes closer, nothing gets worse."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from engine.compress.quantization.bias import correct_biases
from engine.compress.quantization.scheme import Scheme
from engine.compress.quantization.write import write
from engine.compress.quantize import apply, make_scheme, prepare
from engine.graph.graph import open_session, with_outputs
from engine.models.export import export_onnx
from engine.models.zoo import BUILDERS
from engine.spec.steps import Quantize
from tests.helpers.quantize_cases import MIXTURE_SHAPE, calibrated, mixture, pictures, relative_error, run

torch.set_num_threads(1)
CALIBRATION = pictures(64, MIXTURE_SHAPE, 5)


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return prepare(mixture())


def exact_outputs(model: onnx.ModelProto, images: np.ndarray) -> dict[str, np.ndarray]:
    """{layer name: what it computes}, before any activation function or rounding, by running the file itself."""
    layers = [n for n in model.graph.node if n.op_type in ("Conv", "Gemm")]
    names = [n.output[0] for n in layers]
    values = open_session(with_outputs(model, names)).run(names, {model.graph.input[0].name: images})
    return {n.name: v for n, v in zip(layers, values, strict=True)}


def mean_errors(scheme: Scheme, model: onnx.ModelProto) -> list[float]:
    """For each layer, how far channel means are from the float network's, in units of the layer's spread."""
    wanted, found = (exact_outputs(m, CALIBRATION) for m in (model, write(scheme, packed=False)))
    errors = []
    for name, value in wanted.items():
        axes = (0, *range(2, value.ndim))
        errors.append(float(np.abs(found[name].mean(axes) - value.mean(axes)).mean() / value.std()))
    return errors


@pytest.mark.parametrize("activation_bits", [8, 32])
def test_channel_means_come_back(activation_bits: int, model: onnx.ModelProto) -> None:
    step = Quantize(weight_bits=4, activation_bits=activation_bits, calibration="minmax")
    scheme = make_scheme(step, model, CALIBRATION)
    corrected = correct_biases(scheme, CALIBRATION)
    before, after = mean_errors(scheme, model), mean_errors(corrected, model)
    # What is left is the 16 bits in which biases are stored, and codes that round the other way in integer kernels.
    assert max(after) < 0.01
    assert np.mean(after) < np.mean(before) / 5
    assert corrected.weights == scheme.weights
    assert corrected.activations == scheme.activations


@pytest.mark.parametrize("name", ["resnet8", "ds_cnn"])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_output_comes_closer_and_never_goes_further(name: str, bits: int) -> None:
    torch.manual_seed(0)
    model = prepare(calibrated(BUILDERS[name](), (1, 28, 28)))
    calibration = pictures(48, (1, 28, 28), 2)
    scheme = make_scheme(Quantize(weight_bits=bits, activation_bits=8), model, calibration)
    before, after = (
        relative_error(run(write(s, False), calibration), run(model, calibration))
        for s in (scheme, correct_biases(scheme, calibration))
    )
    assert after <= before * 1.01
    if bits > 2:
        assert after < before


def test_a_layer_without_a_bias_gets_one_that_is_by_hand() -> None:
    """One 1×1 convolution: what rounding took from the mean is what the bias adds."""
    network = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.Flatten(), nn.Linear(2 * 4, 2))
    torch.manual_seed(2)
    model = prepare(export_onnx(network, (3, 2, 2)))
    images = np.random.default_rng(0).uniform(0.5, 2, (32, 3, 2, 2)).astype(np.float32)
    scheme = make_scheme(Quantize(weight_bits=2, activation_bits=32, ends_8bit=False), model, images)
    corrected = correct_biases(scheme, images)
    layer = scheme.layers[0]
    assert layer.output not in scheme.biases
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    lost = (stored[layer.weight] - scheme.weights[layer.weight].values())[:, :, 0, 0]
    by_hand = lost.astype(np.float64) @ images.mean(axis=(0, 2, 3), dtype=np.float64)
    np.testing.assert_allclose(corrected.biases[layer.output], by_hand, rtol=1e-4, atol=1e-6)
    for packed in (False, True):
        graph = write(corrected, packed)
        wanted = run(model, images).mean(axis=0)
        np.testing.assert_allclose(run(graph, images).mean(axis=0), wanted, atol=5e-3 * np.abs(wanted).max())


def test_the_step_corrects_where_it_says_so(model: onnx.ModelProto) -> None:
    exact = run(model, CALIBRATION)
    errors = [
        relative_error(
            run(
                apply(
                    Quantize(weight_bits=3, activation_bits=8, rounding="nearest", bias_correction=on),
                    model,
                    CALIBRATION,
                ),
                CALIBRATION,
            ),
            exact,
        )
        for on in (False, True)
    ]
    assert errors[1] < errors[0]


def test_a_fixed_batch_is_corrected_too(model: onnx.ModelProto) -> None:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 6
    scheme = make_scheme(Quantize(weight_bits=3, activation_bits=8), fixed, CALIBRATION[:16])
    free = make_scheme(Quantize(weight_bits=3, activation_bits=8), model, CALIBRATION[:6])
    found = correct_biases(scheme, CALIBRATION[:16]).biases
    assert found.keys() == correct_biases(free, CALIBRATION[:6]).biases.keys()
    first = scheme.layers[0].output
    np.testing.assert_allclose(found[first], correct_biases(free, CALIBRATION[:6]).biases[first], atol=0.02)
