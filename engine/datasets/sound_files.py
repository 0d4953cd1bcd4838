"""WAV files -> items of one shape, as `audio.py` prepares them: headers first, then each file once, straight into its place."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

from engine.datasets import audio
from engine.datasets.cache import cached
from engine.datasets.file_hash import file_sha256
from engine.datasets.items import Chosen, Hashes
from engine.errors import DatasetError
from engine.graph.on_disk import OnDisk
from engine.spec.canonical import digest
from engine.spec.sections import Data

SUFFIXES = {".wav"}
_PART_BYTES = 64 << 20

T = TypeVar("T")
File = tuple[str, Path]
"""What messages call it, and where it is."""


@dataclass(frozen=True)
class Sounds:
    """Sounds that are to be read as (1, samples), or (1, bands, frames), of `rate` samples a second."""

    files: tuple[File, ...]
    shape: tuple[int, ...]
    settings: tuple[tuple[str, Any], ...]

    def __len__(self) -> int:
        return len(self.files)

    def hashes(self) -> Hashes:
        """Of the files' bytes: the same sound saved in another way counts as another."""
        return np.array([bytes.fromhex(_sha256(file))[:16] for file in self.files], "S16")

    def read(self, chosen: Chosen | None) -> audio.Sound:
        """The chosen, prepared; raises DatasetError for what cannot be read."""
        numbers = range(len(self.files)) if chosen is None else chosen.tolist()
        settings = dict(self.settings)
        found = np.empty((len(numbers), *self.shape), np.float32)
        for place, number in enumerate(numbers):
            found[place] = _told(self.files[number], lambda file: audio.file_prepared(file, settings))[0]
        return found

    @property
    def nbytes(self) -> int:
        """What all take once they are read."""
        return len(self.files) * math.prod(self.shape) * 4

    def on_disk(self, what: str) -> OnDisk:
        """All of them, prepared into a file of the cache where it is not there yet; raises DatasetError, also without room."""
        made_of = [[_sha256(file) for file in self.files], self.shape, self.settings, _own_code()]
        header = (len(self.files), *self.shape), np.dtype(np.float32)
        return cached(digest(["sounds", *made_of]), self.nbytes, what, self._write, header)

    def _write(self, file: IO[bytes]) -> None:
        step = max(1, _PART_BYTES // (4 * math.prod(self.shape)))
        for start in range(0, len(self.files), step):
            file.write(self.read(np.arange(start, min(start + step, len(self.files)))).data)


@cache
def _own_code() -> str:
    return hashlib.sha256(Path(audio.__file__).read_bytes()).hexdigest()


def _sha256(file: File) -> str:
    return file_sha256(file[1], file[0], "give the path of a WAV file")


def _told(file: File, read: Callable[[IO[bytes]], T]) -> T:
    """What is read of a file; what goes wrong is one line with its name."""
    name, path = file
    try:
        with path.open("rb") as opened:
            return read(opened)
    except audio.AudioError as error:
        raise DatasetError(f"{name} {error}") from None
    except OSError as error:
        raise DatasetError(f"{name} cannot be read ({error.strerror}); make it readable, or remove it") from None


def look_at_sounds(groups: dict[str, list[File]], data: Data) -> tuple[dict[str, Sounds], tuple[str, ...]]:
    """Sounds of each split as items of one shape, and what was decided; reads headers alone.

    Raises DatasetError for what is no WAV file of plain numbers, and for rates or lengths that differ where nothing says what to make of
    them.
    """
    if data.kind is not None:
        raise DatasetError(f"data.kind is {data.kind}, but {data.source} holds sounds; leave it out")
    every = [file for group in groups.values() for file in group]
    headers = [_told(file, audio.WavHeader) for file in every]
    stated = data.preprocess.audio if data.preprocess else {}
    rate = stated.get("rate") or headers[0].rate
    other = next((i for i, h in enumerate(headers) if h.rate != rate), None)
    if other is not None and "rate" not in stated:
        raise DatasetError(
            f"{every[other][0]} has {headers[other].rate} samples a second, {every[0][0]} {rate}; say which rate all are to have: "
            f"preprocess: {{rate: {rate}}}"
        )
    lengths = [audio.length_at(h.samples, h.rate, rate) for h in headers]
    wanted = round(stated["window"] * rate) if "window" in stated else lengths[0]
    other = next((i for i, n in enumerate(lengths) if n != wanted), None)
    if other is not None and "window" not in stated:
        raise DatasetError(
            f"sounds differ in length: {every[0][0]} has {wanted / rate:.3g} s, {every[other][0]} {lengths[other] / rate:.3g} s; cut and "
            "fill them to one, for example preprocess: {window: 1.0}"
        )
    settings = {**stated, "rate": rate}
    try:
        shape = audio.prepared(np.zeros((1, wanted), np.float32), settings).shape[1:]
    except audio.AudioError as error:
        raise DatasetError(f"data.preprocess: {error}") from None
    notes = (
        (sum(h.channels > 1 for h in headers), "have several channels, of which the mean is taken"),
        (sum(h.rate != rate for h in headers), f"had another rate and were resampled to {rate} samples a second"),
        (sum(n > wanted for n in lengths), "are longer than the window, and lose their end"),
        (sum(n < wanted for n in lengths), "are shorter than the window, and end in zeros"),
    )
    sounds = {s: Sounds(tuple(group), shape, tuple(settings.items())) for s, group in groups.items()}
    return sounds, tuple(f"{n} of {len(every)} sounds {what}" for n, what in notes if n)
