"""ONNX graphs as torch networks, by onnx2torch: made so that steps can train and prune them, and held against the file that they came from.

What the library leaves as bare numbers becomes layers and parameters: products with a stored matrix are linear layers, stored floats learn.
"""

from __future__ import annotations

import base64
import importlib
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, fx, nn

from engine.datasets.dataset import Dataset
from engine.errors import ModelError
from engine.graph.graph import first_line, graph_inputs, open_session, with_outputs
from engine.graph.inputs import Feeds, Inputs, shape_of
from engine.models.agreement import compared
from engine.models.catalog import onnx2torch_installed
from engine.models.convertible import OPSET, PACKAGE
from engine.models.export import OPSET as EXPORTED
from engine.models.functions import package_version
from engine.models.lowered import lowered, plain, with_zeros, without_weights
from engine.models.renormalised import renormalised
from engine.models.shapes import noun
from engine.models.torch_inputs import as_tensors

AGREES = 1e-3
"""Answers agree within this share of the largest: the same sums in another order differ by a hundredth of it."""
_COMPARED = 100
"""Real samples on which a network is held against its file; layers are looked at on a few."""
_FEW = 4
_STORED = "initializers"
_ADDS, _POWERS = "OnnxBinaryMathOperation", "OnnxPow"


def graph_text(graph: onnx.ModelProto) -> str:
    """A lowered graph without its weights, as text for an artifact's metadata."""
    return base64.b64encode(zlib.compress(without_weights(graph).SerializeToString(deterministic=True), 9)).decode()


def of_text(text: str, source: str) -> nn.Module:
    """The network of a graph of `graph_text`, its weights yet to be loaded; raises ModelError."""
    graph = onnx.load_model_from_string(zlib.decompress(base64.b64decode(text)))
    return to_torch(with_zeros(graph), source)


def convert(model: onnx.ModelProto, data: Dataset, source: str) -> tuple[nn.Module, str, str]:
    """The torch network of a file's graph, in evaluation mode, the text that it can be built from again, and what to know of it.

    It answers as the file does in ONNX Runtime, on real samples, alone and in batches. Raises ModelError, naming the operator, where the
    graph cannot become one that does.
    """
    samples = data.preprocessing(data.calibration.head(_COMPARED).inputs)
    unlowered, norms = renormalised(plain(model, source), samples, source)
    graph = lowered(unlowered, data.input_shape, source)
    network = to_torch(graph, source)
    try:
        found = compared(model, network, samples, AGREES)
    except Exception as error:  # whatever a layer of the library's raises
        raise ModelError(
            f"model {source} was turned into a torch network that does not run: {first_line(error)}; {_remedy()}"
        ) from None
    word = noun(shape_of(samples))
    if found.differ:
        where = first_difference(unlowered, network, samples[:_FEW])
        raise ModelError(
            f"model {source}, turned into a torch network by {PACKAGE} {package_version(PACKAGE)}, answers otherwise than the file, for "
            f"{found.differ} of {found.tried} {word} by more than {AGREES:.1%} of the largest number (at worst {100 * found.worst:.3g} %)"
            f"{f'; first at {where}' if where else ''}; {_remedy()}"
        )
    told = f"turned into a torch network by {PACKAGE} {package_version(PACKAGE)}, which "
    told += (
        f"answers as the file does on {found.tried} {word}"
        if found.tried
        else "could not be held against the file: its answers are no numbers, or random"
    )
    if norms:
        told += f"; {norms} batch norms put back for training, where the file has them folded into convolutions, if it had any"
    return network, graph_text(graph), told


def _remedy() -> str:
    return "give the network that it was exported from (path/to/file.py:function), or use ONNX steps alone"


def to_torch(graph: onnx.ModelProto, source: str) -> nn.Module:
    """The torch network of a lowered graph, in evaluation mode, every stored float a parameter; raises ModelError naming the operator."""
    if not onnx2torch_installed():
        raise ModelError(
            f"model {source} needs {PACKAGE}, which is not installed; run pip install 'paretoscope[{PACKAGE}]'"
        )
    library = importlib.import_module(PACKAGE)
    _teach()
    several = len(graph_inputs(graph)) > 1
    unfit = next((i.name for i in graph_inputs(graph) if several and not i.name.isidentifier()), None)
    if unfit is not None:
        raise ModelError(
            f"model {source}: input {unfit!r} is no name that a torch network can have; export the network with input_names of letters, "
            "digits and underscores"
        )
    try:
        module: fx.GraphModule = library.convert(graph, save_input_names=several)
    except Exception as error:  # whatever its converters raise
        raise ModelError(
            f"model {source} cannot be turned into a torch network by {PACKAGE}{_at(graph)}: {first_line(error)}; {_remedy()}"
        ) from None
    stored = {node.name: node for node in graph.graph.node}
    _numbers(module)
    _reshapes(module)
    _linear(module)
    _share(module, stored)
    _parameters(module)
    return module.float().eval()


def _teach() -> None:
    """What the library does not know: operators that came after `OPSET`, and where today's torch keeps the opset of an export."""
    registry: Any = importlib.import_module(f"{PACKAGE}.node_converters.registry")
    common: Any = importlib.import_module(f"{PACKAGE}.utils.common")
    symbolic: Any = importlib.import_module("torch.onnx.symbolic_helper")
    if not hasattr(symbolic, "GLOBALS"):
        # Ours is always the same.
        symbolic._export_onnx_opset_version = EXPORTED
    if registry.OperationDescription("", "Gelu", OPSET) in registry._CONVERTER_REGISTRY:
        return

    def gelu(node: Any, graph: Any) -> Any:
        layer = nn.GELU(approximate=node.attributes.get("approximate", "none"))
        return common.OperationConverterResult(layer, common.onnx_mapping_from_node(node=node))

    registry.add_converter(operation_type="Gelu", version=OPSET)(gelu)


def _at(graph: onnx.ModelProto) -> str:
    """The first node that the library has no layer for, in words; empty where each has one."""
    registry: Any = importlib.import_module(f"{PACKAGE}.node_converters.registry")
    read: Any = importlib.import_module(f"{PACKAGE}.onnx_graph").OnnxGraph(graph.graph)
    for name, node in read.nodes.items():
        try:
            registry.get_converter(domain=node.domain, operation_type=node.operation_type, version=OPSET)(node, read)
        except Exception:
            return f", at operator {node.operation_type} (node {name!r})"
    return ""


def _layers(module: fx.GraphModule) -> list[tuple[fx.Node, nn.Module]]:
    return [(n, module.get_submodule(str(n.target))) for n in module.graph.nodes if n.op == "call_module"]


def _stored(module: fx.GraphModule, value: Any) -> Tensor | None:
    """The number, or numbers, that an argument reads; None for one that is computed."""
    if not isinstance(value, fx.Node) or value.op != "get_attr":
        return None
    found: Tensor = module.get_submodule(_STORED).get_buffer(str(value.target).removeprefix(f"{_STORED}."))
    return found


def _finish(module: fx.GraphModule) -> None:
    module.graph.eliminate_dead_code()
    read = {str(n.target).removeprefix(f"{_STORED}.") for n in module.graph.nodes if n.op == "get_attr"}
    container = dict(module.named_children()).get(_STORED, nn.Module())
    for name in [n for n, _ in container.named_buffers() if n not in read]:
        delattr(container, name)
    module.delete_all_unused_submodules()
    module.recompile()


def _numbers(module: fx.GraphModule) -> None:
    """Single floats beside a tensor are numbers of the code, which nothing trains or prunes."""
    for node, layer in _layers(module):
        if type(layer).__name__ not in (_ADDS, _POWERS):
            continue
        for i, value in enumerate(node.args):
            found = _stored(module, value)
            if found is not None and found.numel() == 1 and found.ndim <= 1 and found.is_floating_point():
                node.args = (*node.args[:i], float(found), *node.args[i + 1 :])
    _finish(module)


class _Reshape(nn.Module):
    """To axes that are numbers: a layer, so that what removes heads can say which of its sizes are others."""

    def __init__(self, axes: list[int]) -> None:
        super().__init__()
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(*self.axes)


def _reshapes(module: fx.GraphModule) -> None:
    """Reshapes to stored axes are such as torch can follow."""
    for node, layer in _layers(module):
        axes = _stored(module, node.args[1]) if type(layer).__name__ == "OnnxReshape" else None
        if axes is None or bool((axes == 0).any()):
            continue
        module.set_submodule(str(node.target), _Reshape(axes.tolist()))
        node.args = node.args[:1]
    _finish(module)


def _linear(module: fx.GraphModule) -> None:
    """Products with a stored matrix are linear layers, with the bias that is added to them and to nothing else."""
    for node, layer in _layers(module):
        matrix = _stored(module, node.args[1]) if type(layer).__name__ == "OnnxMatMul" else None
        if matrix is None or matrix.ndim != 2 or not matrix.is_floating_point():
            continue
        bias, added = _added(module, node, matrix.shape[1])
        linear = nn.Linear(matrix.shape[0], matrix.shape[1], bias=bias is not None)
        with torch.no_grad():
            linear.weight.data = matrix.T.contiguous()
            if bias is not None:
                linear.bias.data = bias.reshape(-1).clone()
        module.set_submodule(str(node.target), linear)
        node.args = node.args[:1]
        if added is not None:
            node.meta["onnx"] = str(added.target)
            added.replace_all_uses_with(node)
            module.graph.erase_node(added)
    _finish(module)


def _added(module: fx.GraphModule, node: fx.Node, width: int) -> tuple[Tensor | None, fx.Node | None]:
    """What is added to a product alone, and where, if it is a stored number for each of its outputs."""
    users = list(node.users)
    if len(users) != 1 or users[0].op != "call_module":
        return None, None
    layer: Any = module.get_submodule(str(users[0].target))
    if type(layer).__name__ != _ADDS or layer.math_op_function is not torch.add or len(users[0].args) != 2:
        return None, None
    other = next((a for a in users[0].args if a is not node), None)
    bias = _stored(module, other)
    return (bias, users[0]) if bias is not None and bias.shape == (width,) else (None, None)


def _share(module: fx.GraphModule, nodes: dict[str, onnx.NodeProto]) -> None:
    """Layers of one stored filter bank, or matrix, share it as they do in the file."""
    first: dict[tuple[str, bool], nn.Parameter] = {}
    for node, layer in _layers(module):
        inner = layer[-1] if isinstance(layer, nn.Sequential) else layer
        weight = getattr(inner, "weight", None)
        if not isinstance(weight, nn.Parameter) or weight.ndim < 2 or str(node.target) not in nodes:
            continue
        made = nodes[str(node.target)]
        turned = made.op_type == "MatMul" or not any(a.name == "transB" and a.i for a in made.attribute)
        key = (made.input[1], turned and isinstance(inner, nn.Linear))
        if key in first and first[key].shape == weight.shape:
            inner.weight = first[key]
        first.setdefault(key, weight)


def _parameters(module: fx.GraphModule) -> None:
    """Stored floats that are finite learn, as they may have where they came from."""
    container = dict(module.named_children()).get(_STORED, nn.Module())
    for name, value in list(container.named_buffers()):
        if value.is_floating_point() and value.numel() > 1 and bool(torch.isfinite(value).all()):
            delattr(container, name)
            container.register_parameter(name, nn.Parameter(value))


def first_difference(graph: onnx.ModelProto, network: nn.Module, samples: Inputs) -> str | None:
    """The first operator of a plain graph whose result differs in the network that it became, in words; None where none can be told."""
    if not isinstance(network, fx.GraphModule):
        return None
    seen: dict[str, Tensor] = {}
    watch = _Watch(network, lambda name, value: seen.setdefault(name, value))
    tensors = as_tensors(samples)
    with torch.no_grad():
        watch.run(*(tensors.values() if isinstance(tensors, dict) else (tensors,)))
    makers = {node.name: node for node in graph.graph.node}
    outputs = [makers[name].output[0] for name in seen if name in makers]
    feeds = Feeds.of_graph(graph)
    session = open_session(with_outputs(graph, outputs), onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    expected = dict(zip(outputs, session.run(outputs, feeds(samples)), strict=True))
    for name, node in makers.items():
        if name not in seen:
            continue
        right, found = np.asarray(expected[node.output[0]]), seen[name].numpy()
        size = max(float(np.abs(right.astype(np.float64)).max(initial=0)), 1e-6)
        if right.shape != found.shape or np.abs(right.astype(np.float64) - found).max(initial=0) > AGREES * size:
            return f"operator {node.op_type} (node {name!r})"
    return None


class _Watch(fx.Interpreter):
    """Runs a network node by node and tells what each gave, by the name of the ONNX node that it came from."""

    def __init__(self, network: fx.GraphModule, told: Callable[[str, Tensor], Any]) -> None:
        super().__init__(network)
        self.told = told

    def run_node(self, n: fx.Node) -> Any:
        """As the base class, and tells."""
        found = super().run_node(n)
        name = n.meta.get("onnx", str(n.target) if n.op == "call_module" else None)
        if name is not None and isinstance(found, Tensor):
            self.told(name, found)
        return found
