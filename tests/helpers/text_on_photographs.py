"""Lines of text drawn on photographs, and boxes around them out of a text detector's map.

The folder of photographs (package scikit-image's skimage/data) is that of the environment's PHOTOGRAPHS.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

FONTS = Path("/usr/share/fonts/truetype/dejavu")  # Debian's fonts-dejavu
SIDE = 224
SPLITS = {"train": 20, "calibration": 32, "val": 40, "test": 100}
LOOKED_AT = ("astronaut", "chelsea", "motorcycle_left", "camera", "brick")
OTHERS = ("coffee", "rocket", "ihc", "retina", "gravel", "grass")
WORDS = (
    "river", "station", "market", "open", "closed", "coffee", "street", "garden", "price", "number", "winter",
    "summer", "lamp", "paper", "window", "Berlin", "London", "Tokyo", "2024", "1987", "sale", "exit", "push",
    "pull", "light", "heavy", "silver", "copper", "music", "train", "ticket", "seven", "eleven", "bread", "water",
    "north", "south", "harbour", "engine", "signal", "measure", "bridge", "school", "doctor", "office", "press",
    "daily", "second", "minute",
)  # fmt: skip


def pictures(n: int, seed: int, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(n, 224, 224, 3) pixels, and (n, 224, 224), the number of the line within whose box a pixel is, 0 outside all.

    Text of 13 to 33 pixels in DejaVu fonts, 90 to 160 grey levels off what is behind it; a third of the pictures have a plain
    ground. Noise has a deviation of up to 12.
    """
    rng = np.random.default_rng(seed)
    fonts = sorted(FONTS.glob("*.ttf"))
    folder = Path(os.environ["PHOTOGRAPHS"])
    photographs = [Image.open(next(folder.glob(f"{name}.*"))).convert("RGB") for name in names]
    x, y = np.zeros((n, SIDE, SIDE, 3), np.uint8), np.zeros((n, SIDE, SIDE), np.uint8)
    for i in range(n):
        whole = photographs[rng.integers(len(photographs))]
        size = int(rng.integers(120, min(whole.size)))
        left, top = (int(rng.integers(0, side - size)) for side in whole.size)
        page = whole.crop((left, top, left + size, top + size)).resize((SIDE, SIDE))
        if rng.random() < 1 / 3:
            page = Image.new("RGB", (SIDE, SIDE), tuple(int(v) for v in rng.integers(180, 256, 3)))
        draw, down, lines = ImageDraw.Draw(page), int(rng.integers(4, 40)), 0
        while down < SIDE - 30:
            tall = int(rng.integers(13, 34))
            font = ImageFont.truetype(str(fonts[rng.integers(len(fonts))]), tall)
            text, at = " ".join(rng.choice(WORDS, int(rng.integers(1, 3)))), (int(rng.integers(4, 50)), down)
            x0, y0, x1, y1 = map(int, draw.textbbox(at, text, font=font))
            if x1 < SIDE - 4 and y1 < SIDE - 4:
                ground = np.asarray(page.convert("L"), float)[y0:y1, x0:x1].mean()
                shade = int(np.clip(ground + (1 if ground < 128 else -1) * rng.uniform(90, 160), 0, 255))
                draw.text(at, text, font=font, fill=(shade, shade, shade))
                lines += 1
                y[i, y0:y1, x0:x1] = lines
            down += tall + int(rng.integers(6, 40))
        noisy = np.asarray(page, float) + rng.normal(0, rng.uniform(0, 12), (SIDE, SIDE, 3))
        x[i] = np.clip(noisy, 0, 255).astype(np.uint8)
    return x, y


def load() -> dict[str, np.ndarray]:
    """Arrays of a sweep; photographs of the test split are in no other."""
    found = {}
    for seed, (split, n) in enumerate(SPLITS.items()):
        found[f"x_{split}"], found[f"y_{split}"] = pictures(n, seed, LOOKED_AT if split == "test" else OTHERS)
    return found


def boxes(shrunken: np.ndarray) -> np.ndarray:
    """(k, 4) top, left, bottom, right of what a map (h, w) has above 0.3, moved out by 1.6 times area over perimeter (Liao, 2020)."""
    found = []
    for rows, columns in ndimage.find_objects(ndimage.label(shrunken > 0.3)[0]):
        tall, wide = rows.stop - rows.start, columns.stop - columns.start
        if min(tall, wide) >= 3:
            out = 1.6 * tall * wide / (2 * (tall + wide))
            found.append((rows.start - out, columns.start - out, rows.stop + out, columns.stop + out))
    return np.array(found, float).reshape(-1, 4)


def lines_found(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """F1 of each picture's lines: a box finds a line where they have half of their union in common."""
    scores = []
    for shrunken, lines in zip(outputs.reshape(targets.shape), targets, strict=True):
        places = [(r.start, c.start, r.stop, c.stop) for r, c in ndimage.find_objects(lines.astype(int))]
        true, found = np.array(places, float).reshape(-1, 4), boxes(shrunken)
        least, most = np.minimum(found[:, None, 2:], true[:, 2:]), np.maximum(found[:, None, :2], true[:, :2])
        common = np.maximum(0, least - most).prod(-1)
        sizes = [(b[:, 2:] - b[:, :2]).prod(-1) for b in (found, true)]
        pairs = int((common >= 0.5 * (sizes[0][:, None] + sizes[1] - common)).sum())
        both = len(found) + len(true)
        scores.append(2 * pairs / both if both else 1.0)
    return np.array(scores)
