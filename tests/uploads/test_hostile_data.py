"""Data that mean harm: one line each, and nothing left behind."""

from __future__ import annotations

import io
import pickle
import struct
import warnings
import zipfile
import zlib

import numpy as np
import pytest
import torch

from engine.uploads import bounds, npz_file, picture_zip
from engine.uploads.bounds import Refused
from tests.helpers.uploads import npz, picture, refusal, zipped

pytestmark = pytest.mark.usefixtures("home")


def member(name: str, mode: int = 0o100644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("../../escaped.png", "leads out of the folder"),
        ("a/../../escaped.png", "leads out of the folder"),
        ("/tmp/escaped.png", "leads out of the folder"),
        ("..\\escaped.png", "no name needs"),
        ("C:escaped.png", "no name needs"),
        ("a\n.png", "no name needs"),
        ("x" * 250 + ".png", "more than 200"),
        ("/".join("abcdefghij") + ".png", "folders deep"),
    ],
)
def test_names_that_lead_elsewhere(name: str, says: str) -> None:
    assert says in refusal(zipped([(name, picture()), ("b.png", picture())]))


def test_a_name_with_a_nul_that_hides_its_end() -> None:
    content = zipped({"a.png_evil.py": picture()}).replace(b"a.png_evil.py", b"a.png\0evil.py")
    assert "no name needs" in refusal(content)


@pytest.mark.parametrize(("mode", "says"), [(0o120777, "a link"), (0o010644, "no plain file")])
def test_links_and_pipes(mode: int, says: str) -> None:
    assert says in refusal(zipped([(member("a.png", mode), b"/etc/passwd")]))


def test_archives_within_and_files_that_are_no_pictures() -> None:
    inner = zipped({"a.png": picture()})
    assert "another archive, 'more.zip'" in refusal(zipped({"a.png": picture(), "more.zip": inner}))
    assert "'run.py', which is no picture" in refusal(zipped({"a.png": picture(), "run.py": b"import os"}))
    assert "'a.png', which is no whole picture" in refusal(zipped({"a.png": b"import os"}))
    assert "holds a network, 'net.onnx'" in refusal(zipped({"net.onnx": b"x"}))


def test_a_member_twice_locked_or_oddly_packed() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of the duplicate that this test is about
        assert "'a.png' twice" in refusal(zipped([("a.png", picture()), ("a.png", picture(1))]))
    locked = bytearray(zipped({"a.png": picture()}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        locked[locked.index(mark) + at] |= 1
    assert "locked with a password" in refusal(bytes(locked))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a.png", picture())
    assert "packed in a way that is not read" in refusal(file.getvalue())


def test_a_zip_cut_short_or_with_a_flipped_byte() -> None:
    whole = zipped({"a.png": picture(side=40)})
    assert "damaged zip" in refusal(whole[: len(whole) // 2])
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    assert "damaged zip" in refusal(bytes(flipped))


def test_a_bomb_is_refused_by_what_it_declares() -> None:
    bomb = zipped({"a.png": bytes(300 << 20)})
    assert len(bomb) < 1 << 20
    assert "times its size, as no data do" in refusal(bomb)


def test_bytes_and_files_beyond_the_bounds(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """Here in this process, whose bounds a test can lower."""
    path = tmp_path / "x.zip"
    path.write_bytes(zipped({f"{n}.png": picture(n) for n in range(5)}))

    def refused() -> str:
        with pytest.raises(Refused) as raised:
            picture_zip.unpack(path, tmp_path / "out", lambda share: None)
        return str(raised.value)

    monkeypatch.setattr(bounds, "MOST_PIXELS", 63)
    assert "8 × 8 pixels" in refused()
    monkeypatch.setattr(bounds, "MOST_PIXELS_TOGETHER", 100)
    monkeypatch.setattr(bounds, "MOST_PIXELS", 64)
    (tmp_path / "out").rename(tmp_path / "before")
    assert "pixels together" in refused()
    monkeypatch.setattr(bounds, "MOST_UNPACKED", 100)
    assert "would unpack to" in refused()
    monkeypatch.setattr(bounds, "MOST_MEMBERS", 4)
    assert "holds 5 files" in refused()


def test_a_picture_that_says_it_is_huge() -> None:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 9000, 9000, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    )
    assert "9000 × 9000 pixels" in refusal(zipped({"a.png": bomb}))


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('ran')",))


def test_pickles_in_any_dress() -> None:
    assert "is a Python pickle, which could run code" in refusal(pickle.dumps(_Evil()))
    objects = io.BytesIO()
    np.savez(objects, x=np.array([_Evil()], object), y=np.zeros(1))
    assert "'x', an array of Python objects (a pickle), which could run code" in refusal(objects.getvalue())
    saved = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, saved)
    assert "torch.save, a pickle" in refusal(saved.getvalue(), "model")


def header_of(shape: str, descr: str = "'<f4'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"
    text += " " * (63 - (10 + len(text)) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (header_of("(1000000000000, 3)") + bytes(12), "says that it has 12 TB but has 12 bytes"),
        (header_of("(2, 3)") + bytes(40), "says that it has 24 bytes but has 40 bytes"),
        (header_of("(-1, 3)") + bytes(12), "impossible shape"),
        (header_of("(1,1,1,1,1,1,1,1,1)") + bytes(4), "impossible shape"),
        (header_of("(0, 1000000000000)"), "empty but not small"),
        (header_of("(1,)", "[('a', '<f4'), ('b', '<i4')]") + bytes(8), "no plain numbers"),
        (header_of("(1,)", "'<c8'") + bytes(8), "no plain numbers"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535, "which is no array"),
        (b"no array", "which is no array"),
    ],
)
def test_arrays_that_are_not_what_they_say(content: bytes, says: str) -> None:
    assert says in refusal(zipped({"x.npy": content}))


def test_arrays_beside_other_things_and_none_at_all() -> None:
    sound = npz(x=np.zeros(3))
    with zipfile.ZipFile(io.BytesIO(sound)) as archive:
        array = archive.read("x.npy")
    assert "'run.py' beside arrays" in refusal(zipped({"x.npy": array, "run.py": b"import os"}))
    assert "empty zip" in refusal(zipped({}))
    assert "is empty" in refusal(b"")


def test_sound_arrays_are_looked_at_to_their_end(tmp_path) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(npz(x=np.zeros((3, 2), np.uint8), names=np.array(["a", "b"])))
    assert npz_file.look_at(path, lambda share: None) == {"arrays": {"x": "3×2 uint8", "names": "2 <U1"}}


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"\x1f\x8b\x08", "gzip"), (b"\x89HDF\r\n", "HDF5"), (b"\x93NUMPY", "one array"), (b"\x89PNG\r\n", "one picture"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"), (b"\x14\0\0\0TFL3", "TensorFlow Lite"),
        (b"\x40\0\0\0\0\0\0\0{\"w\":", "safetensors"), (b"hello", "none of: an ONNX file"),
    ],
)  # fmt: skip
def test_files_of_other_kinds_are_told_by_name(head: bytes, says: str) -> None:
    assert says in refusal(head + bytes(100))
