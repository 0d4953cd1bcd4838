"""ONNX operators in torch, one function each, by name."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F

from engine.compress.torch_device import from_array
from engine.errors import StepError

Attributes = dict[str, Any]
Operator = Callable[..., Any]


def _ints(value: Tensor | None) -> list[int]:
    return [] if value is None else [int(v) for v in value.reshape(-1).tolist()]


def _scalar(value: Tensor | None) -> float | None:
    return None if value is None else float(value.item())


def window_pads(a: Attributes, x: Tensor, kernel: Sequence[int]) -> list[int]:
    """The padding of a convolution or pooling window as F.pad wants it, (before, after) of each axis from the last to the first.

    Of a 2-D window: left, right, top, bottom.
    """
    kind, axes = a.get("auto_pad", b"NOTSET").decode(), range(len(kernel) - 1, -1, -1)
    if kind == "VALID":
        return [0] * (2 * len(kernel))
    if kind == "NOTSET":
        stated = a.get("pads", [0] * (2 * len(kernel)))
        return [stated[i] for axis in axes for i in (axis, axis + len(kernel))]
    pads: list[int] = []
    for axis in axes:
        stride, dilation = _of_axis(a, "strides", axis), _of_axis(a, "dilations", axis)
        size = x.shape[2 + axis]
        total = max(0, (math.ceil(size / stride) - 1) * stride + dilation * (kernel[axis] - 1) + 1 - size)
        small, large = total // 2, total - total // 2
        pads += [small, large] if kind == "SAME_UPPER" else [large, small]
    return pads


def _of_axis(a: Attributes, name: str, axis: int) -> int:
    return int(a[name][axis]) if name in a else 1


def _before_each_axis(pads: Sequence[int]) -> tuple[int, ...]:
    """What torch's own layers take, which pad as much behind as before: one number an axis, from the first on."""
    return tuple(pads[::2][::-1])


def _conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    pads = window_pads(a, x, weight.shape[2:])
    own = _before_each_axis(pads)
    if pads[::2] != pads[1::2]:
        x, own = F.pad(x, pads), (0,) * len(own)
    convolve = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}[weight.ndim]
    return convolve(x, weight, bias, a.get("strides", 1), own, a.get("dilations", 1), a.get("group", 1))


def _pool_input(a: Attributes, x: Tensor, filling: float) -> tuple[Tensor, tuple[int, ...]]:
    """The image, padded where torch's own padding will not do, and the padding that is left to torch."""
    kernel = a["kernel_shape"]
    pads = window_pads(a, x, kernel)
    own = _before_each_axis(pads)
    if pads[::2] == pads[1::2] and all(2 * pad <= size for pad, size in zip(own, kernel, strict=True)):
        return x, own
    return F.pad(x, pads, value=filling), (0,) * len(own)


def _max_pool(a: Attributes, x: Tensor) -> Tensor:
    x, pads = _pool_input(a, x, -math.inf)
    pool = {3: F.max_pool1d, 4: F.max_pool2d, 5: F.max_pool3d}[x.ndim]
    ceil = bool(a.get("ceil_mode", 0))
    return pool(x, a["kernel_shape"], a.get("strides", 1), pads, a.get("dilations", 1), ceil_mode=ceil)


def _average_pool(a: Attributes, x: Tensor) -> Tensor:
    counted = bool(a.get("count_include_pad", 0))
    padded, pads = _pool_input(a, x, 0.0)
    if padded is not x and not counted:  # what was added must not count: divide by the share of real pixels
        ones = torch.ones_like(x[:1, :1])
        return _average_pool(a | {"count_include_pad": 1}, x) / _average_pool(a | {"count_include_pad": 1}, ones)
    kernel, strides = a["kernel_shape"], a.get("strides", [1] * len(a["kernel_shape"]))
    pool = {3: F.avg_pool1d, 4: F.avg_pool2d, 5: F.avg_pool3d}[x.ndim]
    return pool(padded, kernel, strides, pads, bool(a.get("ceil_mode", 0)), counted)


def _gemm(a: Attributes, x: Tensor, y: Tensor, bias: Tensor | None = None) -> Tensor:
    x = x.t() if a.get("transA") else x
    y = y.t() if a.get("transB") else y
    if bias is None:
        return torch.mm(x, y) * float(a.get("alpha", 1.0))
    return torch.addmm(bias, x, y, alpha=a.get("alpha", 1.0), beta=a.get("beta", 1.0))


def _div(a: Attributes, x: Tensor, y: Tensor) -> Tensor:
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def _clip(a: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return x if low is None and high is None else torch.clamp(x, _scalar(low), _scalar(high))


def _hard_sigmoid(a: Attributes, x: Tensor) -> Tensor:
    return torch.clamp(x * a.get("alpha", 0.2) + a.get("beta", 0.5), 0, 1)


def _layer_norm(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    shape = x.shape[a.get("axis", -1) :]
    return F.layer_norm(
        x, shape, scale.expand(shape), None if bias is None else bias.expand(shape), a.get("epsilon", 1e-5)
    )


def _batch_norm(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return F.batch_norm(x, mean, variance, scale, bias, eps=a.get("epsilon", 1e-5))


def _length(x: Tensor, axes: Any, **keep: bool) -> Tensor:
    """The Euclidean length along axes, which torch's own function takes third."""
    length: Tensor = torch.linalg.vector_norm(x, dim=axes, **keep)
    return length


def _reduce(function: Operator, a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    if axes is None and a.get("noop_with_empty_axes"):
        return x
    dims = _ints(axes) or list(range(x.ndim))
    result: Tensor = function(x, dims, keepdim=bool(a.get("keepdims", 1)))
    return result


def _flatten(a: Attributes, x: Tensor) -> Tensor:
    axis = a.get("axis", 1) % (x.ndim + 1)
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _reshape(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    sizes = _ints(shape)
    if not a.get("allowzero"):
        sizes = [x.shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return x.reshape(sizes)


def _transpose(a: Attributes, x: Tensor) -> Tensor:
    return x.permute(a.get("perm", list(range(x.ndim))[::-1]))


def _squeeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(tuple(_ints(axes)))


def _unsqueeze(a: Attributes, x: Tensor, axes: Tensor) -> Tensor:
    rank = x.ndim + axes.numel()
    for axis in sorted(v % rank for v in _ints(axes)):
        x = x.unsqueeze(axis)
    return x


def _gather(a: Attributes, x: Tensor, index: Tensor) -> Tensor:
    axis = a.get("axis", 0) % x.ndim
    found = x.index_select(axis, index.reshape(-1) % x.shape[axis])
    return found.reshape([*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]])


def _slice(
    a: Attributes, x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
    first = _ints(starts)
    for start, end, axis, step in zip(
        first, _ints(ends), _ints(axes) or range(len(first)), _ints(steps) or [1] * len(first), strict=True
    ):
        # A negative step may end before the first element, which Python writes as None.
        stop = None if step < 0 and end < -x.shape[axis] else end
        chosen = range(*slice(start, stop, step).indices(x.shape[axis]))
        if step > 0:
            index = [slice(None)] * x.ndim
            index[axis] = slice(chosen.start, chosen.stop, step)
            x = x[tuple(index)]
        else:
            x = x.index_select(axis, torch.tensor(list(chosen), dtype=torch.int64))
    return x


def _split(a: Attributes, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = a.get("axis", 0)
    parts = _ints(sizes) or -(-x.shape[axis] // a["num_outputs"])
    return torch.split(x, parts, axis)


def _expand(a: Attributes, x: Tensor, shape: Tensor) -> Tensor:
    sizes = _ints(shape)
    rank = max(x.ndim, len(sizes))
    have, wanted = [1] * (rank - x.ndim) + list(x.shape), [1] * (rank - len(sizes)) + sizes
    return x.expand([n if m == 1 else m for m, n in zip(have, wanted, strict=True)])


_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def _pad(a: Attributes, x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
    amounts, chosen = _ints(pads), _ints(axes) or list(range(x.ndim))
    sides = [(0, 0)] * x.ndim
    for i, axis in enumerate(chosen):
        sides[axis] = (amounts[i], amounts[i + len(chosen)])
    mode = _PAD_MODES[a.get("mode", b"constant").decode()]
    last = next((i for i, side in enumerate(sides) if side != (0, 0)), x.ndim - 1)
    flat = [amount for side in reversed(sides[last:]) for amount in side]
    return F.pad(x, flat, mode, _scalar(value) or 0.0) if mode == "constant" else F.pad(x, flat, mode)


def _shape(a: Attributes, x: Tensor) -> Tensor:
    return torch.tensor(list(x.shape)[slice(a.get("start", 0), a.get("end"))], dtype=torch.int64)


def _filled(a: Attributes, shape: Tensor) -> Tensor:
    value = a.get("value", np.zeros(1, np.float32))
    return from_array(value.copy()).reshape(()).expand(_ints(shape)).clone()


def _cast(a: Attributes, x: Tensor) -> Tensor:
    kind = np.zeros(0, helper.tensor_dtype_to_np_dtype(a["to"]))
    return x.to(torch.from_numpy(kind).dtype)


def _scatter_nd(a: Attributes, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    return x.clone().index_put(tuple(indices.unbind(-1)), updates)


def _gelu(a: Attributes, x: Tensor) -> Tensor:
    return F.gelu(x, approximate=a.get("approximate", b"none").decode())


def _prelu(a: Attributes, x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x >= 0, x, x * slope)


def _range(a: Attributes, start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
    return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)


def _plain(function: Operator) -> Operator:
    """An operator without attributes."""
    return lambda a, *inputs: function(*inputs)


def _folded(function: Operator) -> Operator:
    """An operator of any number of inputs."""
    return lambda a, *inputs: functools.reduce(function, inputs)


_PLAIN: dict[str, Operator] = {
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Pow": torch.pow, "Sqrt": torch.sqrt, "Exp": torch.exp,
    "Log": torch.log, "Abs": torch.abs, "Neg": torch.neg, "Erf": torch.erf, "Tanh": torch.tanh, "Floor": torch.floor,
    "Reciprocal": torch.reciprocal, "Sigmoid": torch.sigmoid, "Relu": torch.relu, "HardSwish": F.hardswish,
    "Softplus": F.softplus, "Mish": F.mish, "MatMul": torch.matmul, "Where": torch.where, "Equal": torch.eq,
    "Greater": torch.gt, "Less": torch.lt, "Not": torch.logical_not, "And": torch.logical_and, "Mod": torch.remainder,
}  # fmt: skip
OPERATORS: dict[str, Operator] = {
    **{name: _plain(function) for name, function in _PLAIN.items()},
    "Max": _folded(torch.maximum), "Min": _folded(torch.minimum), "Sum": _folded(torch.add),
    "Div": _div, "Clip": _clip, "HardSigmoid": _hard_sigmoid, "PRelu": _prelu, "Gelu": _gelu,
    "LeakyRelu": lambda a, x: F.leaky_relu(x, a.get("alpha", 0.01)),
    "Elu": lambda a, x: F.elu(x, a.get("alpha", 1.0)),
    "Softmax": lambda a, x: torch.softmax(x, a.get("axis", -1)),
    "Conv": _conv, "Gemm": _gemm, "Einsum": lambda a, *x: torch.einsum(a["equation"].decode(), *x),
    "LayerNormalization": _layer_norm, "BatchNormalization": _batch_norm,
    "MaxPool": _max_pool, "AveragePool": _average_pool,
    "GlobalAveragePool": lambda a, x: x.mean(tuple(range(2, x.ndim)), keepdim=True),
    "GlobalMaxPool": lambda a, x: x.amax(tuple(range(2, x.ndim)), keepdim=True),
    "ReduceMean": functools.partial(_reduce, torch.mean), "ReduceSum": functools.partial(_reduce, torch.sum),
    "ReduceMax": functools.partial(_reduce, torch.amax),
    "ReduceL2": functools.partial(_reduce, _length),
    "Concat": lambda a, *x: torch.cat(x, a["axis"]), "Split": _split, "Slice": _slice, "Gather": _gather,
    "Flatten": _flatten, "Reshape": _reshape, "Transpose": _transpose, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze,
    "Expand": _expand, "Pad": _pad, "Shape": _shape, "ConstantOfShape": _filled, "Range": _range, "Cast": _cast,
    "ScatterND": _scatter_nd, "Identity": lambda a, x: x, "Dropout": lambda a, x, *_: x,
}  # fmt: skip


def attributes(node: onnx.NodeProto) -> Attributes:
    """A node's attributes as Python values, tensors as arrays."""
    values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return {k: numpy_helper.to_array(v) if isinstance(v, onnx.TensorProto) else v for k, v in values.items()}


def is_known(node: onnx.NodeProto) -> bool:
    """Whether a node's operator is in the table."""
    return node.domain in ("", "ai.onnx") and node.op_type in OPERATORS


def operator(node: onnx.NodeProto) -> Operator:
    """A node's computation, (*inputs) -> tensor or tuple. Raises StepError for operators that are not in the table."""
    if not is_known(node):
        name = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        raise StepError(f"operator {name} (node {node.name or node.output[0]!r}) cannot be trained; use method ptq")
    known = attributes(node)
    return functools.partial(OPERATORS[node.op_type], known)
