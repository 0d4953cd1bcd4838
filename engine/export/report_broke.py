"""What broke, in a report: the classes and slices that lost most, and the samples that the recommended recipe newly gets wrong."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Sequence

import numpy as np

from engine.datasets.load import load_dataset, reported
from engine.datasets.pictures import Pixels, enlarged, to_pixels
from engine.datasets.splits import Array
from engine.errors import ParetoscopeError
from engine.export.report_table import label_html, text_html
from engine.figures.series import is_series, ranges_of, series_svg
from engine.figures.slices import changes_info
from engine.frontier.certainty import Find
from engine.graph.inputs import NamedArrays
from engine.graph.on_disk import OnDisk
from engine.quality.predictions import Predictions
from engine.quality.what_broke import ClassChange, Flip, class_changes, flips
from engine.spec.sweep import Sweep
from engine.trials.text import with_minus
from engine.trials.trial import Trial

MOST_CLASSES, MOST_SLICES, MOST_SAMPLES = 5, 5, 12
SIDE = 64
MOST_BYTES = 300_000
"""Of all pictures together; a sample that would make it more is left out."""
_SCALED_BY = 100


def broke_section(sweep: Sweep, baseline: Trial | None, chosen: Trial | None, find: Find | None) -> str:
    """The section; "" where the recipe is the baseline, or neither answers nor slices are stored."""
    if baseline is None or chosen is None or chosen.id == baseline.id:
        return ""
    parts = [_slices(chosen)]
    if find is not None and baseline.predictions and chosen.predictions and chosen.accuracy:
        # Files of a sweep that was run elsewhere, or data that is not here, leave the report without this.
        with contextlib.suppress(ParetoscopeError):
            parts = [_answers(sweep, find, baseline.predictions, chosen.predictions), *parts]
    text = "".join(parts)
    return f'<section id="broke"><h2>What broke in {label_html(chosen)}</h2>{text}</section>' if text else ""


def _answers(sweep: Sweep, find: Find, before_file: str, after_file: str) -> str:
    before, after = (Predictions.load(find(name)) for name in (before_file, after_file))
    data = load_dataset(sweep.data)
    split = reported(data.test, sweep.measure)
    labels = split.labels
    if len(before) != len(after) or len(before) != len(labels):
        return ""
    found = flips(before, after, labels)
    harmful = [f for f in found if f.kind == "harmful"]
    helpful = sum(f.kind == "helpful" for f in found)
    words = f"<p>Of {len(labels):,} test samples {len(harmful):,} are newly wrong and {helpful:,} newly right against the baseline.</p>"
    cards = [] if isinstance(split.inputs, NamedArrays) else _cards(split.inputs, harmful, data.classes)
    samples = f'<h3>Newly wrong, the surest first</h3><div class="samples">{"".join(cards)}</div>' if cards else ""
    return words + _classes(class_changes(before, after, labels, data.classes)) + samples


def _cards(inputs: Array | OnDisk, harmful: Sequence[Flip], classes: Sequence[str]) -> list[str]:
    """The first samples as small pictures, as many as fit."""
    shown = np.asarray(inputs[:_SCALED_BY])
    ends, spent, cards = (float(shown.min()), float(shown.max())), 0, list[str]()
    for flip in harmful[:MOST_SAMPLES]:
        picture = _picture(np.asarray(inputs[flip.index]), shown, ends)
        spent += len(picture)
        if spent > MOST_BYTES:
            break
        right, wrong = (text_html(classes[c]) for c in (flip.label, flip.after))
        cards.append(
            f'<figure><img src="{picture}" width="{SIDE}" alt="test sample {flip.index}">'
            f"<figcaption>{right}, now <b>{wrong}</b></figcaption></figure>"
        )
    return cards


def _classes(changes: Sequence[ClassChange]) -> str:
    lost = [c for c in changes if c.change < 0][:MOST_CLASSES]
    if not lost:
        return "<p>No class lost recall.</p>"
    rows = "".join(
        f"<tr><td>{c.images:,}</td><td>{text_html(c.name)}</td><td>{100 * c.before:.1f} %</td><td>{100 * c.after:.1f} %</td>"
        f"<td>{_change(c)}{'' if c.is_certain else ', within chance'}</td></tr>"
        for c in lost
    )
    return (
        '<div class="wide"><table><thead><tr><th scope=col>Samples</th><th scope=col>Class that lost most</th>'
        f"<th scope=col>Recall before</th><th scope=col>After</th><th scope=col>Change</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _change(one: ClassChange) -> str:
    return with_minus(f"{100 * one.change:+.1f} points [{100 * one.low:+.1f}, {100 * one.high:+.1f}]")


def _slices(trial: Trial) -> str:
    worst = [m for m in changes_info(trial.slices) if m.worse][:MOST_SLICES] if trial.slices else []
    lines = "".join(
        f"<li>{text_html(m.name)} ({m.n:,} samples): {text_html(m.text)}{'' if m.is_certain else ', within chance'}</li>"
        for m in worst
    )
    return f"<h3>Slices that lost most</h3><ul>{lines}</ul>" if lines else ""


def _picture(sample: Array, some: Array, ends: tuple[float, float]) -> str:
    """A data URI: a picture as it is, a series as lines, other numbers as strips."""
    if is_series(sample.shape):
        text = series_svg(sample, ranges_of(some), SIDE)
        return f"data:image/svg+xml;base64,{base64.b64encode(text.encode()).decode()}"
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(enlarged(_shrunk(to_pixels(sample, *ends)), SIDE)).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _shrunk(pixels: Pixels) -> Pixels:
    """Every so-many-th pixel of a large picture: at twice the size that is shown there is nothing more to see."""
    step = max(1, max(pixels.shape[:2]) // (2 * SIDE))
    return np.ascontiguousarray(pixels[::step, ::step])
