"""Sound: read, resampled and turned to mel bands as independent references do, from class folders and arrays to predict.py."""

from __future__ import annotations

import io
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile
from scipy.signal import resample_poly

from engine.datasets import audio
from engine.datasets.load import load_dataset
from engine.errors import DatasetError, SpecError
from engine.graph.inputs import is_on_disk
from engine.spec.sections import Data
from engine.spec.sweep import parse_sweep
from tests.helpers.sounds import RATE, STATED, sine, sound_folders

RNG = np.random.default_rng(0)


def in_memory(rate: int, samples: np.ndarray) -> io.BytesIO:
    file = io.BytesIO()
    wavfile.write(file, rate, samples)
    file.seek(0)
    return file


@pytest.mark.parametrize(
    ("kind", "scale"), [(np.uint8, 128), (np.int16, 2**15), (np.int32, 2**31), (np.float32, 1), (np.float64, 1)]
)
def test_every_number_type_is_read_from_minus_one_to_one(kind, scale: float) -> None:
    if np.dtype(kind).kind == "f":
        samples = RNG.uniform(-1, 1, (50, 2)).astype(kind)
    else:
        samples = RNG.integers(np.iinfo(kind).min, np.iinfo(kind).max, (50, 2), endpoint=True, dtype=kind)
    found, rate = audio.read_wav(in_memory(RATE, samples))
    expected = (samples.astype(np.float64) - (128 if kind is np.uint8 else 0)) / scale
    assert rate == RATE
    np.testing.assert_allclose(found, expected.mean(1), atol=1e-7)


def test_24_bits_extensible_and_other_chunks_are_read() -> None:
    values = np.array([-(2**23), -1, 0, 1, 2**23 - 1, 1234567])
    body = b"".join(int(v).to_bytes(3, "little", signed=True) for v in values)
    about = struct.pack("<HHIIHHHHI", 0xFFFE, 1, RATE, 3 * RATE, 3, 24, 22, 24, 4) + struct.pack("<H", 1) + bytes(14)
    file = b"RIFF____WAVE" + b"LIST" + struct.pack("<I", 3) + b"abc\0" + b"fmt " + struct.pack("<I", 40) + about
    found, _ = audio.read_wav(io.BytesIO(file + b"data" + struct.pack("<I", 18) + body))
    np.testing.assert_allclose(found, values / 2**23, atol=1e-7)


@pytest.mark.parametrize(
    ("old", "new"), [(44_100, 16_000), (8000, 16_000), (16_000, 8000), (48_000, 16_000), (11_025, 8000)]
)
def test_rates_are_changed_as_scipy_does(old: int, new: int) -> None:
    sound = RNG.standard_normal(1777).astype(np.float32)
    common = math.gcd(old, new)
    expected = resample_poly(sound.astype(np.float64), new // common, old // common)
    found = audio.resampled(sound, old, new)
    assert found.shape == expected.shape == (audio.length_at(1777, old, new),)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("rate", "bands"), [(16_000, 64), (16_000, 40), (8000, 32), (22_050, 80)])
def test_mel_bands_are_those_of_torch(rate: int, bands: int) -> None:
    """Against torch.stft and the triangles of torchaudio's `melscale_fbanks(norm=None, mel_scale="htk")`, written out."""
    sounds = RNG.standard_normal((3, rate)).astype(np.float32)
    frame, hop = round(0.025 * rate), round(0.01 * rate)
    size = 2 ** math.ceil(math.log2(frame))
    # torch centres a window that is shorter than the FFT: as much before it is left out, and after it there.
    before = (size - frame) // 2
    padded = torch.nn.functional.pad(torch.from_numpy(sounds).double(), (before, size - frame - before))
    window = torch.hann_window(frame, periodic=True, dtype=torch.float64)
    power = torch.stft(padded, size, hop, frame, window, center=False, return_complex=True).abs() ** 2
    all_freqs = torch.linspace(0, rate // 2, size // 2 + 1, dtype=torch.float64)
    m_pts = torch.linspace(0.0, 2595.0 * math.log10(1.0 + (rate / 2) / 700.0), bands + 2, dtype=torch.float64)
    f_pts = 700.0 * (10.0 ** (m_pts / 2595.0) - 1.0)
    slopes = f_pts.unsqueeze(0) - all_freqs.unsqueeze(1)
    down, up = -slopes[:, :-2] / f_pts.diff()[:-1], slopes[:, 2:] / f_pts.diff()[1:]
    expected = torch.log(torch.einsum("nft,fb->nbt", power, torch.clamp(torch.minimum(down, up), min=0)) + 1e-6)
    found = audio.log_mels(sounds, rate, bands)
    assert found.shape == (3, 1, *expected.shape[1:])
    np.testing.assert_allclose(found[:, 0], expected.numpy(), atol=2e-4)
    # Each alone is the same to the bit.
    np.testing.assert_array_equal(audio.log_mels(sounds[1:2], rate, bands)[0], found[1])


def test_class_folders_of_sounds_are_read(tmp_path: Path) -> None:
    root = sound_folders(tmp_path / "s")
    wavfile.write(root / "low" / "0.wav", 16_000, np.stack([sine(300, 0.3, 16_000)] * 2, 1))
    data = load_dataset(Data(source=str(root), preprocess=STATED))
    assert data.classes == ("high", "low")
    assert data.input_shape == (1, 20, 38)
    assert not data.is_images
    assert data.sounds == STATED
    assert data.notes[:4] == (
        "1 of 40 sounds have several channels, of which the mean is taken",
        "1 of 40 sounds had another rate and were resampled to 8000 samples a second",
        "39 of 40 sounds are longer than the window, and lose their end",
        "1 of 40 sounds are shorter than the window, and end in zeros",
    )
    _, first = sorted((root / "high").iterdir())[:2]
    expected = audio.log_mels(audio.fitted(wavfile.read(first)[1][None], 3200), RATE, 20)[0]
    every = np.concatenate([getattr(data, s).inputs for s in ("train", "calibration", "validation", "test")])
    assert any(np.array_equal(expected, one) for one in every)
    # The loudest band tells the classes apart.
    loudest = data.train.inputs.mean(3).argmax(2)[:, 0]
    assert loudest[data.train.labels == 0].min() > loudest[data.train.labels == 1].max()
    # Where nothing is said and all are alike, samples are kept.
    wavfile.write(root / "low" / "0.wav", RATE, sine(300))
    plain = load_dataset(Data(source=str(root)))
    assert plain.input_shape == (1, 4000)
    assert plain.sounds == {"rate": RATE}


def test_many_sounds_stay_on_disk_and_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.datasets import load

    data = Data(source=str(sound_folders(tmp_path / "s")), preprocess=STATED)
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path / "home"))
    here = load_dataset(data)
    monkeypatch.setenv("PARETOSCOPE_IN_MEMORY_MB", "0")
    load._loaded.cache_clear()
    there = load_dataset(data)
    load._loaded.cache_clear()
    assert is_on_disk(there.train.inputs)
    np.testing.assert_array_equal(there.train.inputs[:], here.train.inputs)
    assert there.preprocessing == here.preprocessing


@pytest.mark.parametrize("channels", [(), (2,)])
def test_arrays_of_sounds_become_the_same(tmp_path: Path, channels: tuple[int, ...]) -> None:
    x = RNG.uniform(-1, 1, (60, *channels, 4000)).astype(np.float64)
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(60) % 3)
    data = load_dataset(Data(source=str(tmp_path / "d.npz"), preprocess=STATED))
    mono = x.mean(1) if channels else x
    expected = audio.log_mels(mono[:, :3200].astype(np.float32), RATE, 20)
    every = np.concatenate([getattr(data, s).inputs for s in ("train", "calibration", "validation", "test")])
    assert sorted(i.tobytes() for i in every) == sorted(i.tobytes() for i in expected)


def test_nothing_said_of_sound_leaves_keys_as_they_were() -> None:
    dumped = Data(source="p/", preprocess={"resize": 8}).model_dump(mode="json")["preprocess"]
    assert not {"rate", "window", "log_mel"} & {*dumped}
    assert Data(source="p/", preprocess=STATED).model_dump(mode="json")["preprocess"].items() >= STATED.items()


def test_wrong_sounds_are_refused_in_one_line(tmp_path: Path) -> None:
    root = sound_folders(tmp_path / "s")

    def refused(message: str, source: object = root, **stated) -> None:
        data = Data(source=str(source), preprocess=stated or None)
        with pytest.raises(DatasetError, match=message) as caught:
            load_dataset(data)
        assert "\n" not in str(caught.value)

    refused(r"400 is more than 8000 samples a second tell apart; give fewer", log_mel=400)
    refused(r"80 samples are shorter than a frame of 200; give a window of 0\.025 or more", window=0.01, log_mel=8)
    refused(r"holds no pictures", resize=8)
    refused(
        r"data\.preprocess\.rate is for sounds, but fashion_mnist holds none; leave it out", "fashion_mnist", rate=RATE
    )
    odd = root / "low" / "0.wav"
    wavfile.write(odd, 16_000, sine(300, rate=16_000))
    refused(r"has 16000 samples a second, .* 8000; say which rate|has 8000 samples a second, .* 16000; say which rate")
    wavfile.write(odd, RATE, sine(300, 0.3))
    refused(r"sounds differ in length: .* s; cut and fill them to one, for example preprocess: {window: 1\.0}")
    content = (root / "low" / "2.wav").read_bytes()
    for bad, message in (
        (content[:400], r"low/0\.wav is cut short; save it again"),
        (b"ID3" + content, r"low/0\.wav is no WAV file; convert it to one"),
        (
            content[:20] + b"\x55\0" + content[22:],
            r"low/0\.wav is compressed or of an unknown kind \(85, 32 bits\); save it as PCM",
        ),
        (content[:36], r"low/0\.wav is cut short, or holds no samples"),
    ):
        odd.write_bytes(bad)
        refused(message)
    wavfile.write(odd, RATE, np.full(4000, np.nan, np.float32))
    refused(r"low/0\.wav holds NaN or infinite values")
    np.savez(tmp_path / "d.npz", x=np.zeros((60, 4000), np.int16), y=np.arange(60) % 3)
    refused(r"d\.npz: x is int16 of shape \(60, 4000\); sounds are float32 from -1 to 1", tmp_path / "d.npz", rate=RATE)
    refused(
        r"d\.npz: x: how many samples a second nobody knows of an array; give data\.preprocess\.rate",
        tmp_path / "d.npz",
        log_mel=8,
    )
    with pytest.raises(SpecError, match="crop is for pictures, rate for sounds; give one of them"):
        parse_sweep({"model": {"source": "resnet8"}, "data": {"source": "s/", "preprocess": {"rate": 8000, "crop": 4}}})
