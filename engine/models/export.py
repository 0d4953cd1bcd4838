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
from engine.graph.states import State, set_states
from engine.graph.tidy import fold_constants, tidy
from engine.models.remembering import opened, remembering
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
    """A network that takes its inputs by name, those of `first` apart, as one that takes them in order, as a trace does."""

    def __init__(self, network: nn.Module, names: list[str], first: int = 0) -> None:
        super().__init__()
        self.network, self.names, self.first = network, names, first

    def forward(self, *tensors: torch.Tensor) -> Any:
        return self.network(*tensors[: self.first], **dict(zip(self.names, tensors[self.first :], strict=True)))


def export_onnx(
    network: nn.Module, input_shape: Shape, batch: int | None = None, name: str | None = None
) -> onnx.ModelProto:
    """A network that maps (n, *input_shape) float32, or what a signature says, to (n, classes) logits, or values (n, …), -> its ONNX graph.

    The graph has one input, `name` or `input`, or several with their own names, and one output, `logits` of two axes or `output` of any
    other, with a free batch axis `N`, or one of `batch`; of a network of several outputs, or with states, all of them by their names
    (`remembering.py`). Batch norms are folded into the convolutions before them, tied weights are stored once, and the same network always
    gives the same bytes. The network is left as it was. Raises ModelError for a network that cannot be traced, does not take such inputs,
    or returns anything but tensors of n rows.
    """
    was_training = network.training
    parameter = next(network.parameters(), torch.zeros(0))
    n = batch or 2
    blank = blank_tensors(input_shape, n, parameter.device)
    several = isinstance(blank, dict)
    tensors, names = ([*blank.values()], [*blank]) if isinstance(blank, dict) else ([blank], [name or "input"])
    buffer, hooks, states = io.BytesIO(), remembering(network), list[State]()
    try:
        network.eval()
        with torch.no_grad():
            logits = call(network, blank)
        if not isinstance(logits, torch.Tensor) or logits.ndim < 1 or len(logits) != n:
            found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
            raise ModelError(
                f"the network returns {found} for {n} {noun(input_shape, n)}; it must return one tensor ({n}, …)"
            )
        given = ["logits" if logits.ndim == 2 else "output"]
        axes = {one: {0: "N"} for one in names}
        traced: list[torch.Tensor] = [tensor if batch else tensor[:1] for tensor in tensors]
        if hooks is not None:
            given = hooks.names(given[0])
            for state, zeros in hooks.states(network, input_shape):
                states.append(state)
                traced.append(zeros if batch else zeros.narrow(state.axis or 0, 0, 1))
                axes |= {state.input: {state.axis or 0: "N"}, state.output: {state.axis or 0: "N"}}
        axes |= {one: {0: "N"} for one in given}
        taken = names if several else []
        module = _ByName(network, [*taken, *(s.input for s in states)], 0 if several else 1).eval()
        with opened(network), _ONE_AT_A_TIME, _plain_attention(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter's own: deprecation, traced shapes
            torch.onnx.export(
                module if several or states else network,
                tuple(traced),
                buffer,  # type: ignore[arg-type]  # it takes any binary stream
                # The TorchScript exporter: 0.5 s where the newer one takes 5 to 17 s on the same networks (design.md).
                dynamo=False,
                opset_version=OPSET,
                training=torch.onnx.TrainingMode.EVAL,
                input_names=[*names, *(s.input for s in states)],
                output_names=[*given, *(s.output for s in states)],
                dynamic_axes=None if batch else axes,
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
    set_states(model, states)
    if lost := {s.input for s in states} - {i.name for i in model.graph.input}:
        raise ModelError(f"the network does not read its state {min(lost)!r}; leave it out of model.state")
    settle_shapes(model)
    if any(node.op_type == "Pad" for node in model.graph.node):
        fold_constants(model)
        join_pads(model.graph)
    tidy(model)
    check_interface(model, "the exported network", outputs_count=len(given))
    return model
