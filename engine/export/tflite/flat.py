"""The file itself: tensors and operators as TensorFlow Lite's schema (version 3) lays them out in a flatbuffer.

The schema's classes are those that come with the interpreter, `ai-edge-litert`, so that a file is never written where it cannot be checked.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.errors import SetupError

Array = npt.NDArray[Any]

_ALIGNMENT = 16
"""Of every buffer, as the schema asks (`force_align`): cores without unaligned loads read int32 biases out of flash as they lie there."""

VERSIONS = {
    "ADD": 2, "AVERAGE_POOL_2D": 2, "CONCATENATION": 2, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "LEAKY_RELU": 2,
    "LOGISTIC": 2, "MAXIMUM": 2, "MAX_POOL_2D": 2, "MEAN": 2, "MINIMUM": 2, "MUL": 2, "PAD": 2, "PADV2": 2, "QUANTIZE": 2, "RESHAPE": 1,
    "SOFTMAX": 2, "TANH": 2, "TRANSPOSE": 2,
}  # fmt: skip
"""The operators that are written, and the version of each that computes in int8 (tensorflow/lite/tools/versioning/op_version.cc)."""


@dataclass(frozen=True)
class Scale:
    """`value ≈ (code - zero) * scale` for int8 codes of a whole tensor."""

    scale: float
    zero: int

    @property
    def lowest(self) -> float:
        """The value of code -128."""
        return (-128 - self.zero) * self.scale

    @property
    def highest(self) -> float:
        """The value of code 127."""
        return (127 - self.zero) * self.scale

    def codes(self, values: Array) -> npt.NDArray[np.int8]:
        """To the nearest, halves to even, as QuantizeLinear rounds (in float32)."""
        found = np.rint(np.asarray(values, np.float32) / np.float32(self.scale)) + np.float32(self.zero)
        codes: npt.NDArray[np.int8] = np.clip(found, -128, 127).astype(np.int8)
        return codes


def schema() -> Any:
    """The schema's classes; raises SetupError where `ai-edge-litert` is not installed."""
    return _litert("schema_py_generated")


def interpreters() -> Any:
    """The module of the interpreter; raises SetupError where `ai-edge-litert` is not installed."""
    return _litert("interpreter")


def _litert(name: str) -> Any:
    try:
        return importlib.import_module(f"ai_edge_litert.{name}")
    except ImportError:
        raise SetupError(
            "--for tflite needs TensorFlow Lite's interpreter, without which no file is written unchecked; run "
            "`pip install 'paretoscope[tflite]'` (ai-edge-litert, 60 MB)"
        ) from None


@dataclass
class Flat:
    """A file while it is written: one subgraph, tensors by number, operators in the order in which they run."""

    _tensors: list[Any] = field(default_factory=list)
    _operators: list[Any] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)
    _buffers: list[bytes] = field(default_factory=lambda: [b""])
    _known: dict[Any, int] = field(default_factory=dict)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)

    def tensor(self, shape: Sequence[int], scale: Scale, name: str = "") -> int:
        """An int8 tensor that is computed, or fed."""
        return self._add(shape, "INT8", 0, name, [scale.scale], [scale.zero], 0)

    def constant(
        self, values: Array, scales: Sequence[float] = (), zero: int = 0, axis: int = 0, name: str = ""
    ) -> int:
        """A stored tensor, int8 or int32: as it is, or `scales` of it, several along `axis`; equal ones are stored once."""
        content, shape = np.ascontiguousarray(values).tobytes(), values.shape
        key = (content, shape, values.dtype.str, tuple(scales), zero, axis)
        if key not in self._known:
            if content not in self._known:
                self._known[content] = len(self._buffers)
                self._buffers.append(content)
            kind = {"int8": "INT8", "int32": "INT32"}[str(values.dtype)]
            zeros = [zero] * len(scales)
            self._known[key] = self._add(shape, kind, self._known[content], name, list(scales), zeros, axis)
        return self._known[key]

    def _add(
        self, shape: Sequence[int], kind: str, buffer: int, name: str, scales: list[float], zeros: list[int], axis: int
    ) -> int:
        s = schema()
        rounding = None
        if scales:
            rounding = s.QuantizationParametersT(
                scale=np.asarray(scales, np.float32), zeroPoint=np.asarray(zeros, np.int64), quantizedDimension=axis
            )
        number = len(self._tensors)
        self._tensors.append(
            s.TensorT(
                shape=np.asarray(shape, np.int32),
                type=getattr(s.TensorType, kind),
                buffer=buffer,
                name=name or None,
                quantization=rounding,
            )
        )
        return number

    def shape_of(self, tensor: int) -> tuple[int, ...]:
        """The shape of a tensor."""
        return tuple(int(n) for n in self._tensors[tensor].shape)

    def scale_of(self, tensor: int) -> Scale:
        """How the codes of a tensor are meant."""
        found = self._tensors[tensor].quantization
        return Scale(float(found.scale[0]), int(found.zeroPoint[0]))

    def operator(self, name: str, inputs: Sequence[int], output: int, options: str = "", **values: Any) -> int:
        """An operator by its name in the schema, with its options (a class of the schema, without `Options`); gives `output` back."""
        s = schema()
        if name not in self._names:
            self._names.append(name)
        made = s.OperatorT(
            opcodeIndex=self._names.index(name),
            inputs=np.asarray(inputs, np.int32),
            outputs=np.asarray([output], np.int32),
        )
        if options:
            made.builtinOptionsType = getattr(s.BuiltinOptions, f"{options}Options")
            made.builtinOptions = getattr(s, f"{options}OptionsT")(**values)
        self._operators.append(made)
        return output

    @property
    def operator_names(self) -> tuple[str, ...]:
        """The operators that a runtime needs, sorted."""
        return tuple(sorted(self._names))

    def content(self, description: str) -> bytes:
        """The file; the same tensors and operators give the same bytes."""
        import flatbuffers

        s = schema()

        class Builder(flatbuffers.Builder):  # type: ignore[misc]
            """Buffers aligned; equal vectors (zero points, most of all) written once and pointed to from everywhere."""

            def __init__(self) -> None:
                super().__init__(1024)
                self.written: dict[tuple[str, bytes], Any] = {}

            def CreateNumpyVector(self, x: Array) -> Any:
                key = (x.dtype.str, x.tobytes())
                if key not in self.written:
                    if x.dtype == np.uint8:
                        self.Prep(_ALIGNMENT, x.size)
                    self.written[key] = super().CreateNumpyVector(x)
                return self.written[key]

        codes = []
        for name in self._names:
            number = getattr(s.BuiltinOperator, name)
            # Readers of before version 3a look at the field of one byte.
            codes.append(
                s.OperatorCodeT(
                    builtinCode=number, deprecatedBuiltinCode=min(number, 127), version=VERSIONS[name], customCode=None
                )
            )
        buffers = [s.BufferT(data=np.frombuffer(b, np.uint8) if b else None) for b in self._buffers]
        graph = s.SubGraphT(
            tensors=self._tensors,
            inputs=np.asarray(self.inputs, np.int32),
            outputs=np.asarray(self.outputs, np.int32),
            operators=self._operators,
            name="main",
        )
        model = s.ModelT(version=3, operatorCodes=codes, subgraphs=[graph], description=description, buffers=buffers)
        builder = Builder()
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())
