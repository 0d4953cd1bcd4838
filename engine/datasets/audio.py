"""Sound -> what a network reads of it: one channel, one rate, one length, and the logarithms of its mel bands.

Standard library and numpy alone: this text is part of every bundle's predict.py, so that what was measured is what is done there.

Several channels become their mean. Another rate becomes the stated one through a windowed sinc (Kaiser, beta 5, ten zeros a side: what
`scipy.signal.resample_poly` does by itself). Of what is longer than the window its beginning is taken, what is shorter ends in zeros.
Bands: frames of 25 ms every 10 ms, none beyond the ends, a periodic Hann window, the power of an FFT of the next power of two, triangles
between 0 and half the rate that are evenly spaced in mels (HTK: 2595 log10(1 + f / 700)) and 1 high, and the natural logarithm of 1e-6
more than their sums.
"""

from __future__ import annotations

import math
import struct
from typing import IO, Any

import numpy as np
import numpy.typing as npt

Sound = npt.NDArray[np.float32]
FRAME_S, HOP_S, FLOOR = 0.025, 0.010, 1e-6
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_KINDS = {
    (_PCM, 8): "u1",
    (_PCM, 16): "<i2",
    (_PCM, 24): "u1",
    (_PCM, 32): "<i4",
    (_FLOAT, 32): "<f4",
    (_FLOAT, 64): "<f8",
}


class AudioError(Exception):
    """A sound that cannot be read, or not be prepared so; what is wrong and what to do, without the file's name."""


class WavHeader:
    """What a WAV file says of itself: channels, samples a second, samples of each channel, and where and how they are written."""

    def __init__(self, file: IO[bytes]) -> None:
        """Reads the header alone; raises AudioError for what is no WAV file of plain numbers."""
        if file.read(4) != b"RIFF" or len(file.read(4)) < 4 or file.read(4) != b"WAVE":
            raise AudioError("is no WAV file; convert it to one")
        kind, self.channels, self.rate, self.bits = 0, 0, 0, 0
        while len(head := file.read(8)) == 8:
            name, size = struct.unpack("<4sI", head)
            if name == b"fmt ":
                body = file.read(size + size % 2)
                if len(body) < 16:
                    break
                kind, self.channels, self.rate, _, _, self.bits = struct.unpack("<HHIIHH", body[:16])
                if kind == _EXTENSIBLE and len(body) >= 26:
                    kind = struct.unpack("<H", body[24:26])[0]
            elif name == b"data":
                self.at = file.tell()
                break
            else:
                file.seek(size + size % 2, 1)
        else:
            raise AudioError("is cut short, or holds no samples; save it again")
        self.form = kind, self.bits
        if self.form not in _KINDS or not self.channels or not self.rate:
            raise AudioError(f"is compressed or of an unknown kind ({kind}, {self.bits} bits); save it as PCM or float")
        step = self.channels * self.bits // 8
        there = file.seek(0, 2) - self.at
        # What is written as it comes states no length, or the largest.
        if size > there and size < 0x7FFFFF00:
            raise AudioError("is cut short; save it again")
        self.samples = min(size, there) // step
        if not self.samples:
            raise AudioError("holds no samples; remove it")


def read_wav(file: IO[bytes]) -> tuple[Sound, int]:
    """The sound (samples,), the mean of its channels, integers from -1 to 1, and samples a second; raises AudioError."""
    about = WavHeader(file)
    kind, bits = about.form
    file.seek(about.at)
    raw = np.frombuffer(file.read(about.samples * about.channels * bits // 8), _KINDS[about.form])
    if (kind, bits) == (_PCM, 8):
        values = (raw.astype(np.float64) - 128) / 128
    elif (kind, bits) == (_PCM, 24):
        padded = np.zeros((len(raw) // 3, 4), np.uint8)
        padded[:, 1:] = raw.reshape(-1, 3)
        values = padded.reshape(-1).view("<i4") / 2.0**31
    else:
        values = raw / 2.0 ** (bits - 1) if kind == _PCM else raw.astype(np.float64)
    if not np.isfinite(values).all():
        raise AudioError("holds NaN or infinite values; save it again")
    return values.reshape(-1, about.channels).mean(1).astype(np.float32), about.rate


def length_at(samples: int, old: int, new: int) -> int:
    """Samples of a sound once its rate is another."""
    return -(-samples * new // old)


def resampled(sound: Sound, old: int, new: int) -> Sound:
    """A sound (samples,) of `old` samples a second with `new` of them."""
    if old == new:
        return sound
    up, down = new // math.gcd(old, new), old // math.gcd(old, new)
    most = max(up, down)
    if most > 100_000:
        raise AudioError(f"has {old} samples a second, which share no factor with {new}; resample it yourself")
    half = 10 * most
    place = np.arange(-half, half + 1)
    taps = np.sinc(place / most) * np.kaiser(2 * half + 1, 5.0)
    taps *= up / taps.sum()
    # Sample m is at m * down of the sound with up - 1 zeros after each sample; of each phase every up-th tap meets a sample.
    wanted = np.arange(length_at(len(sound), old, new)) * down + half
    found = np.empty(len(wanted), np.float64)
    reach = -(-len(taps) // up)
    padded = np.concatenate([np.zeros(reach), sound.astype(np.float64), np.zeros(reach + half // up + 1)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach)
    for phase in range(up):
        mine = np.flatnonzero(wanted % up == phase)
        own = np.zeros(reach)
        some = taps[phase::up]
        own[: len(some)] = some
        # The newest sample goes with the first tap.
        found[mine] = windows[wanted[mine] // up + 1] @ own[::-1]
    return found.astype(np.float32)


def fitted(sounds: Sound, samples: int) -> Sound:
    """Sounds (n, samples) of so many: their beginning, or zeros after their end."""
    short = samples - sounds.shape[1]
    return sounds[:, :samples] if short <= 0 else np.pad(sounds, ((0, 0), (0, short)))


def bands_of(rate: int, bands: int) -> npt.NDArray[np.float64]:
    """(frequencies of the FFT, bands); raises AudioError where a band would hold none of them."""
    size = 1 << (round(FRAME_S * rate) - 1).bit_length()
    frequencies = np.linspace(0, rate / 2, size // 2 + 1)
    mels = np.linspace(0, 2595 * math.log10(1 + rate / 2 / 700), bands + 2)
    ends = 700 * (10 ** (mels / 2595) - 1)
    rising = (frequencies[:, None] - ends[None, :-2]) / np.diff(ends)[None, :-1]
    falling = (ends[None, 2:] - frequencies[:, None]) / np.diff(ends)[None, 1:]
    found = np.maximum(0, np.minimum(rising, falling))
    if (found.sum(0) == 0).any():
        raise AudioError(f"log_mel {bands} is more than {rate} samples a second tell apart; give fewer")
    return found


def log_mels(sounds: Sound, rate: int, bands: int) -> Sound:
    """Sounds (n, samples) -> (n, 1, bands, frames); the same for each whatever else is among them. Raises AudioError."""
    frame, hop, weights = round(FRAME_S * rate), round(HOP_S * rate), bands_of(rate, bands)
    if sounds.shape[1] < frame:
        raise AudioError(
            f"{sounds.shape[1]} samples are shorter than a frame of {frame}; give a window of 0.025 or more"
        )
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(frame) / frame)
    found = np.empty((len(sounds), 1, bands, 1 + (sounds.shape[1] - frame) // hop), np.float32)
    for place, sound in enumerate(sounds):
        frames = np.lib.stride_tricks.sliding_window_view(sound.astype(np.float64), frame)[::hop] * hann
        power = np.abs(np.fft.rfft(frames, 2 * (len(weights) - 1))) ** 2
        found[place, 0] = np.log(power @ weights + FLOOR).T
    return found


def prepared(sounds: Sound, settings: dict[str, Any]) -> Sound:
    """Sounds (n, samples) of the stated rate -> (n, 1, samples), or (n, 1, bands, frames). Raises AudioError.

    `settings`: `rate`, `window` in seconds, `log_mel`; what is not said is None.
    """
    rate, window, bands = int(settings["rate"]), settings.get("window"), settings.get("log_mel")
    if window is not None:
        sounds = fitted(sounds, round(window * rate))
    return sounds[:, None] if bands is None else log_mels(sounds, rate, bands)


def file_prepared(file: IO[bytes], settings: dict[str, Any]) -> Sound:
    """A WAV file as `prepared` makes it, (1, 1, …); without a stated rate it keeps its own. Raises AudioError."""
    sound, rate = read_wav(file)
    wanted = settings.get("rate") or rate
    return prepared(resampled(sound, rate, wanted)[None], {**settings, "rate": wanted})


def array_prepared(array: npt.NDArray[Any], settings: dict[str, Any]) -> Sound:
    """As `prepared`, of an array (n, samples) or (n, channels, samples) of floats of the stated rate."""
    if array.dtype.kind != "f" or array.ndim not in (2, 3):
        raise AudioError(
            f"is {array.dtype} of shape {array.shape}; sounds are float32 from -1 to 1, (n, samples) or (n, channels, samples)"
        )
    mono = array if array.ndim == 2 else array.mean(1, dtype=np.float64)
    return prepared(mono.astype(np.float32), settings)
