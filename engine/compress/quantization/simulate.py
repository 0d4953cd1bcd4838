"""A scheme in torch: the network rounded exactly where the file will round.

What learns are weights, biases and step sizes (lsq.py); a weight is rounded once per step, however many layers share it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from engine.compress.quantization.grid import storable_bias
from engine.compress.quantization.kinds import INTEGER_BITS
from engine.compress.quantization.lsq import RoundedActivation, RoundedWeight
from engine.compress.quantization.others import other_values
from engine.compress.quantization.scheme import Scheme
from engine.compress.quantization.torch_graph import (
    Call,
    as_call,
    constants_of,
    execute,
    input_types,
    named_tensors,
    with_lifetimes,
)
from engine.compress.quantization.torch_operators import operator
from engine.compress.quantization.weights import Layer
from engine.compress.teacher import logits_name
from engine.compress.torch_device import from_array, to_array
from engine.models.pruned import mark_pruned


class RoundedLayer(nn.Module):
    """A layer of rounded weights, (data, weight) -> its output. `bias` (channels,) learns."""

    def __init__(
        self, layer: Layer, weight: RoundedWeight, bias: Tensor | None, data: RoundedActivation | None
    ) -> None:
        super().__init__()
        self.operator = operator(layer.node)
        self.weight, self.data = weight, data
        self.bias = None if bias is None else nn.Parameter(bias)

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        """The layer's output, with the bias that the file stores; gradients pass through."""
        result: Tensor = self.operator(x, weight, *(() if self.bias is None else (self.bias + self._bias_error(),)))
        return result

    @torch.no_grad()
    def _bias_error(self) -> Tensor:
        """What storing adds to a bias: codes of a few bits in the file, int32 of scale data × weight in integer kernels."""
        assert self.bias is not None
        stored = from_array(storable_bias(to_array(self.bias), self.weight.start.bits))
        if self.data is not None and self.data.start.bits <= INTEGER_BITS:
            step = self.data.scale * self.weight.stored_scale().reshape(-1)
            stored = (stored / step).round() * step
        return stored - self.bias


class Simulation(nn.Module):
    """A scheme as a network, images (n, C, H, W), or several inputs by name -> logits; starts with the scheme's codes and scales.

    Raises StepError for operators that torch has not, unless it `learns` no more than rounding: ONNX Runtime computes these then.
    """

    def __init__(self, scheme: Scheme, learns: bool = True) -> None:
        super().__init__()
        self.start = scheme
        constants = constants_of(scheme.model)
        constants |= {name: from_array(value) for name, value in other_values(scheme).items()}
        constants |= {_bias_name(output): from_array(bias.copy()) for output, bias in scheme.biases.items()}
        makers = {layer.output: layer for layer in scheme.layers}
        self._activations = {
            name: RoundedActivation(scale, scheme.limits.get(name))
            for name, scale in scheme.activations.items()
            if name not in scheme.shared
        }
        self._weights = {n: RoundedWeight(constants[n], codes) for n, codes in scheme.weights.items()}
        self._layers: dict[str, RoundedLayer] = {}
        self._types, self._output = input_types(scheme.model), logits_name(scheme.model)
        calls = [call for name in self._types for call in self._rounding(name)]
        for node in scheme.nodes:
            layer = makers.get(node.output[0])
            if layer is None:
                calls.append(as_call(node, None if learns else scheme.model))
            elif layer.weight in self._weights:
                calls.append(self._rounded_layer(layer, constants))
            else:
                bias = (_bias_name(layer.output),) if layer.output in scheme.biases else ()
                calls.append(Call(operator(node), (layer.data, layer.weight, *bias), (layer.output,)))
            calls += [call for name in node.output for call in self._rounding(name)]
        read = {name for call in calls for name in call.inputs}
        self._constants = {n: c for n, c in constants.items() if n in read and n not in self._weights}
        self.calls = with_lifetimes(calls, {self._output, *self._constants, *self._weights})
        self.registered = nn.ModuleList([*self._activations.values(), *self._weights.values(), *self._layers.values()])

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

    def values(self, *images: Tensor, **named: Tensor) -> dict[str, Tensor]:
        """What the calls start from: constants, rounded weights and images."""
        weights = {name: weight() for name, weight in self._weights.items()}
        return {**self._constants, **weights, **named_tensors(self._types, images, named)}

    def forward(self, *images: Tensor, **named: Tensor) -> Tensor:
        """Images, preprocessed -> logits (n, classes)."""
        values = self.values(*images, **named)
        execute(self.calls, values)
        return values[self._output]

    def mark_pruned(self, masks: Mapping[str, npt.NDArray[np.bool_]]) -> None:
        """Note which weights a prune step took out, by initialiser and of its shape, as `models/pruned.py` keeps it."""
        for name in masks.keys() & self._weights.keys():
            mark_pruned(self._weights[name], "v", torch.from_numpy(masks[name]))

    def keep_positive(self) -> None:
        """After every update: no step size is zero or below."""
        steps: list[RoundedActivation | RoundedWeight] = [*self._activations.values(), *self._weights.values()]
        for part in steps:
            part.keep_positive()

    @torch.no_grad()
    def result(self) -> Scheme:
        """The scheme as it is now."""
        weights = self.start.weights | {name: weight.result() for name, weight in self._weights.items()}
        learned = {output: layer.bias for output, layer in self._layers.items() if layer.bias is not None}
        biases = self.start.biases | {output: to_array(bias).copy() for output, bias in learned.items()}
        scales = {name: part.result() for name, part in self._activations.items()}
        activations = {name: scales[self._root(name)] for name in self.start.activations}
        return replace(self.start, activations=activations, weights=weights, biases=biases)


def _bias_name(output: str) -> str:
    return f"{output}/bias"
