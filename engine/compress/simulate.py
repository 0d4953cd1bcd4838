"""A scheme in torch: the network rounded exactly where the file will round.

What learns are weights, biases and step sizes (engine/compress/lsq.py); a weight is rounded once per step, however many layers share it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.compress.grid import storable_bias
from engine.compress.kinds import INTEGER_BITS
from engine.compress.lsq import RoundedActivation, RoundedWeight
from engine.compress.scheme import Scheme
from engine.compress.teacher import logits_name
from engine.compress.torch_graph import Call, as_call, constants_of, execute, operator, with_lifetimes
from engine.compress.weights import Layer
from engine.onnx_graph import graph_inputs

# Of a batch norm: what torch's own has.
_EPSILON = 1e-5
_MOMENTUM = 0.1
_SMALLEST_GAMMA_SHARE = 0.05


class RoundedLayer(nn.Module):
    """A layer of rounded weights, (data, rounded v) -> its output. `bias` (channels,) learns.

    With a batch norm, `gamma` learns too; the statistics are of the layer's product with v, and until `frozen` training uses those of each
    batch. In use, frozen or not, all of it is one factor per channel and one bias, as in the file.
    """

    def __init__(
        self, layer: Layer, weight: RoundedWeight, bias: Tensor | None, data: RoundedActivation | None
    ) -> None:
        super().__init__()
        self.operator = operator(layer.node)
        self.is_convolution = layer.node.op_type == "Conv"
        self.weight, self.data = weight, data
        self.bias = None if bias is None else nn.Parameter(bias)
        self.gamma: nn.Parameter | None = None
        self.frozen = False
        self.observer: Callable[[Tensor], None] | None = None

    def insert_norm(self, mean: Tensor, variance: Tensor) -> None:
        """Add the batch norm that changes nothing where the product with v has these statistics, (channels,) each."""
        assert self.bias is not None, "the mean needs a bias to go to"
        factor, deviation = self.weight.factor.reshape(-1), torch.sqrt(variance + _EPSILON)
        self.bias = nn.Parameter(self.bias.detach() + factor * mean)
        self.gamma = nn.Parameter(factor * deviation)
        self._smallest_gamma = self.gamma.detach() * _SMALLEST_GAMMA_SHARE
        self._mean, self._variance = mean.clone(), variance.clone()

    def folded(self) -> tuple[Tensor, Tensor | None]:
        """The factor, which broadcasts against the weight, and the bias that all of it amounts to."""
        if self.gamma is None or self.bias is None:
            return self.weight.factor, self.bias
        factor = self.gamma / torch.sqrt(self._variance + _EPSILON)
        return factor.reshape(self.weight.shape), self.bias - self._mean * factor

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        """The layer's output, batch norm included."""
        if self.observer is not None:
            self.observer(self.operator(x, v))
        result: Tensor
        if self.gamma is not None and self.training and not self.frozen:
            return F.batch_norm(
                self.operator(x, v), self._mean, self._variance, self.gamma, self.bias, True, _MOMENTUM, _EPSILON
            )
        factor, bias = self.stored()
        result = self.operator(x, v * factor, *(() if bias is None else (bias,)))
        return result

    def stored(self) -> tuple[Tensor, Tensor | None]:
        """As `folded`, with scales and biases from the grids that the file stores them on; gradients pass through."""
        factor, bias = self.folded()
        with torch.no_grad():
            scale = self.weight.stored_scale(factor).reshape(self.weight.shape)
            factor_error = scale / (self.weight.scale.reshape(self.weight.shape) * factor)
        return factor * factor_error, None if bias is None else bias + self._bias_error(bias.detach(), scale)

    def _bias_error(self, bias: Tensor, scale: Tensor) -> Tensor:
        """What storing adds to a bias: codes of a few bits in the file, int32 of scale data × weight in integer kernels."""
        stored = torch.from_numpy(storable_bias(bias.numpy(), self.weight.start.bits))
        if self.data is not None and self.data.start.bits <= INTEGER_BITS:
            step = self.data.scale.detach() * scale.reshape(-1)
            stored = (stored / step).round() * step
        return stored - bias

    def keep_positive(self) -> None:
        """After an update: codes keep their sign when the factor is folded into their scale."""
        if self.gamma is not None:
            self.gamma.data.clamp_(min=self._smallest_gamma)


class _Statistics:
    """Mean and variance of each channel over all tensors (n, channels, h, w) seen."""

    def __init__(self) -> None:
        self.pixels = 0
        self._values, self._total, self._squares = 0, torch.zeros(()), torch.zeros(())

    def __call__(self, x: Tensor) -> None:
        self.pixels = x[0, 0].numel()
        x = x.detach().transpose(0, 1).flatten(1).double()
        self._values += x.shape[1]
        self._total, self._squares = self._total + x.sum(1), self._squares + x.square().sum(1)

    def result(self) -> tuple[Tensor, Tensor]:
        """(mean, variance), (channels,) each."""
        mean = self._total / self._values
        return mean.float(), (self._squares / self._values - mean.square()).clamp(min=0).float()


class Simulation(nn.Module):
    """A scheme as a network, images (n, C, H, W) -> logits; starts with the scheme's codes and scales."""

    def __init__(self, scheme: Scheme) -> None:
        super().__init__()
        self.start = scheme
        constants = constants_of(scheme.model)
        constants |= {_bias_name(output): torch.from_numpy(bias.copy()) for output, bias in scheme.biases.items()}
        makers = {layer.output: layer for layer in scheme.layers}
        self._activations = {
            name: RoundedActivation(scale, scheme.limits.get(name))
            for name, scale in scheme.activations.items()
            if name not in scheme.shared
        }
        self._weights = {n: RoundedWeight(constants[n], codes) for n, codes in scheme.weights.items()}
        self._layers: dict[str, RoundedLayer] = {}
        self._input, self._output = graph_inputs(scheme.model)[0].name, logits_name(scheme.model)
        calls = self._rounding(self._input)
        for node in scheme.nodes:
            layer = makers.get(node.output[0])
            if layer is None:
                calls.append(as_call(node))
            elif layer.weight in self._weights:
                calls.append(self._rounded_layer(layer, constants))
            else:
                bias = (_bias_name(layer.output),) if layer.output in scheme.biases else ()
                calls.append(Call(operator(node), (layer.data, layer.weight, *bias), (layer.output,)))
            calls += [call for name in node.output for call in self._rounding(name)]
        read = {name for call in calls for name in call.inputs}
        self._constants = {n: c for n, c in constants.items() if n in read and n not in self._weights}
        self.calls = with_lifetimes(calls, {self._output, *self._constants, *self._weights})
        self._parts: list[RoundedActivation | RoundedWeight | RoundedLayer] = [
            *self._activations.values(),
            *self._weights.values(),
            *self._layers.values(),
        ]
        self.registered = nn.ModuleList(self._parts)

    def _rounding(self, name: str) -> list[Call]:
        return [Call(self._activations[name], (name,), (name,))] if name in self._activations else []

    def _root(self, name: str) -> str:
        """The tensor whose scale the named one has."""
        while name in self.start.shared:
            name = self.start.shared[name]
        return name

    def _rounded_layer(self, layer: Layer, constants: dict[str, Tensor]) -> Call:
        bias = constants.get(_bias_name(layer.output))
        data = self._activations.get(self._root(layer.data))
        self._layers[layer.output] = RoundedLayer(layer, self._weights[layer.weight], bias, data)
        return Call(self._layers[layer.output], (layer.data, layer.weight), (layer.output,))

    def values(self, images: Tensor) -> dict[str, Tensor]:
        """What the calls start from: constants, rounded weights and images."""
        return {**self._constants, **{name: weight() for name, weight in self._weights.items()}, self._input: images}

    def forward(self, images: Tensor) -> Tensor:
        """Images, preprocessed -> logits (n, classes)."""
        values = self.values(images)
        execute(self.calls, values)
        return values[self._output]

    def insert_norms(self, images: Tensor) -> int:
        """Give convolutions a batch norm that changes nothing on `images`; how many got one.

        Left out are those without a bias, with one scale for all channels, with a weight that several share, and whose output is one
        pixel, where a batch has too few values for statistics.
        """
        uses = Counter(id(layer.weight) for layer in self._layers.values())
        seen: dict[RoundedLayer, _Statistics] = {}
        for layer in self._layers.values():
            per_channel = layer.weight.start.scale.ndim == 1
            if layer.is_convolution and layer.bias is not None and per_channel and uses[id(layer.weight)] == 1:
                layer.observer = seen[layer] = _Statistics()
        with torch.no_grad():
            for batch in torch.split(images, 64):
                self(batch)
        for layer, statistics in seen.items():
            layer.observer = None
            if statistics.pixels > 1:
                layer.insert_norm(*statistics.result())
        return sum(layer.gamma is not None for layer in self._layers.values())

    def freeze_norms(self) -> None:
        """From now on statistics stay, and training sees the network as the file will hold it."""
        for layer in self._layers.values():
            layer.frozen = True

    def keep_positive(self) -> None:
        """After every update: no step size and no factor is zero or below."""
        for part in self._parts:
            part.keep_positive()

    @torch.no_grad()
    def result(self) -> Scheme:
        """The scheme as it is now."""
        biases, weights = dict(self.start.biases), dict(self.start.weights)
        for name, weight in self._weights.items():
            layer = next(layer for layer in self._layers.values() if layer.weight is weight)
            weights[name] = weight.result(layer.folded()[0])
        for output, layer in self._layers.items():
            bias = layer.folded()[1]
            if bias is not None:
                biases[output] = bias.numpy().copy()
        scales = {name: part.result() for name, part in self._activations.items()}
        activations = {name: scales[self._root(name)] for name in self.start.activations}
        return replace(self.start, activations=activations, weights=weights, biases=biases)


def _bias_name(output: str) -> str:
    return f"{output}/bias"
