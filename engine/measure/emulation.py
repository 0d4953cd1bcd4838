"""A whole file as it answers where integer sums saturate, or where they do not, whatever this CPU does.

ONNX Runtime's own optimizer says which kernels run (which layers are fused to integer ones is its decision, not ours), and its own
kernels run everything, with exact sums: on a CPU that saturates with uint8 weights, whose kernels are exact everywhere. Behind each layer
that could saturate the outputs that do are put right (`engine/measure/integer_nodes.py`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from engine.graph.graph import Array, fixed_batch, graph_inputs, open_session
from engine.graph.inputs import Feeds, Inputs, padded
from engine.graph.multiplying import rounds_as_it_runs
from engine.graph.outputs import side_by_side
from engine.graph.states import counted, set_states, states_of
from engine.measure.integer_nodes import PLACES, IntegerLayer, multiplies_uint8_by_int8, name_of, places
from engine.measure.saturation import LayerSaturation

IMAGES_AT_ONCE = 100
"""As many as accuracy is counted on at once; of a file that rounds on the spot to what it finds in a batch it is one."""
_EXTENDED = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED


@lru_cache(maxsize=1)
def runtime_sums() -> Literal["exact", "saturating"]:
    """How ONNX Runtime adds uint8 × int8 products on this CPU: tried, since an emulated CPU's flags are those of its host."""
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["codes", "weights"], ["sums"])],
        "probe",
        [helper.make_tensor_value_info("codes", TensorProto.UINT8, [1, 2])],
        [helper.make_tensor_value_info("sums", TensorProto.INT32, [1, 1])],
        [numpy_helper.from_array(np.full((2, 1), 127, np.int8), "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    sums = open_session(model).run(None, {"codes": np.full((1, 2), 255, np.uint8)})[0]
    return "exact" if int(sums[0, 0]) == 2 * 255 * 127 else "saturating"


class Emulator:
    """An int8 file on CPUs of either kind.

    Raises StepError for a file with integer layers that cannot be emulated, ModelError for one that the runtime refuses.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._file, self._model = model, _as_run(model)
        self._batch, self._alone = fixed_batch(model), rounds_as_it_runs(model)
        self._feeds = Feeds.of_graph(self._model)
        self._outputs = counted(self._model)
        constants = _Constants(self._model)
        self._layers: dict[str, IntegerLayer] = {}
        for node in self._model.graph.node:
            if multiplies_uint8_by_int8(node, constants):
                layer = IntegerLayer(node, constants)
                if layer.possible:
                    self._layers[node.output[0]] = layer
        self._constants = constants
        self._stages: list[_Stage] = []

    @property
    def possible(self) -> bool:
        """Whether any image could make a sum saturate."""
        return bool(self._layers)

    def layers(self) -> tuple[LayerSaturation, ...]:
        """Every layer that multiplies integers, in order, with what saturated of it since `forget`."""
        nodes = [n for n in self._model.graph.node if n.op_type in PLACES or n.op_type == "ConvInteger"]
        never = {n.output[0]: LayerSaturation(name_of(n), False, 0.0, 0.0) for n in nodes}
        return tuple((never | {o: layer.summary() for o, layer in self._layers.items()}).values())

    def forget(self) -> None:
        """Start counting anew."""
        for layer in self._layers.values():
            layer.forget()

    def exact(self, images: Inputs) -> Array:
        """The output (n, …), several side by side, for preprocessed images where sums are exact: as run here, or with kernels that are
        exact everywhere.
        """
        if runtime_sums() == "exact" or not self.possible:
            return self._as_run(self._file, images)
        return self._as_run(self._exact_everywhere(), images)

    def _exact_everywhere(self) -> onnx.ModelProto:
        return _with_uint8_weights(self._model, self._layers)

    def saturating(self, images: Inputs) -> Array:
        """The same where sums saturate: as run here, or emulated."""
        if runtime_sums() == "saturating" or not self.possible:
            return self._as_run(self._file, images)
        return self._together([*self.emulated(images).values()])

    def emulated(self, images: Inputs) -> dict[str, Array]:
        """Every output, by name, with saturating sums, emulated whatever this CPU does; counts what saturated."""
        if not self._stages:
            exact = self._model if runtime_sums() == "exact" else self._exact_everywhere()
            self._stages = _in_stages(exact, self._layers, self._outputs)
        return dict(zip(self._outputs, self._batched(self._staged, images), strict=True))

    def _as_run(self, model: onnx.ModelProto, images: Inputs) -> Array:
        session, feeds = open_session(model), Feeds.of_graph(model)
        return self._together(self._batched(lambda part: session.run(self._outputs, feeds(part)), images))

    def _together(self, found: list[Array]) -> Array:
        return found[0] if len(found) == 1 else side_by_side(found, self._outputs)

    def _batched(self, run: Callable[[Inputs], list[Array]], images: Inputs) -> list[Array]:
        batch = self._batch or (1 if self._alone else IMAGES_AT_ONCE)
        outputs = []
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            n = len(part)
            part = padded(part, self._batch or n)
            outputs.append([found[:n] for found in run(part)])
        return [np.concatenate(found) for found in zip(*outputs, strict=True)]

    def _staged(self, images: Inputs) -> list[Array]:
        values: dict[str, Array] = {n: np.ascontiguousarray(array) for n, array in self._feeds(images).items()}
        for stage in self._stages:
            values |= stage.run(values)
            if (layer := stage.layer) is not None:
                named = {place: values[n] if n in values else self._constants[n] for place, n in layer.places.items()}
                values[layer.node.output[0]] = layer(named, values[layer.node.output[0]])
            values = {name: value for name, value in values.items() if name in stage.later}
        return [values[name] for name in self._outputs]


def _as_run(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with the runtime's fused integer kernels, before it chooses layouts, which change no number."""
    with tempfile.TemporaryDirectory(prefix="paretoscope-") as folder:
        path = Path(folder) / "optimised.onnx"
        open_session(model, _EXTENDED, save=path)
        found = onnx.load(path)
    set_states(found, states_of(model))
    return found


class _Constants(Mapping[str, Array]):
    """A graph's initialisers as arrays, decoded when they are read."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._tensors = {t.name: t for t in model.graph.initializer}
        self._arrays: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self._arrays:
            self._arrays[name] = numpy_helper.to_array(self._tensors[name])
        return self._arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __iter__(self) -> Any:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)


def _with_uint8_weights(model: onnx.ModelProto, layers: Mapping[str, IntegerLayer]) -> onnx.ModelProto:
    """The same integers with weights moved up by 128, zero points with them: uint8 × uint8 is exact on every CPU."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    constants, made = _Constants(model), set[str]()

    def moved(name: str) -> str:
        above = f"{name}/uint8"
        if above not in made:
            made.add(above)
            codes = (constants[name].astype(np.int16) + 128).astype(np.uint8)
            changed.graph.initializer.append(numpy_helper.from_array(codes, above))
        return above

    for node in changed.graph.node:
        if node.output[0] not in layers:
            continue
        order, named = PLACES[node.op_type], places(node)
        node.input.extend([""] * (len(order) - len(node.input)))
        node.input[order.index("w")] = moved(named["w"])
        at = order.index("w_zero")
        if "w_zero" in named:
            node.input[at] = moved(named["w_zero"])
        else:
            node.input[at] = "zero/uint8"
            if "zero/uint8" not in made:
                made.add("zero/uint8")
                changed.graph.initializer.append(numpy_helper.from_array(np.array(128, np.uint8), "zero/uint8"))
        while not node.input[-1]:
            del node.input[-1]
    return changed


class _Stage:
    """Nodes that ONNX Runtime runs, with exact sums, the last of them `layer` where one that could saturate ends them.

    `later`: the values that stages behind it read, or the caller.
    """

    def __init__(self, model: onnx.ModelProto, layer: IntegerLayer | None, later: set[str]) -> None:
        self.layer, self.later = layer, later
        self._inputs = [i.name for i in model.graph.input]
        self._session = open_session(model)
        self.types = {o.name: o.type for o in self._session.get_outputs()}

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """What the layer reads and gives, and what is read later."""
        found = self._session.run(None, {name: values[name] for name in self._inputs})
        return dict(zip(self.types, found, strict=True))


def _in_stages(model: onnx.ModelProto, layers: Mapping[str, IntegerLayer], results: Sequence[str]) -> list[_Stage]:
    """The graph in order, parted behind each of the layers."""
    runs: list[list[onnx.NodeProto]] = [[]]
    for node in model.graph.node:
        runs[-1].append(node)
        if node.output[0] in layers:
            runs.append([])
    runs = [nodes for nodes in runs if nodes]
    reads = [{name for node in nodes for name in _reads(node)} for nodes in runs]
    stages: list[_Stage] = []
    elements = {int(number): name for name, number in _ELEMENTS.items()}
    types = {i.name: elements[i.type.tensor_type.elem_type] for i in graph_inputs(model)}
    for i, nodes in enumerate(runs):
        layer = layers.get(nodes[-1].output[0])
        later = set(results).union(*reads[i + 1 :])
        asked = later.union(layer.places.values(), layer.node.output[:1]) if layer else later
        made = [name for node in nodes for name in node.output if name in asked]
        fed = [name for name in types if name in reads[i]]
        if made:
            part = _part(model, nodes, {name: types[name] for name in fed}, reads[i], made)
            stages.append(_Stage(part, layer, later))
            types |= stages[-1].types
    return stages


def _reads(node: onnx.NodeProto) -> set[str]:
    """What a node reads, inside its branches and loops too."""
    found = {name for name in node.input if name}
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            found |= {name for inner in graph.node for name in _reads(inner)} | {o.name for o in graph.output}
    return found


def _part(
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    fed: Mapping[str, str],
    reads: set[str],
    made: Sequence[str],
) -> onnx.ModelProto:
    part = onnx.ModelProto()
    part.ir_version = model.ir_version
    part.opset_import.extend(model.opset_import)
    part.graph.name = "piece"
    part.graph.node.extend(nodes)
    part.graph.initializer.extend(t for t in model.graph.initializer if t.name in reads)
    for name, kind in fed.items():
        part.graph.input.append(helper.make_tensor_value_info(name, _ELEMENTS[kind], None))
    # Types are left out: the runtime infers them.
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
    return part


_ELEMENTS = {
    "tensor(float)": TensorProto.FLOAT,
    "tensor(float16)": TensorProto.FLOAT16,
    "tensor(double)": TensorProto.DOUBLE,
    "tensor(uint8)": TensorProto.UINT8,
    "tensor(int8)": TensorProto.INT8,
    "tensor(uint16)": TensorProto.UINT16,
    "tensor(int16)": TensorProto.INT16,
    "tensor(int32)": TensorProto.INT32,
    "tensor(int64)": TensorProto.INT64,
    "tensor(bool)": TensorProto.BOOL,
}
