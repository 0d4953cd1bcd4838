"""Zips that are no sound bundle, or mean harm."""

from __future__ import annotations

import shutil
import warnings
import zipfile

import pytest

from engine.errors import InputError
from engine.export import zips
from engine.export.bundle import verify_bundle
from tests.helpers.bundles import (
    World,
    replace_part,
)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"__escaped_txt": b"x"}, "no part of a bundle"),
        ({"..__escaped_txt": b"x"}, "no part of a bundle"),
        ({"folder__model_onnx": b"x"}, "no part of a bundle"),
        ({"extra_py": b"x"}, "no part of a bundle"),
        ({"model_onnx": None}, "model.onnx missing"),
        ({"manifest_json": b"{"}, "manifest.json cannot be read"),
        ({"manifest_json": b"[]"}, "not a JSON object"),
        ({"manifest_json": b'{"format": 99}'}, "format 99"),
        ({"manifest_json": b'{"format": 4}'}, "lacks what is needed"),
        ({"preprocess_json": b"\xff"}, "preprocess.json cannot be read"),
        ({"model_onnx": b"junk"}, "cannot be loaded by onnxruntime"),
        ({"sample_npz": b"junk"}, "sample.npz is not a usable"),
    ],
)
def test_a_zip_that_is_no_sound_bundle_is_one_clear_line(
    world: World, parts: dict[str, bytes | None], message: str
) -> None:
    bad = replace_part(world.write(), world.folder / "bad.zip", **parts)
    with pytest.raises(InputError, match=message) as raised:
        verify_bundle(bad)
    assert "\n" not in str(raised.value)
    assert not [p for p in (world.folder, world.folder.parent) if (p / "escaped.txt").exists()]


def test_files_that_are_no_zip_are_one_clear_line(world: World) -> None:
    with pytest.raises(InputError, match="does not exist"):
        verify_bundle(world.folder / "none.zip")
    with pytest.raises(InputError, match="not a readable zip"):
        verify_bundle(world.folder)
    (world.folder / "text.zip").write_text("hello")
    with pytest.raises(InputError, match="not a readable zip"):
        verify_bundle(world.folder / "text.zip")
    whole = world.write().read_bytes()
    (world.folder / "half.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="not a readable zip"):
        verify_bundle(world.folder / "half.zip")


def test_a_flipped_byte_inside_the_zip_is_found(world: World) -> None:
    content = bytearray(world.write().read_bytes())
    content[len(content) // 2] ^= 0xFF
    (world.folder / "flipped.zip").write_bytes(content)
    with pytest.raises(InputError, match="not a readable zip"):
        verify_bundle(world.folder / "flipped.zip")


def test_a_zip_bomb_is_refused_before_it_is_unpacked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = replace_part(world.write(), world.folder / "bomb.zip", model_onnx=bytes(3 << 20))
    monkeypatch.setattr(zips, "RATIO_FREE_BYTES", 1 << 20)
    monkeypatch.setattr(zips, "MAX_RATIO", 10)
    monkeypatch.setattr(shutil, "copyfileobj", lambda *_: pytest.fail("unpacked"))
    with pytest.raises(InputError, match="would unpack to 3 MB"):
        verify_bundle(bomb)
    monkeypatch.setattr(zips, "MAX_UNPACKED_BYTES", 1 << 20)
    monkeypatch.setattr(zips, "MAX_RATIO", 10_000)
    with pytest.raises(InputError, match="would unpack to 3 MB"):
        verify_bundle(bomb)


def test_parts_twice_and_links_are_refused(world: World) -> None:
    bundle = world.write()
    twice = shutil.copy(bundle, world.folder / "twice.zip")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of the duplicate that this test is about
        with zipfile.ZipFile(twice, "a") as archive:
            archive.writestr("card.md", "another")
    with pytest.raises(InputError, match="twice"):
        verify_bundle(twice)
    with zipfile.ZipFile(bundle) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(world.folder / "link.zip", "w") as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o120777 if name == "labels.txt" else 0o100644) << 16
            archive.writestr(info, content)
    with pytest.raises(InputError, match="link"):
        verify_bundle(world.folder / "link.zip")


def test_code_in_the_zip_is_not_run(world: World) -> None:
    marker = world.folder / "ran"
    evil = f"open({str(marker)!r}, 'w')".encode()
    report = verify_bundle(replace_part(world.write(), world.folder / "evil.zip", verify_py=evil))
    assert not report.ok
    assert not marker.exists()
