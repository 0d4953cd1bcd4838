"""What a network is fed: one array, or several by name; and what it takes, as far as one float32 array does not say it.

Never imports torch, and onnx only where a graph is at hand: the process that times loads no more than it needs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from engine.errors import ModelError, StepError
from engine.graph.on_disk import OnDisk
from engine.graph.states import State, states_of, states_of_session

if TYPE_CHECKING:
    import onnx
    from typing_extensions import TypeIs

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class NamedArrays:
    """Several arrays by the names of the inputs that they are for; the first axis of each, (n, …), counts samples.

    Those of a split may be on disk; indexing gives them in memory. Raises ValueError for none, and for lengths that differ.
    """

    arrays: Mapping[str, Array | OnDisk]

    def __post_init__(self) -> None:
        if len({len(array) for array in self.arrays.values()}) != 1:
            raise ValueError("arrays of one length are needed")

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, chosen: slice | npt.NDArray[np.intp] | list[int]) -> NamedArrays:
        """Some samples of each array."""
        return NamedArrays({name: array[chosen] for name, array in self.arrays.items()})

    def __iter__(self) -> Iterator[NamedArrays]:
        """Each sample, as a batch of one."""
        return (self[i : i + 1] for i in range(len(self)))

    @property
    def nbytes(self) -> int:
        """Of all arrays."""
        return sum(array.nbytes for array in self.arrays.values())

    def tobytes(self) -> bytes:
        """The numbers of all arrays, one after the other."""
        return b"".join(np.asarray(array).tobytes() for array in self.arrays.values())


Inputs = Array | NamedArrays
"""(n, …), or several of these by name: what a network is fed."""

Held = Inputs | OnDisk
"""The same as a split holds them, which may be on disk until they are asked for."""


def is_array(inputs: Held) -> TypeIs[Array | OnDisk]:
    """Whether it is one array, wherever that is."""
    return isinstance(inputs, np.ndarray | OnDisk)


def part_of(inputs: Held, chosen: slice | npt.NDArray[np.intp]) -> Held:
    """Some samples, in this order; what is on disk stays there."""
    if isinstance(inputs, NamedArrays):
        return NamedArrays(
            {n: a.part(chosen) if isinstance(a, OnDisk) else a[chosen] for n, a in inputs.arrays.items()}
        )
    return inputs.part(chosen) if isinstance(inputs, OnDisk) else inputs[chosen]


def in_memory(inputs: Held) -> Inputs:
    """All samples, read if they are on disk."""
    if isinstance(inputs, NamedArrays):
        return inputs if not any(isinstance(a, OnDisk) for a in inputs.arrays.values()) else inputs[:]
    return inputs[:] if isinstance(inputs, OnDisk) else inputs


def is_on_disk(inputs: Held) -> bool:
    """Whether any of it is."""
    arrays = inputs.arrays.values() if isinstance(inputs, NamedArrays) else (inputs,)
    return any(isinstance(array, OnDisk) for array in arrays)


def joined(parts: Sequence[Held]) -> Inputs:
    """The samples of all parts, which hold the same arrays, one after the other, in memory."""
    first = parts[0]
    if is_array(first):
        return np.concatenate([part[:] for part in parts if is_array(part)])
    others = [part.arrays for part in parts if isinstance(part, NamedArrays)]
    return NamedArrays({name: np.concatenate([arrays[name][:] for arrays in others]) for name in others[0]})


def padded(inputs: Inputs, size: int) -> Inputs:
    """So many samples, the last of them repeated."""
    n = len(inputs)
    return inputs if n >= size else inputs[np.minimum(np.arange(size), n - 1)]


def resized(inputs: Inputs, size: int) -> Inputs:
    """So many samples, beginning again where there are fewer."""
    return inputs[:size] if len(inputs) >= size else inputs[np.arange(size) % len(inputs)]


@dataclass(frozen=True)
class Signature:
    """Inputs that are not one array of float32: (name, axes of one sample, number type) of each. A single one has no name."""

    tensors: tuple[tuple[str, tuple[int, ...], str], ...]

    def __post_init__(self) -> None:
        # As JSON gives them back.
        object.__setattr__(self, "tensors", tuple((name, tuple(axes), kind) for name, axes, kind in self.tensors))


Shape = tuple[int, ...] | Signature
"""The axes of one sample of float32, or what else a network takes."""


def shape_of(inputs: Inputs) -> Shape:
    """What a network takes that is fed these."""
    if is_array(inputs):
        axes = inputs.shape[1:]
        return axes if inputs.dtype.kind == "f" else Signature((("", axes, str(inputs.dtype)),))
    return Signature(tuple((name, array.shape[1:], str(array.dtype)) for name, array in inputs.arrays.items()))


def blank(shape: Shape, n: int) -> Inputs:
    """Zeros, which every network takes: of numbers of tokens the first."""
    if not isinstance(shape, Signature):
        return np.zeros((n, *shape), np.float32)
    arrays = {name: np.zeros((n, *axes), kind) for name, axes, kind in shape.tensors}
    return arrays[""] if list(arrays) == [""] else NamedArrays(arrays)


def drawn(shape: Shape, n: int, rng: np.random.Generator) -> Inputs:
    """Noise where a network takes floats; zeros and ones where it takes anything else, which any table of tokens has."""
    if not isinstance(shape, Signature):
        return rng.standard_normal((n, *shape), np.float32)
    arrays: dict[str, Array] = {}
    for name, axes, kind in shape.tensors:
        floats = np.dtype(kind).kind == "f"
        numbers = rng.standard_normal((n, *axes)) if floats else rng.integers(0, 2, (n, *axes))
        arrays[name] = numbers.astype(kind)
    return arrays[""] if list(arrays) == [""] else NamedArrays(arrays)


def save_inputs(inputs: Inputs, path: Path) -> None:
    """Write an .npz that `load_inputs` reads."""
    arrays = {"": inputs} if is_array(inputs) else inputs.arrays
    with path.open("wb") as file:
        # Names are the network's, and may be anything.
        np.savez(file, allow_pickle=False, **{f"input/{name}": array for name, array in arrays.items()})


def load_inputs(path: Path) -> Inputs:
    """The inverse of `save_inputs`."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name.removeprefix("input/"): file[name] for name in file.files}
    return arrays[""] if list(arrays) == [""] else NamedArrays(arrays)


def as_type(array: Array, kind: np.dtype[Any], where: str) -> Array:
    """The same numbers in another type; raises ModelError where they would be others. Floats may lose digits to shorter floats."""
    if array.dtype == kind:
        return array
    with np.errstate(all="ignore"):
        found = array.astype(kind)
    if array.dtype.kind == "f" and kind.kind == "f":
        same = bool((np.isfinite(found) | ~np.isfinite(array)).all())
    else:
        same = np.array_equal(found, array)
    if not same:
        raise ModelError(
            f"{where} takes {kind}, but the data's numbers are {array.dtype} and not all of them are such; save them as {kind}"
            + (", or write data.preprocess: none" if array.dtype == np.float32 and kind.kind in "iub" else "")
        )
    return found


@dataclass(frozen=True)
class Taken:
    """One input of a graph: its name, number type, and all its axes, 0 where they are free."""

    name: str
    kind: np.dtype[Any]
    axes: tuple[int, ...]


class Feeds:
    """Turns inputs into what a graph, or a session of it, is run on: each array by its name, in the graph's own number type.

    States are zeros unless they are among the inputs; there, as everywhere outside of the graph, their first axis counts samples. `taken`
    leaves them out.
    """

    def __init__(self, taken: Sequence[Taken], states: Sequence[State] = ()) -> None:
        axes = {state.input: state.axis for state in states}
        self.taken = tuple(t for t in taken if t.name not in axes)
        self.states = tuple((t, axes[t.name]) for t in taken if t.name in axes)

    @classmethod
    def of_graph(cls, model: onnx.ModelProto) -> Feeds:
        """Those of a graph; what it holds as weights, nobody feeds."""
        weights = {t.name for t in model.graph.initializer}
        return cls([_taken(i) for i in model.graph.input if i.name not in weights], states_of(model))

    @classmethod
    def of_session(cls, session: Any) -> Feeds:
        """Those of an ONNX Runtime session."""
        return cls(
            [
                Taken(i.name, _session_type(i.type), tuple(d if isinstance(d, int) and d > 0 else 0 for d in i.shape))
                for i in session.get_inputs()
            ],
            states_of_session(session),
        )

    @property
    def batch(self) -> int | None:
        """Samples per run where the graph fixes that."""
        return next((t.axes[0] for t in self.taken if t.axes and t.axes[0]), None)

    @property
    def shape(self) -> Shape:
        """What the graph takes; free axes are 0."""
        if len(self.taken) == 1:
            only = self.taken[0]
            return only.axes[1:] if only.kind.kind == "f" else Signature((("", only.axes[1:], str(only.kind)),))
        return Signature(tuple((t.name, t.axes[1:], str(t.kind)) for t in self.taken))

    def blank(self) -> dict[str, Array]:
        """Zeros for one sample, or for as many as the graph fixes."""
        return self.zeros(self.batch or 1)

    def zeros(self, n: int) -> dict[str, Array]:
        """Zeros for so many samples."""
        return {t.name: np.zeros((n, *t.axes[1:]), t.kind) for t in self.taken} | self._remembered({}, n)

    def _remembered(self, given: Mapping[str, Array], n: int) -> dict[str, Array]:
        """The states of n samples, as the graph takes them."""
        found = {}
        for taken, axis in self.states:
            if axis is not None and taken.name in given:
                held = np.ascontiguousarray(np.moveaxis(given[taken.name], 0, axis))
                found[taken.name] = as_type(held, taken.kind, f"state {taken.name!r}")
            else:
                sizes = [n if i == axis else size for i, size in enumerate(taken.axes)]
                found[taken.name] = np.zeros(sizes, taken.kind)
        return found

    def __call__(self, inputs: Inputs) -> dict[str, Array]:
        """The arrays that a run is given. Raises StepError for inputs that are not there, ModelError for numbers that are of no such
        type.
        """
        if is_array(inputs):
            if len(self.taken) != 1:
                raise StepError(f"it takes {self.names}, but is given one array; name arrays under data.inputs")
            only = self.taken[0]
            fed = as_type(inputs, only.kind, f"input {only.name!r}")
            return {only.name: fed} | self._remembered({}, len(inputs))
        found = {}
        for taken in self.taken:
            if taken.name not in inputs.arrays:
                raise StepError(f"it takes {taken.name!r}, which is not among {', '.join(inputs.arrays)}")
            array = np.ascontiguousarray(inputs.arrays[taken.name])
            found[taken.name] = as_type(array, taken.kind, f"input {taken.name!r}")
        return found | self._remembered({n: np.asarray(a[:]) for n, a in inputs.arrays.items()}, len(inputs))

    @property
    def names(self) -> str:
        """The inputs' names, for messages."""
        return ", ".join(t.name for t in self.taken) or "nothing"


def _taken(value: onnx.ValueInfoProto) -> Taken:
    tensor = value.type.tensor_type
    return Taken(value.name, element_type(tensor.elem_type, value.name), tuple(d.dim_value for d in tensor.shape.dim))


def element_type(number: int, name: str) -> np.dtype[Any]:
    """numpy's type of an ONNX element type; raises ModelError where it has none that a caller could feed."""
    import onnx

    try:
        found = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(number))
    except (KeyError, TypeError):
        found = np.dtype(object)
    if found.kind not in "iufb" or found.itemsize * 8 < 8:
        kind = onnx.TensorProto.DataType.Name(number).lower()
        raise ModelError(f"input {name!r} is {kind}, which nothing here can feed; export it with numbers")
    return found


_SESSION_TYPES = {"float": "float32", "double": "float64"}


def _session_type(said: str) -> np.dtype[Any]:
    name = said.removeprefix("tensor(").removesuffix(")")
    try:
        return np.dtype(_SESSION_TYPES.get(name, name))
    except TypeError:
        return np.dtype(object)
