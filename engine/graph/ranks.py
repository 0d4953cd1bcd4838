"""How many axes a graph's tensors have, as ONNX Runtime infers it: ONNX itself knows nothing of the runtime's operators."""

from __future__ import annotations

from functools import cached_property

import onnx

from engine.errors import ModelError
from engine.graph.graph import open_session, with_outputs


class Ranks:
    """Of one graph; nothing is looked up before it is asked for."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model

    def of(self, name: str) -> int | None:
        """The number of a tensor's axes, None where nobody knows."""
        return self._found.get(name)

    def width(self, stored: str) -> int:
        """The last axis of an initialiser."""
        return int(next(t.dims[-1] for t in self._model.graph.initializer if t.name == stored))

    def sums_up_rows(self, name: str) -> bool:
        """Whether a tensor is the sum of the rows of a matrix, as the lengths are that the runtime's optimizer makes of a mask."""
        makers = {output: node for node in self._model.graph.node for output in node.output}
        node = makers.get(name)
        while node is not None and node.op_type == "Cast":
            node = makers.get(node.input[0])
        return node is not None and node.op_type == "ReduceSum" and self.of(node.input[0]) == 2

    @cached_property
    def _found(self) -> dict[str, int]:
        names = list(dict.fromkeys(name for node in self._model.graph.node for name in node.output if name))
        try:
            session = open_session(with_outputs(self._model, names))
        except ModelError:
            return {}
        return {t.name: len(t.shape) for t in (*session.get_inputs(), *session.get_outputs()) if t.shape}
