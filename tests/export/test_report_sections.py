"""What a report says beside its charts and its table: what to ship, which option matters, what broke."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from engine.datasets.load import load_dataset
from engine.export import report_broke
from engine.export.report import report_html
from engine.export.report_broke import MOST_SAMPLES
from engine.export.report_table import text_html
from engine.frontier.effect_texts import change_text
from engine.frontier.effects import effects
from engine.frontier.front import OBJECTIVES
from engine.frontier.recommendation import axes_to_ship_by
from engine.frontier.verdict import verdict, verdict_for
from engine.quality.predictions import Predictions
from engine.spec.goals import Target
from engine.store.artifacts import Artifacts
from engine.store.store import Store


@pytest.fixture
def made(home: object):
    """(row, spec, trials, find) of the shipped example."""
    store = Store.open()
    row = store.sweep("example-resnet8")
    return row, store.spec(row.id), store.trials(row.id), Artifacts.open().local


def test_it_begins_with_what_to_ship_and_lists_what_each_option_does(made) -> None:
    row, sweep, trials, find = made
    text = report_html(row, sweep, trials, find=find)
    told = verdict_for(trials, axes_to_ship_by(OBJECTIVES, trials, "host"), None, "host", find)
    assert text_html(told.sentence) in text
    assert text.index('class="advice"') < text.index('id="limits"')
    found = effects(trials, find=find)
    lines = re.findall(r'<tr data-option="(\w+)" data-ids="([\w ]*)">(.*?)</tr>', text)
    assert {key: tuple(ids.split()) for key, ids, _ in lines} == {e.key: e.trials for e in found.effects}
    for (_, _, cells), e in zip(lines, found.effects, strict=True):
        assert f"<td>{text_html(change_text('accuracy', e.estimates['accuracy']))}</td>" in cells
        assert all(f'id="t-{i}"' in text for i in e.trials)
    figures = [json.loads(f) for f in re.findall(r'<script type="application/json">(.*?)</script>', text)]
    figures = [f for f in figures if "data" in f]
    keys = {str(o[0]) for f in figures for t in f["data"] for o in t.get("customdata") or [] if o}
    assert set(found.by_key) <= keys
    aimed = sweep.model_copy(update={"target": Target(limits={"size_bytes": 60_000})})
    assert "that keeps file size ≤ 60.0 kB" in report_html(row, aimed, trials, find=find)


def test_the_growth_of_the_frontier_is_there_to_be_played_and_each_frame_has_the_frontier_of_its_moment(made) -> None:
    row, sweep, trials, find = made
    text = report_html(row, sweep, trials, find=find)
    controls, data = re.findall(r'<div class="lapse">(.*?)<script type="application/json">(.*?)</script></div>', text)[
        0
    ]
    assert "<button" in controls
    assert 'type="range" min="0"' in controls
    found = json.loads(data)
    timed = sorted((t for t in trials if t.finished_s is not None), key=lambda t: t.finished_s)
    assert found["labels"] == [t.label for t in timed]
    assert found["frames"][-1]["text"].split(": ")[1].startswith(f"{len(timed)} measured, ")
    assert f'max="{len(found["frames"]) - 1}"' in controls
    for n, frame in enumerate(found["frames"], 1):
        # By hand, without the code that the frames are made with.
        points = [
            (t.accuracy.value, t.size_bytes) for t in timed[: int(re.findall(r": ([\d,]+) measured", frame["text"])[0])]
        ]
        best = {
            i for i, (a, s) in enumerate(points) if not any(b >= a and z <= s and (b, z) != (a, s) for b, z in points)
        }
        assert set(frame["front"]) == best, n
    # Nobody kept when these were finished, so nothing can be played.
    unknown = [replace(t, finished_s=None) for t in trials]
    assert 'class="lapse"' not in report_html(row, sweep, unknown, find=find)


def test_what_broke_has_the_worst_classes_and_pictures_that_are_in_the_file(made, monkeypatch) -> None:
    row, sweep, trials, find = made
    text = report_html(row, sweep, trials, find=find)
    told = verdict(trials, axes_to_ship_by(OBJECTIVES, trials, "host"), {}, find=find)
    chosen = next(t for t in trials if t.id == told.trial)
    baseline = next(t for t in trials if not t.recipe.steps)
    was, now = (Predictions.load(find(t.predictions)) for t in (baseline, chosen))
    data = load_dataset(sweep.data)
    worse = int((was.right & ~now.right).sum())
    assert f"{worse:,} are newly wrong" in text
    labels = data.test.labels
    change = [(now.right[labels == c].mean() - was.right[labels == c].mean()) for c in range(len(data.classes))]
    worst = data.classes[int(np.argmin(change))]
    first = re.search(r"Class that lost most.*?<tbody><tr><td>[\d,]+</td><td>(.*?)</td>", text, re.S)
    assert first is not None
    assert first[1] == text_html(worst)
    pictures = re.findall(r'<img src="(data:image/png;base64,[^"]+)"', text)
    assert len(pictures) == min(worse, MOST_SAMPLES)
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    # Where they would not fit they are left out, and the rest stays.
    monkeypatch.setattr(report_broke, "MOST_BYTES", 3 * len(pictures[0]))
    some = report_html(row, sweep, trials, find=find)
    assert 0 < some.count("<figure>") < len(pictures)
    # Without the stored answers, or the data, there is nothing to show.
    assert "What broke" not in report_html(row, sweep, trials)


def test_a_series_is_drawn_as_lines(home: object) -> None:
    store = Store.open()
    row = store.sweep("example-transformer")
    text = report_html(row, store.spec(row.id), store.trials(row.id), find=Artifacts.open().local)
    assert "data:image/svg+xml;base64," in text
    assert len(text) < 5_000_000
