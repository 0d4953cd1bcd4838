"""What pages ask of a network's file, which may be hostile: found out in a process of its own, with limits."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from engine.datasets.splits import Array
from engine.errors import StepError
from engine.explain.compare import Layer
from engine.explain.playground import Answer
from engine.export.opened import HowToAsk
from engine.graph.layer_graph import LayerGraph
from engine.uploads import bounds
from engine.uploads.kept_process import KeptProcesses, Overstepped

_MODULE = "engine.uploads.network_process"
PROCESSES = {True: KeptProcesses(_MODULE, bounds.OPENING), False: KeptProcesses(_MODULE, bounds.OPENING_OWN)}
"""Those for uploads, and those for what lay on the server: none answers for both, and only uploads' memory is limited."""
_LAYERS, _GRAPH, _ANSWER = TypeAdapter(tuple[Layer, ...]), TypeAdapter(LayerGraph), TypeAdapter(Answer)
Found = TypeVar("Found")


class NetworkFile:
    """A trial's ONNX file, as pages ask it.

    Every question raises StepError, in one line that names the trial, where the file is damaged, or takes more than the limits allow;
    SetupError where no process can be started.
    """

    def __init__(self, path: Path, label: str, uploaded: bool) -> None:
        """`label`: what the trial is called; `uploaded`: whether its sweep's network was sent by a browser."""
        self._path, self._label, self._uploaded = path, label, uploaded

    def layers(self) -> tuple[Layer, ...]:
        """As `engine.explain.compare.read_layers`."""
        return self._asked(_LAYERS, "layers")

    def graph(self, fold: bool = True) -> LayerGraph:
        """As `engine.explain.network.network`."""
        return self._asked(_GRAPH, "graph", fold)

    def answer(self, image: Array, how: HowToAsk) -> Answer:
        """As `engine.explain.playground.answer`; its milliseconds are measured where the file runs."""
        return self._asked(_ANSWER, "answer", image, how)

    def _asked(self, kind: TypeAdapter[Found], name: str, *more: Any) -> Found:
        question = pickle.dumps((name, (self._path, *more)))
        try:
            said = json.loads(PROCESSES[self._uploaded].ask(question))
        except Overstepped as error:
            raise StepError(self._too_much(str(error))) from None
        if "refused" in said:
            # Files are called by their digests, which say nothing to anybody.
            whole = str(said["refused"]).replace(str(self._path), self._path.name)
            raise StepError(whole.replace(self._path.name, f"the file of {self._label}"))
        return kind.validate_python(said["found"], strict=False)

    def _too_much(self, why: str) -> str:
        most = (
            "the most that an uploaded network is given on a page" if self._uploaded else "the most that a page waits"
        )
        if not why.startswith("more than"):
            return f"the network of {self._label} takes {why}; try it on the command line"
        return f"the network of {self._label} takes {why}, {most}; the command line has no such limits"
