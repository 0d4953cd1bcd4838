"""A bundle, opened: its file's inputs and outputs, its preprocessing, and whether requests may share a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil

from engine.errors import InputError
from engine.export.bundle import PARTS
from engine.export.opened import Opened, of_folder
from engine.export.predict_template import BundleError, one_line, read_json
from engine.export.tensors import Tensor, asked_of, said_of, shares_calls
from engine.export.verify_template import check_files, check_sample, read_sample
from engine.export.zips import unpacked
from engine.serve.batching import rows_of
from engine.serve.errors import Malformed, Refused

Array = npt.NDArray[Any]

NUMPY = {"FP32": "float32", "FP64": "float64", "FP16": "float16", "BOOL": "bool"} | {
    f"{kind}{bits}": f"{kind.lower()}{bits}" for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)
}
"""The protocol's name of a type -> numpy's."""
_PREPARING = (
    "scale", "mean", "std", "flip", "channels_last", "untouched", "stored_dtype", "stored_shape", "inputs", "pictures", "audio",
)  # fmt: skip


class Model:
    """One bundle in memory. `run` is safe to call from several threads.

    `settings` are its preprocessing, `labels` its classes, `trial` and `label` what was exported. `shares_runs`: whether rows of several
    requests may go through the file together, because each is answered as it is alone; it was tried on the bundle's own sample. `states`
    are inputs that are zeros at the start of every sample of every request, and are neither asked for nor given back. `bytes` is
    what opening it and running that sample added to this process, the file's size at least. Raises InputError for what is no sound bundle,
    and, where it is `checked`, for a model that does not answer its sample here as recorded: int8 sums may saturate on this processor.
    """

    def __init__(self, bundle: Path, threads: int = 1, checked: bool = True) -> None:
        before = _resident()
        with unpacked(bundle, PARTS) as folder:
            try:
                manifest = read_json(folder / "manifest.json")
                wrong = [check.name for check in check_files(folder, manifest) if not check.ok]
                if wrong:
                    raise BundleError(f"{' and '.join(wrong)} are not those recorded: the bundle was altered")
                self.trial, self.label = str(manifest["trial"]), str(manifest["label"])
                self._opened = opened = Opened(folder / "model.onnx", of_folder(folder, manifest), threads)
                self.settings, self.labels, session = opened.settings, list(opened.labels), opened.session
                answers = check_sample(session, folder, manifest, self.settings) if checked else []
                if other := [f"{a.name}: {a.found}, {a.expected} expected" for a in answers if not a.ok]:
                    raise BundleError(f"it answers otherwise on this machine than recorded ({'; '.join(other)})")
                self.states, self.fixed = opened.states, opened.fixed
                self.inputs, self.outputs = asked_of(session), said_of(session)
                sample, *_ = read_sample(folder, self.settings, ())
                self.shares_runs = shares_calls(session, sample, self.settings, manifest["arithmetic"])
                size = (folder / "model.onnx").stat().st_size
            except (BundleError, KeyError) as error:
                raise InputError(f"{bundle}: {one_line(error)}; export it again") from None
        self.bytes = max(size, _resident() - before)

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        """All outputs for what the graph takes, as it takes it; a fixed batch is filled up, and cut off again. Raises Refused."""
        if self.fixed or self.states:
            rows_of(inputs)  # of unlike many rows there is no one number to fill up or begin
        try:
            return self._opened.run(inputs)
        except BundleError as error:
            raise Refused(400, str(error)) from None

    def one_by_one(self, inputs: Mapping[str, Array]) -> list[Array]:
        """As `run`, each row by itself: for files that round to what they find in a batch."""
        rows = rows_of(inputs)
        parts = [self.run({name: array[i : i + 1] for name, array in inputs.items()}) for i in range(rows)]
        return [np.concatenate(output) for output in zip(*parts, strict=True)]

    def fed(self, stored: Mapping[str, Array]) -> dict[str, Array]:
        """Inputs as they are stored -> what the graph takes; raises Malformed."""
        try:
            return self._opened.fed(stored)
        except BundleError as error:
            raise Malformed(str(error)) from None

    def unlike(self, other: Model) -> str | None:
        """What keeps another model from answering requests that were made for this one, told in its words; None for nothing."""

        def kinds(tensors: Sequence[Tensor]) -> list[tuple[object, ...]]:
            return [(t.name, t.datatype, t.shape[1:]) for t in tensors]

        if sorted(kinds(self.inputs)) != sorted(kinds(other.inputs)):
            return "inputs"
        if kinds(self.outputs) != kinds(other.outputs):
            return "outputs"
        if self.labels != other.labels:
            return "classes"
        before, after = ({key: model.settings.get(key) for key in _PREPARING} for model in (self, other))
        return "preprocessing" if before != after else None


def same_answers(model: Model, ours: Sequence[Array], theirs: Sequence[Array]) -> float:
    """Share of rows whose class is the same in both; of values, of rows whose outputs lie within 1 % of their length."""
    a, b = (np.hstack([x.reshape(len(x), -1).astype(np.float64) for x in outputs]) for outputs in (ours, theirs))
    if a.shape != b.shape or not len(a):
        return 0.0
    if model.labels:
        return float((a.argmax(1) == b.argmax(1)).mean())
    return float((np.linalg.norm(a - b, axis=1) <= 0.01 * np.linalg.norm(b, axis=1)).mean())


def _resident() -> int:
    return int(psutil.Process().memory_info().rss)


def json_of(value: Any) -> bytes:
    """A body of JSON; raises Refused where a number is none (NaN, infinite), which JSON cannot say."""
    try:
        return json.dumps(value, allow_nan=False).encode()
    except ValueError:
        raise Refused(
            500, "the model's answer holds NaN or infinite numbers, which JSON cannot say; ask for binary data"
        ) from None
