"""Shapes in words, for messages about images, vectors and whatever else networks read."""

from __future__ import annotations

from engine.errors import StepError
from engine.graph.inputs import Shape, Signature

_NOUNS = {1: "vector", 2: "series", 3: "image"}


def shape_text(shape: tuple[int, ...]) -> str:
    """`3×32×32`."""
    return "×".join(map(str, shape))


def noun(shape: Shape, n: int = 2) -> str:
    """What one item of this shape, its batch axis left out, is called, in the plural where there are several."""
    if isinstance(shape, Signature):
        return "sample" if n == 1 else "samples"
    word = _NOUNS.get(len(shape), "input")
    return word if n == 1 or word == "series" else f"{word}s"


def inputs_text(shape: Shape) -> str:
    """`3×32×32 images`, `vectors of 20 numbers`, `9×128 series`, `samples of tokens int64 (N, 16) and mask int64 (N, 16)`."""
    if isinstance(shape, Signature):
        return f"samples of {batch_text(shape)}"
    return f"vectors of {shape[0]} numbers" if len(shape) == 1 else f"{shape_text(shape)} {noun(shape)}"


def batch_text(shape: Shape) -> str:
    """`(N, 3, 32, 32)`, `tokens int64 (N, 16) and mask int64 (N, 16)`."""
    if isinstance(shape, Signature):
        return " and ".join(f"{name} {kind} {batch_text(axes)}".strip() for name, axes, kind in shape.tensors)
    return f"(N, {', '.join(map(str, shape))})"


def check_images(stored: tuple[int, ...]) -> None:
    """Raises StepError unless items of this shape are images, which have a mirror image and can be shifted."""
    if len(stored) != 3:
        raise StepError(
            f"augmentation mirrors or shifts images (channels, height, width), but the data are {inputs_text(stored)}; write augment: none"
        )
