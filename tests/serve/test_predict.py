"""/predict: samples as they are stored, in every form, get the answers that predict.py gives; hostile bodies a line."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine.export.predict_template import BundleError, as_stored
from engine.serve.repository import Options
from tests.helpers.bundles import World
from tests.helpers.serving import posted, with_server


def npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)
    return file.getvalue()


def png(image: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(file, "png")
    return file.getvalue()


def classes_of(world: World, n: int) -> list[str]:
    weights = [world.data.preprocessing(world.data.test.inputs[:n])[:, 0, k].sum(1) for k in range(4)]
    return [world.data.classes[k] for k in np.argmax(weights, 0)]


@pytest.mark.parametrize("form", ["npy", "npz", "json", "picture"])
def test_the_same_samples_in_every_form(world: World, bundle: Path, form: str) -> None:
    x = world.data.test.inputs[:1]
    sent = {
        "npy": {"content": npy(x)},
        "npz": {"content": npz(x=x)},
        "json": {"json": {"inputs": x[0].tolist()}},
        "picture": {"content": png(x[0])},
    }[form]
    answer = posted({"net": bundle}, "/predict", **sent)
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["predictions"]
    assert prediction["class"] == classes_of(world, 1)[0] == prediction["top"][0]["class"]
    assert sum(one["share"] for one in prediction["top"]) == pytest.approx(1)


def test_many_samples_keep_their_order(world: World, bundle: Path) -> None:
    answer = posted({"net": bundle}, "/predict/net", content=npy(world.data.test.inputs[:150]))
    assert [one["class"] for one in answer.json()["predictions"]] == classes_of(world, 150)


def test_what_declares_more_than_it_is_is_refused_before_room_is_made(bundle: Path) -> None:
    declared = io.BytesIO()
    np.lib.format.write_array_header_1_0(declared, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)})
    inside, bomb = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(inside, "w") as archive:
        archive.writestr("x.npy", declared.getvalue())
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(8 << 20))
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"")))
    huge = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(held)) + name + held + struct.pack(">I", zlib.crc32(name + held)) for name, held in chunks
    )

    async def ask(client: Any) -> list[Any]:
        bodies = (declared.getvalue(), inside.getvalue(), bomb.getvalue(), huge, b"x" * 2_000_000)
        return [await client.post("/predict", content=body) for body in bodies]

    answers = with_server({"net": bundle}, ask, options=Options(body=1_000_000))
    assert [a.status_code for a in answers] == [400, 400, 413, 413, 413], [a.text for a in answers]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"hello", 415),
        (b"{", 400),
        (b"[]", 400),
        (b'{"inputs": 3}', 400),
        (b'{"inputs": [[1], [2, 3]]}', 400),
        (b"\x93NUMPY", 400),
        (b"PK\x03\x04", 400),
        (npy(np.zeros((1, 3, 5, 6), np.float32)), 400),
        (npy(np.zeros((1, 3, 5, 7), np.uint8)), 400),
        (npy(np.zeros((0, 3, 5, 6), np.uint8)), 400),
        (npy(np.uint8(3)), 400),
        (npz(other=np.zeros(3)), 400),
    ],
)
def test_bodies_that_are_no_samples(bundle: Path, body: bytes, status: int) -> None:
    answer = posted({"net": bundle}, "/predict", content=body)
    assert answer.status_code == status
    assert answer.json()["error"]


def test_several_models_are_asked_by_name(bundle: Path) -> None:
    answer = posted({"a": bundle, "b": bundle}, "/predict", content=b"x")
    assert answer.status_code == 404
    assert "/predict/a" in answer.json()["error"]


@pytest.mark.parametrize(("given", "stored"), [("float32", "int64"), ("complex64", "float32"), ("uint8", "float32")])
def test_numbers_of_another_kind_are_refused_and_not_cut(given: str, stored: str) -> None:
    settings = {"stored_dtype": stored, "stored_shape": [4]}
    assert as_stored(np.ones((2, 4), stored), settings, "x.npy").dtype == stored
    with pytest.raises(BundleError, match=f"inputs are {given}, but this model was measured on {stored}"):
        as_stored(np.ones((2, 4), given), settings, "x.npy")
