"""Whether the graph of an ONNX file can become a torch network, told before anything runs and without loading torch.

onnx2torch does it, an extra (`pip install 'paretoscope[onnx2torch]'`). Which operators it knows is read off its source files, because
importing it takes seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import onnx

from engine.errors import ModelError
from engine.graph.counts import is_quantized
from engine.graph.inline import inlined
from engine.models.accepted import accepted_facts
from engine.models.interface import Interface
from engine.models.onnx_file import read_file
from engine.spec.sections import Data, Model
from engine.spec.sweep import Sweep

PACKAGE = "onnx2torch"
OPSET = 17
"""Whose forms of the operators onnx2torch knows."""
OURS = frozenset({"Gelu"})
"""Operators that came later, and that we convert ourselves."""
ONNX_STEPS = "or keep to what works on the file as it is: quantize, and distill into a built-in student"
_QUANTIZED, _TRAINING = "quantized", "BatchNormalization in its training form"
_REGISTERED = re.compile(r"@add_converter\(operation_type=['\"](\w+)['\"], version=(\d+)\)")


def check_trained(sweep: Sweep) -> None:
    """The network of a sweep can be what its torch steps begin with, as far as its file tells; raises ModelError as `check_convertible`."""
    if sweep.trains_a_file:
        check_convertible(sweep.model, sweep.data)


def check_convertible(model: Model, data: Data | None = None) -> None:
    """Raises ModelError, in one line, where torch steps cannot begin with the file: onnx2torch is missing, or does not know an operator.

    Of an uploaded file its operators were noted when it came.
    """
    path = Path(model.source)
    known = known_operators()
    if not known:
        raise ModelError(
            f"torch steps on the ONNX file {path} need {PACKAGE}, which is not installed; run pip install 'paretoscope[{PACKAGE}]' "
            f"(or pip install {PACKAGE}), {ONNX_STEPS}"
        )
    facts = accepted_facts(path)
    if facts is not None:
        check_operators(facts.get("operators", {}), str(path), known)
        return
    stamp = path.stat()
    check_operators(_operators(model, data, (stamp.st_mtime_ns, stamp.st_size)), str(path), known)


@lru_cache(maxsize=8)
def _operators(model: Model, data: Data | None, stamp: tuple[int, int]) -> dict[str, str]:
    return operators_of(read_file(Path(model.source), Interface.of(model, data)))


def check_operators(operators: Mapping[str, str], source: str, known: frozenset[str]) -> None:
    """Raises ModelError for the first of `operators`, as of `operators_of`, that cannot become a torch layer."""
    if _QUANTIZED in operators:
        raise ModelError(
            f"model {source} is quantized already, so no torch step can train or prune it; give the float network that it was made "
            "from, or leave prune, finetune and distill with student current out"
        )
    name = next((name for name in operators if name not in known), None)
    if name is None:
        return
    where = f" (node {operators[name]!r})" if operators[name] else ""
    if name == _TRAINING:
        raise ModelError(
            f"model {source} has a {name}{where}, which takes statistics of the batch; export the network again after network.eval()"
        )
    raise ModelError(
        f"model {source} has operator {name}{where}, which {PACKAGE} cannot turn into a torch layer; give the network that it was "
        f"exported from (path/to/file.py:function), {ONNX_STEPS}"
    )


def operators_of(model: onnx.ModelProto) -> dict[str, str]:
    """The operators that a torch network would need layers for, each with the name of its first node, in the graph's order.

    What is computed of stored numbers alone, and what only says the shape of a Reshape, needs none.
    """
    if is_quantized(model):
        return {_QUANTIZED: ""}
    plain = inlined(model)
    fixed = {t.name for t in plain.graph.initializer} | {t.values.name for t in plain.graph.sparse_initializer}
    for node in plain.graph.node:
        has_graph = any(a.HasField("g") or a.graphs for a in node.attribute)
        if not has_graph and not node.op_type.startswith("Random") and all(n in fixed for n in node.input if n):
            fixed.update(node.output)
    needed, found = {o.name for o in plain.graph.output} - fixed, list[onnx.NodeProto]()
    for node in reversed(plain.graph.node):
        if needed.intersection(node.output):
            found.append(node)
            needed |= {*(node.input[:1] if node.op_type == "Reshape" else node.input)} - fixed
    operators: dict[str, str] = {}
    for node in reversed(found):
        if node.op_type in ("Identity", "Dropout"):
            continue
        trains = node.op_type == "BatchNormalization" and any(a.name == "training_mode" and a.i for a in node.attribute)
        operators.setdefault(_TRAINING if trains else _named(node), node.name)
    return operators


def _named(node: onnx.NodeProto) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


@lru_cache(maxsize=1)
def known_operators() -> frozenset[str]:
    """Names of the operators that can become torch layers, in their form of `OPSET`; none where onnx2torch is not installed."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        return frozenset()
    forms: set[tuple[str, int]] = set()
    for file in sorted((Path(found.origin).parent / "node_converters").glob("*.py")):
        forms.update((name, int(version)) for name, version in _REGISTERED.findall(file.read_text(encoding="utf-8")))
    return OURS | {name for name, version in forms if version == since(name)}


def since(operator: str) -> int:
    """The version in which an operator got the form that it has at `OPSET`; 0 for one that came later."""
    try:
        return int(onnx.defs.get_schema(operator, OPSET, "").since_version)
    except onnx.defs.SchemaError:
        return 0
