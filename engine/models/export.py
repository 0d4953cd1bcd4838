"""torch network -> ONNX graph: the one export that every recipe passes through."""

from __future__ import annotations

import contextlib
import io
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import onnx
import torch
from torch import nn

from engine.errors import ModelError
from engine.graph.graph import check_interface, first_line
from engine.graph.inputs import Shape
from engine.graph.pads import join_pads
from engine.graph.shape_arithmetic import settle_shapes
from engine.graph.tidy import fold_constants, tidy
from engine.models.shapes import inputs_text, noun
from engine.models.torch_inputs import blank_tensors, call

OPSET = 21
"""Has 4-bit types, `BitwiseAnd` on bytes and block-free `DequantizeLinear`: all that the packed formats need."""

# The exporter keeps its state in globals, and a worker's threads may all want to export at once.
_ONE_AT_A_TIME = threading.Lock()


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention and encoder layers without a gradient run as one fused operator, which ONNX does not have; for the export they do not."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class _ByName(nn.Module):
    """A network that takes its inputs by name, as one that takes them in order, as a trace does."""

    def __init__(self, network: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.network, self.names = network, names

    def forward(self, *tensors: torch.Tensor) -> Any:
        return self.network(**dict(zip(self.names, tensors, strict=True)))


def export_onnx(network: nn.Module, input_shape: Shape, batch: int | None = None) -> onnx.ModelProto:
    """A network that maps (n, *input_shape) float32, or what a signature says, to (n, classes) logits, or values (n, …), -> its ONNX graph.

    The graph has one input `input`, or several with their own names, and one output, `logits` of two axes or `output` of any other, with a
    free batch axis `N`, or one of `batch`; batch norms are folded into the convolutions before them, tied weights are stored once, and the
    same network always gives the same bytes. The network is left as it was. Raises ModelError for a network that cannot be traced, does not
    take such inputs, or returns anything but one tensor of n rows.
    """
    was_training = network.training
    parameter = next(network.parameters(), torch.zeros(0))
    n = batch or 2
    blank = blank_tensors(input_shape, n, parameter.device)
    several = isinstance(blank, dict)
    tensors, names = ([*blank.values()], [*blank]) if isinstance(blank, dict) else ([blank], ["input"])
    buffer = io.BytesIO()
    try:
        network.eval()
        with torch.no_grad():
            logits = call(network, blank)
        if not isinstance(logits, torch.Tensor) or logits.ndim < 1 or len(logits) != n:
            found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise ModelError(
                f"the network returns {found} for {n} {noun(input_shape, n)}; it must return one tensor ({n}, …)"
            )
        output = "logits" if logits.ndim == 2 else "output"
        with _ONE_AT_A_TIME, _plain_attention(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own: deprecation, traced shapes
            torch.onnx.export(
                _ByName(network, names).eval() if several else network,
                tuple(tensor if batch else tensor[:1] for tensor in tensors),
                buffer,  # type: ignore[arg-type]  # it takes any binary stream
                # The TorchScript exporter: 0.5 s where the newer one takes 5 to 17 s on the same networks (design.md).
                dynamo=False,
                opset_version=OPSET,
                training=torch.onnx.TrainingMode.EVAL,
                input_names=names,
                output_names=[output],
                dynamic_axes=None if batch else {name: {0: "N"} for name in (*names, output)},
            )
    except ModelError:
        raise
    except Exception as error:  # whatever a user's forward() or the tracer raises
        raise ModelError(
            f"the network cannot be exported for {inputs_text(input_shape)}: {first_line(error)}"
        ) from None
    finally:
        network.train(was_training)
    model = onnx.load_model_from_string(buffer.getvalue())
    model.producer_name, model.producer_version = "paretoscope", ""
    model.graph.name = "network"
    settle_shapes(model)
    if any(node.op_type == "Pad" for node in model.graph.node):
        fold_constants(model)
        join_pads(model.graph)
    tidy(model)
    check_interface(model, "the exported network")
    return model
