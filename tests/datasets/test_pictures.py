"""Uploads are read for what they are, and become what the dataset stores."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from engine.datasets import pictures
from engine.datasets.pictures import decode, enlarged, to_input, to_pixels
from engine.errors import InputError

UINT8 = np.zeros((2, 1, 28, 28), np.uint8)


def file_of(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def gradient(width: int = 40, height: int = 30) -> Image.Image:
    across = np.linspace(0, 255, width, dtype=np.uint8)
    return Image.fromarray(np.dstack([np.tile(across, (height, 1))] * 3))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_png_and_jpeg_are_read(kind):
    assert decode(file_of(gradient(), kind)).size == (40, 30)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GIF89a",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 40,
        b"\xff\xd8\xff\xe0" + b"\0" * 40,
        file_of(gradient(), "GIF"),
        file_of(gradient(), "BMP"),
        file_of(gradient(), "PNG")[:80],
        file_of(gradient(400, 300), "JPEG")[:900],
    ],
    ids=["empty", "a word", "svg", "png head", "jpeg head", "gif", "bmp", "cut png", "cut jpeg"],
)
def test_anything_else_is_one_clear_line(content):
    with pytest.raises(InputError, match="not a whole PNG or JPEG") as caught:
        decode(content)
    assert "\n" not in str(caught.value)
    assert "BytesIO" not in str(caught.value)


def test_a_file_that_is_too_heavy_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(pictures, "MOST_BYTES", 100)
    with pytest.raises(InputError, match="save it smaller"):
        decode(file_of(gradient()))


def test_a_small_file_that_claims_a_huge_picture_is_refused():
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(InputError, match=r"not a whole|60000 × 60000 pixels"):
        decode(bomb)


def test_more_pixels_than_the_cap_are_named(monkeypatch):
    monkeypatch.setattr(pictures, "MOST_PIXELS", 1_000)
    with pytest.raises(InputError, match="40 × 30 pixels"):
        decode(file_of(gradient()))


def test_a_turned_photo_is_put_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotate by a quarter
    assert decode(file_of(gradient(), "JPEG", exif=exif)).size == (30, 40)


def test_a_picture_becomes_what_the_dataset_stores():
    grey = to_input(gradient(), UINT8)
    assert (grey.shape, grey.dtype) == ((1, 1, 28, 28), np.uint8)
    assert grey[0, 0, 14, 0] < 40 < 210 < grey[0, 0, 14, -1]
    colour = to_input(gradient(), np.zeros((1, 3, 32, 24), np.uint8))
    assert colour.shape == (1, 3, 32, 24)


def test_proportions_stay_and_the_centre_is_kept():
    wide = Image.new("L", (300, 100), 0)
    wide.paste(200, (100, 0, 200, 100))
    assert (to_input(wide, UINT8) > 180).mean() > 0.95


def test_swap_turns_light_and_dark_around():
    plain, swapped = (to_input(gradient(), UINT8, swap).astype(int) for swap in (False, True))
    assert (plain + swapped == 255).all()


def test_see_through_is_white():
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    assert (to_input(clear, UINT8) == 255).all()


def test_floats_from_zero_to_one_are_scaled_and_others_are_refused():
    shares = np.linspace(0, 1, 28 * 28, dtype=np.float32).reshape(1, 1, 28, 28)
    made = to_input(gradient(), shares)
    assert made.dtype == np.float32
    assert 0 <= made.min() < 0.2 < 0.8 < made.max() <= 1
    with pytest.raises(InputError, match="from -3 to 3"):
        to_input(gradient(), shares * 6 - 3)


def test_two_channels_are_refused():
    with pytest.raises(InputError, match="2 channels"):
        to_input(gradient(), np.zeros((1, 2, 8, 8), np.uint8))


@pytest.mark.parametrize(("channels", "shape"), [(1, (4, 5)), (2, (4, 5)), (3, (4, 5, 3)), (4, (4, 5, 3))])
def test_inputs_can_be_looked_at(channels, shape):
    pixels = to_pixels(np.full((channels, 4, 5), 7, np.uint8), 0, 255)
    assert (pixels.shape, pixels.dtype, pixels.max()) == (shape, np.uint8, 7)


def test_floats_are_spread_over_grey():
    image = np.array([[[-1.0, 0.0, 1.0]]], np.float32)
    assert to_pixels(image, -1, 1).tolist() == [[0, 128, 255]]


def test_small_images_are_enlarged_in_blocks():
    large = enlarged(np.array([[0, 255]], np.uint8), 10)
    assert large.shape == (5, 10)
    assert set(large[:, :5].ravel()) == {0}


def test_what_is_no_picture_is_looked_at_as_strips():
    vector = to_pixels(np.linspace(0, 1, 64, dtype=np.float32), 0, 1)
    assert vector.shape == (16, 64)
    assert (np.diff(vector[0].astype(int)) >= 0).all()
    assert (vector[0, 0], vector[0, -1]) == (0, 255)
    series = to_pixels(np.stack([np.zeros(40), np.ones(40)]).astype(np.float32), 0, 1)
    assert series.shape == (10, 40)
    assert (series[:5] == 0).all()
    assert (series[5:] == 255).all()
