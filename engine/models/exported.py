"""Programs of `torch.export.save` (`.pt2`): read at plan time without torch, and turned into ONNX when they are loaded.

A program is a graph of operators with its weights; which of them made a layer, and how the layer would train, is not in it. So it becomes
an ONNX graph at once, held against the program on real inputs, and ONNX steps go on from there.
"""

from __future__ import annotations

import json
import operator
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.datasets.dataset import Dataset
from engine.errors import ModelError
from engine.graph.graph import first_line
from engine.graph.inputs import Shape, Signature
from engine.models.shapes import batch_text

if TYPE_CHECKING:
    import onnx
    from torch import nn

_AGAIN = "save it again with torch.export.save(torch.export.export(network.eval(), (inputs,)), path)"
_TYPES = {1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 7: "float32", 8: "float64", 12: "bool"}
"""Numbers of types in torch.export's format (`ScalarType` of torch/_export/serde/schema.py) -> names."""
# Inputs on which the graph is held against the program.
_COMPARED = 100


@dataclass(frozen=True)
class Interface:
    """What a program takes and gives; axes are 0 where they are free. `batch`: how many samples it takes; `taken`: what one of them is;
    `given`: the axes of its output, batch first; `names`: its inputs in order.
    """

    batch: int
    taken: Shape
    given: tuple[int, ...]
    names: tuple[str, ...]


def read_interface(path: Path) -> Interface:
    """Read off the file without loading it; raises ModelError for one that cannot be used."""
    stat = path.stat()
    return _read_interface(path, (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=8)
def _read_interface(path: Path, stamp: tuple[int, int]) -> Interface:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [n for n in archive.namelist() if n.endswith(".json") and n.split("/")[-2:-1] == ["models"]]
            programs = [json.loads(archive.read(n)) for n in names]
            configs = [json.loads(archive.read(n)) for n in archive.namelist() if n.endswith("_config.json")]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise ModelError(
            f"model {path} is no program of torch.export, or is cut short ({first_line(error)}); {_AGAIN}"
        ) from None
    if len(programs) != 1:
        raise ModelError(f"model {path} holds {len(programs)} programs, not one; {_AGAIN}")
    if any(entry.get("use_pickle") for config in configs for entry in config.get("config", {}).values()):
        raise ModelError(f"model {path} holds Python objects beside tensors, which are never unpickled; {_AGAIN}")
    try:
        return _interface(programs[0]["graph_module"], path)
    except (KeyError, TypeError, StopIteration) as error:
        raise ModelError(
            f"model {path} is of a format of torch.export that is not known here ({error!r}); {_AGAIN}"
        ) from None


def _interface(module: dict[str, Any], path: Path) -> Interface:
    signature, tensors = module["signature"], module["graph"]["tensor_values"]
    inputs = [s["user_input"]["arg"] for s in signature["input_specs"] if "user_input" in s]
    outputs = [s["user_output"]["arg"] for s in signature["output_specs"] if "user_output" in s]
    if not inputs or len(outputs) != 1 or not all("as_tensor" in arg for arg in (*inputs, *outputs)):
        raise ModelError(
            f"model {path} has {len(inputs)} inputs and {len(outputs)} outputs; only networks that make one tensor of tensors can be used: "
            "export a module that calls yours and returns the one that counts"
        )
    names = tuple(str(arg["as_tensor"]["name"]) for arg in inputs)
    taken, given = [tensors[name] for name in names], tensors[outputs[0]["as_tensor"]["name"]]
    kinds = [_TYPES.get(tensor["dtype"]) for tensor in taken]
    if None in kinds:
        raise ModelError(
            f"model {path}: its input {names[kinds.index(None)]} is of a type that is not fed here; export it with one of "
            f"{', '.join(_TYPES.values())}"
        )
    shapes = [tuple(size.get("as_int", 0) for size in tensor["sizes"]) for tensor in (*taken, given)]
    least = 2 if len(taken) == 1 else 1
    if any(len(shape) < least for shape in shapes[:-1]) or not shapes[-1]:
        raise ModelError(
            f"model {path} makes {shapes[-1]} of {' and '.join(map(str, shapes[:-1]))}; a network that makes (N, …) of (N, …) is needed"
        )
    batches = {shape[0] for shape in shapes[:-1]}
    if len(batches) > 1:
        raise ModelError(f"model {path} takes unlike batches, {shapes[:-1]}; export it with one for all inputs")
    if kinds == ["float32"]:
        return Interface(batches.pop(), shapes[0][1:], shapes[-1], names)
    called = names if len(names) > 1 else ("",)
    signature = zip(called, (shape[1:] for shape in shapes), map(str, kinds), strict=False)
    return Interface(batches.pop(), Signature(tuple(signature)), shapes[-1], names)


def check_program(path: Path, data: Dataset) -> None:
    """Raises ModelError unless a program takes what `data` has, and gives a score for each class."""
    from engine.models.fits import check_scores, check_shape

    found = read_interface(path)
    check_shape(str(path), found.taken, data)
    if data.has_classes and len(found.given) != 2:
        raise ModelError(
            f"model {path} makes {found.given} of its inputs; a network that makes (N, classes) of (N, …) is needed, or data.task"
        )
    if data.has_classes and found.given[1]:
        check_scores(str(path), found.given[1], data)


def program_to_onnx(path: Path, data: Dataset) -> tuple[onnx.ModelProto, str | None]:
    """The ONNX graph of a program, and what to know of it. Raises ModelError where it cannot be turned into one that answers as it does."""
    import torch

    from engine.models.agreement import check_agreement
    from engine.models.export import export_onnx

    found = read_interface(path)
    batch = found.batch
    check_program(path, data)
    try:
        loaded = torch.export.load(path)
        module, form = loaded.module(check_guards=False), loaded.module_call_graph[0].signature
    except Exception as error:  # whatever torch raises for files of other versions and devices
        raise ModelError(f"model {path} cannot be loaded ({first_line(error)}); {_AGAIN}") from None
    network = _traceable(module, path, found.names, form.in_spec if form else None)
    inputs = data.preprocessing(data.calibration.head(_COMPARED).inputs)
    try:
        model = export_onnx(network, data.input_shape, batch or None)
        return model, check_agreement(model, network, inputs)
    except Exception as error:  # the runtime's own classes share no base below Exception
        free = "" if batch else ", or export the program with a fixed batch"
        raise ModelError(
            f"model {path} cannot become ONNX for {batch_text(data.input_shape)}: {first_line(error)}; write an ONNX file instead{free}"
        ) from None


def _traceable(module: Any, path: Path, names: Sequence[str], form: Any) -> nn.Module:
    """A program's module such that a trace goes through it: sizes are asked of tensors, nothing asks whether it trains.

    It takes one tensor, or several by their `names`, which are put into the `form` that the program was exported with.
    """
    import torch
    from torch import nn
    from torch.utils import _pytree as trees

    for node in module.graph.nodes:
        if node.op != "call_function":
            continue
        if node.target is torch.ops.aten.sym_size.int:
            node.op, node.target = "call_method", "size"
            continue
        if _trains(node):
            raise ModelError(
                f"model {path} was exported while it trained ({node.target} is in its training form); call network.eval() before "
                "torch.export.export"
            )
        if node.target in (torch.ops.aten._assert_scalar.default, torch.ops.aten._assert_tensor_metadata.default):
            node.target, node.args, node.kwargs = operator.truth, (True,), {}
        elif any(isinstance(n.meta.get("val"), torch.SymInt) for n in node.all_input_nodes) and hasattr(
            node.target, "_schema"
        ):
            # A size that is given to an operator itself would be fixed as it is in the trace; given to torch's own functions it is not.
            name = node.target._schema.name.partition("::")[2]
            if hasattr(torch.Tensor, name):
                node.op, node.target = "call_method", name
            elif hasattr(torch, name):
                node.target = getattr(torch, name)
    module.recompile()
    # They hold shapes against those of the export, which a trace cannot.
    module._forward_pre_hooks.clear()
    for parameter in module.parameters():
        parameter.requires_grad_(False)

    class Program(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.program = module

        def forward(self, x: torch.Tensor | None = None, **named: torch.Tensor) -> Any:
            values = [named[name] for name in names] if named else [x]
            args, kwargs = trees.tree_unflatten(values, form) if form is not None else (values, {})
            found = self.program(*args, **kwargs)
            return found[0] if isinstance(found, list | tuple) and len(found) == 1 else found

        def train(self, mode: bool = True) -> Program:
            self.training = False
            return self

    return Program().eval()


def _trains(node: Any) -> bool:
    """Whether an operator of a program is in the form of training: it drops values, or takes statistics of the batch."""
    named = (
        dict(zip((a.name for a in node.target._schema.arguments), node.args, strict=False))
        if hasattr(node.target, "_schema")
        else {}
    )
    named |= node.kwargs
    return bool(named.get("train", False) or named.get("training", False)) and not str(node.target).startswith(
        "aten.lstm"
    )
