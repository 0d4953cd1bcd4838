"""A bundle's parts in memory, as a folder that its programs read."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.export.predict_template import Array, open_bundle, read_json
from engine.export.verify_template import read_sample

Made = tuple[dict[str, bytes], dict[str, Any], str]
"""What another runtime's form of a bundle is: the members of a zip, what there is to say about it as JSON, and the same in one line."""


@dataclass(frozen=True)
class Opened:
    """A bundle that is open: its folder, manifest, preprocessing, labels, ONNX Runtime's session, and its sample's inputs by name."""

    folder: Path
    manifest: dict[str, Any]
    settings: dict[str, Any]
    labels: tuple[str, ...]
    session: Any
    inputs: dict[str, Array]


@contextmanager
def opened(parts: Mapping[str, bytes]) -> Iterator[Opened]:
    """The parts in a temporary folder, which goes afterwards, and the model as it was measured; raises BundleError."""
    with tempfile.TemporaryDirectory(prefix="paretoscope-parts-") as name:
        folder = Path(name)
        for part, content in parts.items():
            (folder / part).write_bytes(content)
        manifest, settings = read_json(folder / "manifest.json"), read_json(folder / "preprocess.json")
        labels = tuple(parts["labels.txt"].decode().splitlines())
        session = open_bundle(folder, manifest)
        (inputs,) = read_sample(folder, settings, ())
        yield Opened(folder, manifest, settings, labels, session, inputs)
