"""The process in which pages open networks: `python -m engine.uploads.network_process SECONDS`, started by engine/uploads/networks.py.

Questions come as pickles of the server's own; answers are JSON, since what a hostile network may have made of this process is not to be
trusted: `{"found": …}` or `{"refused": why}`.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import select
import signal
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
from pydantic import TypeAdapter

from engine.datasets.splits import Array
from engine.errors import ParetoscopeError
from engine.explain.compare import Layer, layers_of_file
from engine.explain.network import graph_of_file
from engine.explain.playground import Answer, answer
from engine.export.opened import HowToAsk, Opened
from engine.export.predict_template import BundleError
from engine.graph.graph import gives_shares
from engine.graph.layer_graph import LayerGraph
from engine.measure.session import one_line
from engine.uploads.kept_process import OUT_OF_MEMORY, receive, send

_MODELS, _MODELS_BYTES = 12, 256 << 20
_IDLE_S = 600
_MEMORY = ("bad_alloc", "Failed to allocate memory", "Cannot allocate memory", "std::length_error")
"""What the runtime's messages say where it was refused memory, or asked for more than there can be."""
LAYERS, GRAPH, ANSWER = TypeAdapter(tuple[Layer, ...]), TypeAdapter(LayerGraph), TypeAdapter(Answer)
_models: OrderedDict[tuple[Path, str], tuple[Opened, bool]] = OrderedDict()


def layers(path: Path) -> Any:
    """What a file says of its layers."""
    return LAYERS.dump_python(layers_of_file(path), mode="json")


def graph(path: Path, fold: bool) -> Any:
    """A file's network as a graph."""
    return GRAPH.dump_python(graph_of_file(path, fold), mode="json")


def answer_of(path: Path, image: Array, how: HowToAsk) -> Any:
    """What a file says of one sample, and how long that takes here."""
    model, shares = _opened(path, how)
    return ANSWER.dump_python(answer(model, image, shares), mode="json")


QUESTIONS: dict[str, Callable[..., Any]] = {"layers": layers, "graph": graph, "answer": answer_of}
"""What may be asked, by name."""


def _opened(path: Path, how: HowToAsk) -> tuple[Opened, bool]:
    """A network, and whether it gives shares of its classes."""
    asked = (path, repr(how))  # one file may be asked in two ways
    model = _models.pop(asked, None)
    if model is None:
        model = Opened(path, how, name=path.name), gives_shares(onnx.load_model(path, load_external_data=False))
    _models[asked] = model
    while len(_models) > 1 and (len(_models) > _MODELS or _kept_bytes() > _MODELS_BYTES):
        _models.popitem(last=False)
    return model


def _kept_bytes() -> int:
    total = 0
    for path, _ in _models:
        with contextlib.suppress(OSError):  # removed since
            total += path.stat().st_size
    return total


def _reply(question: bytes) -> bytes:
    name, arguments = pickle.loads(question)  # noqa: S301 - of the server, whose process this is
    try:
        found = {"found": QUESTIONS[name](*arguments)}
    except MemoryError:
        return OUT_OF_MEMORY
    except (ParetoscopeError, BundleError) as error:
        found = {"refused": str(error)}
    except Exception as error:  # of what is hostile anything may come
        found = {"refused": f"{arguments[0]} cannot be read: {one_line(error)}"}
    if any(word in str(found.get("refused", "")) for word in _MEMORY):
        return OUT_OF_MEMORY
    return json.dumps(found).encode()


def main(seconds: float) -> None:
    """Answer until there are no more questions, or none for a while."""
    answers = os.fdopen(os.dup(1), "wb")
    # What a library prints is no answer.
    os.dup2(2, 1)
    questions = sys.stdin.buffer
    alarm = getattr(signal, "setitimer", None)
    if receive(questions) is not None:
        send(answers, b"ready")
    while _asked(questions) and (question := receive(questions, 1 << 40)) is not None:
        if alarm is not None:  # should the server be gone that holds the time
            alarm(signal.ITIMER_REAL, seconds + 5)
        reply = _reply(question)
        if alarm is not None:
            alarm(signal.ITIMER_REAL, 0)
        send(answers, reply)


def _asked(questions: Any) -> bool:
    """Whether a question, or the end of all, comes in time; on Windows, which cannot wait for pipes, always."""
    return os.name == "nt" or bool(select.select([questions], [], [], _IDLE_S)[0])


if __name__ == "__main__":
    main(float(sys.argv[1]))
