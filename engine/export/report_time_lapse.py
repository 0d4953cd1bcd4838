"""The frontier's growth in a report: a chart, and below it a button and a slider that move it. Every point is there once; the report's
script makes a frame of the first so many of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import plotly.graph_objects as go

from engine.export.report_table import text_html
from engine.figures.time_lapse import (
    TimeLapseInfo,
    frame_text,
    time_lapse_alt,
    time_lapse_figure,
    time_lapse_info,
    time_lapse_text,
)
from engine.frontier.recommendation import View
from engine.trials.trial import Trial

LEAST_FRAMES = 2


def time_lapse_parts(trials: Sequence[Trial], view: View) -> tuple[go.Figure, str, str, str, str] | None:
    """Chart, alternative text, what is to be said, the HTML of the controls, and the frames as JSON; None where there is nothing to play:
    fewer than two recipes with both numbers, or nobody kept when they were finished.
    """
    info = time_lapse_info(trials, view)
    if len(info.frames) < LEAST_FRAMES:
        return None
    figure = time_lapse_figure(info, height=460)
    # Plotly's own buttons and slider cannot be reached by keys.
    figure.frames, figure.layout.updatemenus, figure.layout.sliders = (), (), ()
    figure.update_layout(margin={"b": 60})
    about = f"Recipes in the order in which they were finished. {time_lapse_text(info)}".strip()
    return figure, time_lapse_alt(info), about, _controls(info), _frames(info)


def _controls(info: TimeLapseInfo) -> str:
    last = len(info.frames) - 1
    return (
        '<button type="button">▶ Play</button>'
        f'<input type="range" min="0" max="{last}" value="{last}" step="1" aria-label="Moment of the sweep">'
        f"<output>{text_html(frame_text(info.frames[last]))}</output>"
    )


def _frames(info: TimeLapseInfo) -> str:
    frames = [{"text": frame_text(f), "drawn": f.drawn, "front": f.front} for f in info.frames]
    # Six digits are more than a screen shows.
    x, y = ([float(f"{v:.6g}") for v in column] for column in info.places.T.tolist())
    found = {"x": x, "y": y, "labels": info.labels, "cloud": info.cloud, "frames": frames}
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))
