"""Charts of more than two metrics: what they compute, that they draw exactly that, and the ring around one trial in any of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from engine.errors import SpecError
from engine.figures.frontier import frontier_figure
from engine.figures.frontier_info import frontier_info
from engine.figures.highlight import SELECTED, in_sight, with_selected
from engine.figures.lineage import lineage_figure, lineage_info
from engine.figures.many_metrics import drawn_text
from engine.figures.many_metrics_info import (
    MOST_LINES,
    marker_sizes,
    matrix_info,
    parallel_info,
    sample,
    space_info,
)
from engine.figures.parallel_axes import parallel_alt, parallel_figure
from engine.figures.progress import progress_figure, progress_info
from engine.figures.scatter_matrix import matrix_alt, matrix_figure
from engine.figures.space_3d import space_alt, space_figure
from engine.frontier.recommendation import View, choose
from engine.metrics import METRICS
from engine.spec.recipe import Recipe
from engine.spec.steps import Distill
from engine.trials.measurements import Machine
from engine.trials.metric_values import metric_value
from engine.trials.trial import Trial
from tests.helpers.trial_factory import CUT, FOUR, INT8, MACHINE, sweep_trials, trial

KEYS = ("accuracy", "size_bytes", "latency_ms", "energy_mj")


@pytest.fixture
def four() -> list[Trial]:
    """In latency and accuracy 4-bit is beaten by int8; with the file size as a third objective it is beaten by none."""
    return [
        trial(Recipe(), accuracy=0.92, size_bytes=300_000, latency_ms=1.0),
        trial(INT8, accuracy=0.91, size_bytes=80_000, latency_ms=0.5),
        trial(FOUR, accuracy=0.90, size_bytes=40_000, latency_ms=0.9),
        trial(CUT, accuracy=0.70, size_bytes=90_000, latency_ms=0.55),
    ]


def owners(figure, name):
    return [owner[0] for trace in figure.data if trace.name == name and trace.customdata for owner in trace.customdata]


def beats(a: Trial, b: Trial, keys) -> bool:
    """Dominance, written out."""
    gains = [
        (1 if METRICS[k].maximise else -1) * (metric_value(a, k) - metric_value(b, k))  # type: ignore[operator]
        for k in keys
    ]
    return min(gains) >= 0 and max(gains) > 0


def test_the_frontier_in_space_is_that_of_the_three(four):
    info = space_info(four, choose(four, View()), "size_bytes")
    assert info.front == {Recipe().id, INT8.id, FOUR.id}
    assert [a.key for a in info.axes] == ["latency_ms", "accuracy", "size_bytes"]
    figure = space_figure(info)
    assert set(owners(figure, "frontier")) == info.front
    assert owners(figure, "beaten by another") == [CUT.id]
    assert owners(figure, "baseline") == [Recipe().id]
    front = next(t for t in figure.data if t.name == "frontier")
    at = [o[0] for o in front.customdata].index(FOUR.id)
    assert (front.x[at], front.y[at], front.z[at]) == pytest.approx((0.9, 90.0, 40.0))


def test_the_frontier_in_space_agrees_with_a_count_of_who_beats_whom():
    trials = sweep_trials()
    keys = ("latency_ms", "accuracy", "energy_mj")
    expected = {t.id for t in trials if not any(beats(other, t, keys) for other in trials)}
    assert space_info(trials, choose(trials, View()), "energy_mj").front == expected


def test_what_is_outside_the_limits_is_greyed_everywhere(four):
    view = View(limits={"accuracy": 0.8})
    for figure in (
        space_figure(space_info(four, choose(four, view), "size_bytes")),
        parallel_figure(parallel_info(four, choose(four, view), KEYS)),
        matrix_figure(matrix_info(four, choose(four, view), KEYS)),
    ):
        assert set(owners(figure, "outside your limits")) == {CUT.id}
        grey = next(t for t in figure.data if t.name == "outside your limits")
        assert grey.marker.color == "#8C95A3"
        assert grey.opacity < 1


def test_axes_of_two_machines_are_refused_in_every_chart(four):
    other = Machine(**{**MACHINE.__dict__, "fingerprint": "e" * 64})
    mixed = [*four, trial(Recipe(steps=(*CUT.steps, *INT8.steps)), machine=other)]
    view = View(x="size_bytes")
    with pytest.raises(SpecError, match="2 machines"):
        space_info(mixed, choose(mixed, view), "latency_ms")
    with pytest.raises(SpecError, match="2 machines"):
        parallel_info(mixed, choose(mixed, view), ("accuracy", "latency_ms"))
    with pytest.raises(SpecError, match="2 machines"):
        matrix_info(mixed, choose(mixed, view), ("accuracy", "latency_ms"))


def test_other_devices_give_their_own_numbers_and_say_so(four):
    info = space_info(four, choose(four, View(device="stm32h7a3-xcubeai")), "energy_mj")
    assert info.axes[0].title == "Latency on stm32h7a3-xcubeai, estimated (ms)"
    assert {m.trial_id: m.values[0] for m in info.marks}[INT8.id] == pytest.approx(40.0)
    assert "estimated" in info.marks[0].hover
    view = View(device="stm32h7a3-xcubeai")
    layout = matrix_figure(matrix_info(four, choose(four, view), ("accuracy", "latency_ms"))).layout
    assert layout.yaxis2.title.text.replace("<br>", " ") == "← Latency on stm32h7a3-xcubeai, estimated (ms)"


def test_better_is_to_the_right_on_every_parallel_axis(four):
    info = parallel_info(four, choose(four, View()), KEYS)
    by_id = {m.trial_id: m for m in info.marks}
    places = {i: [a.place(v) for a, v in zip(info.axes, m.values, strict=True)] for i, m in by_id.items()}
    assert places[Recipe().id][0] == 1  # the highest accuracy
    assert places[Recipe().id][1] == 0  # the largest file
    assert places[INT8.id][2] == 1  # the fastest
    for axis in info.axes:
        assert [axis.place(axis.value_at(p)) for p in (0, 0.3, 1)] == (
            pytest.approx([0, 0.3, 1]) if axis.high > axis.low else [0.5, 0.5, 0.5]
        )


def test_the_coloured_lines_are_the_frontier_of_the_view(four):
    info = parallel_info(four, choose(four, View()), KEYS)
    assert info.front == set(choose(four, View()).front)
    figure = parallel_figure(info)
    assert set(owners(figure, "frontier")) == info.front
    titles = [a.text for a in figure.layout.annotations if "better" in a.text]
    assert [t.partition("</b>")[0] for t in titles] == [f"<b>{a.title}" for a in info.axes]


def test_a_line_has_a_gap_where_a_number_is_missing(four):
    half = trial(Recipe(steps=(*CUT.steps, *INT8.steps)), latency_ms=None, energy_mj=None)
    alone = trial(Recipe(steps=(*CUT.steps, *FOUR.steps)), accuracy=None, latency_ms=None, energy_mj=None)
    info = parallel_info([*four, half, alone], choose([*four, half, alone], View()), KEYS)
    assert [math.isfinite(v) for v in next(m for m in info.marks if m.trial_id == half.id).values] == [
        True,
        True,
        False,
        False,
    ]
    assert info.lacking == 1
    figure = parallel_figure(info)
    drawn = next(t for t in figure.data if t.name == "beaten by another")
    assert [x is None for x, o in zip(drawn.x, drawn.customdata, strict=True) if o[0] == half.id] == [
        False,
        False,
        True,
        True,
        True,
    ]


def test_every_pane_of_the_matrix_marks_its_own_frontier():
    trials = sweep_trials()
    info = matrix_info(trials, choose(trials, View(limits={"accuracy": 0.89})), KEYS)
    kept = [t for t in trials if t.accuracy and t.accuracy.value >= 0.89]
    assert list(info.pairs) == [(0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3)]
    for (across, up), ids in info.pairs.items():
        pair = (KEYS[across], KEYS[up])
        assert set(ids) == {t.id for t in kept if not any(beats(other, t, pair) for other in kept)}
    figure = matrix_figure(info)
    panes = {(t.xaxis, t.yaxis) for t in figure.data if t.name == "frontier"}
    assert len(panes) == 6
    one = next(t for t in figure.data if t.name == "frontier")
    assert {o[0] for o in one.customdata} == set(info.pairs[0, 1])
    # A name stands in the legend once.
    shown = [t.name for t in figure.data if t.showlegend]
    assert len(shown) == len(set(shown))


def test_the_matrix_takes_four_metrics_and_needs_two(four):
    assert len(matrix_info(four, choose(four, View()), [*KEYS, "macs", "params"]).axes) == 4
    two = matrix_figure(matrix_info(four, choose(four, View(colour="energy_mj")), KEYS[:2]))
    assert {(t.xaxis, t.yaxis) for t in two.data} == {("x2", "y2")}


def test_a_sample_keeps_what_matters_and_spreads_over_the_rest():
    ids = [str(i) for i in range(1000)]
    found = sample(ids, {"3", "500", "999"}, 100)
    assert len(found) == 100
    assert {"3", "500", "999"} <= set(found)
    assert found == sorted(found, key=int)
    rest = np.diff([int(i) for i in found if i not in {"3", "500", "999"}])
    assert rest.max() <= 2 * rest.min()
    assert sample(ids, set(ids[:400]), 100) == [str(i) for i in range(0, 400, 4)]
    assert sample(ids[:5], set(), 100) == ids[:5]
    assert sample([], set(), 3) == []


def test_too_many_lines_are_thinned_and_that_is_said():
    many = [
        trial(
            Recipe(), id=f"{i:08x}", accuracy=0.5 + i / 2000, size_bytes=10_000 + 300 * ((i * 37) % 500), latency_ms=1.0
        )
        for i in range(500)
    ]
    view = View(x="size_bytes")
    wanted = next(t.id for t in many if t.id not in choose(many, view).front)
    info = parallel_info(many, choose(many, view), KEYS, also=[wanted])
    assert len(info.marks) == MOST_LINES
    assert info.left_out == 200
    assert set(choose(many, view).front) | {wanted} <= {m.trial_id for m in info.marks}
    assert "300 of 500 recipes are drawn" in drawn_text(info)
    assert drawn_text(parallel_info(many[:5], choose(many[:5], view), KEYS)) == ""


def test_colour_is_another_metric_and_shapes_stay(four):
    view = View(colour="energy_mj", limits={"accuracy": 0.8})
    for figure in (
        space_figure(space_info(four, choose(four, view), "size_bytes")),
        parallel_figure(parallel_info(four, choose(four, view), KEYS)),
        matrix_figure(matrix_info(four, choose(four, view), KEYS)),
    ):
        drawn = next(t for t in figure.data if t.name == "frontier" and t.customdata is not None)
        assert drawn.marker.coloraxis == "coloraxis"
        assert figure.layout.coloraxis.colorbar.title.text == "Energy, estimated (mJ)"
        assert sum(t.name == "frontier" and t.showlegend is not False for t in figure.data) == 1


def test_the_area_of_a_mark_grows_with_its_metric(four):
    unmeasured = trial(Recipe(steps=(*CUT.steps, *FOUR.steps)), size_bytes=None)
    sizes = marker_sizes([*four, unmeasured], "size_bytes", "host")
    assert sizes[FOUR.id] == sizes[unmeasured.id] == min(sizes.values())
    assert sizes[Recipe().id] == max(sizes.values())
    share = (80_000 - 40_000) / (300_000 - 40_000)
    low, high = sizes[FOUR.id] ** 2, sizes[Recipe().id] ** 2
    assert sizes[INT8.id] ** 2 == pytest.approx(low + share * (high - low))
    figure = frontier_figure(frontier_info(four, View()), sizes=sizes)
    front = next(t for t in figure.data if t.name == "frontier")
    assert list(front.marker.size) == [sizes[o[0]] for o in front.customdata]
    assert len(set(marker_sizes(four, "params", "host").values())) == 1


def test_labels_reach_the_browser_escaped():
    hostile = trial(
        Recipe(steps=(Distill(student="<img src=x onerror=alert(1)>"),)), provenance="imported", finished_s=1.0
    )
    hover = space_info([hostile], choose([hostile], View()), "size_bytes").marks[0].hover
    assert "&lt;img" in hover
    assert "<img" not in hover
    assert "imported" in hover
    assert "<img" not in progress_figure(progress_info([hostile], View())).to_json()


def test_nothing_measured_draws_nothing():
    pending = [Trial(id="a", recipe=Recipe())]
    assert space_info(pending, choose(pending, View()), "size_bytes").marks == ()
    assert parallel_info(pending, choose(pending, View()), KEYS).marks == ()
    assert matrix_figure(matrix_info(pending, choose(pending, View()), KEYS)).data is not None


def test_the_charts_are_told_in_words(four):
    view = View(limits={"accuracy": 0.8})
    assert "3 on the frontier of the three" in space_alt(space_info(four, choose(four, view), "size_bytes"))
    told = parallel_alt(parallel_info(four, choose(four, view), KEYS))
    assert "Accuracy (%) (more is better)" in told
    assert "Latency (ms) (less is better)" in told
    assert "4 of 4 measured recipes are drawn, 3 of them within the limits" in told
    assert "File size against Accuracy 3" in matrix_alt(matrix_info(four, choose(four, view), KEYS))


@pytest.mark.parametrize("shape", ["frontier", "map", "3d", "parallel", "matrix"])
def test_the_selected_trial_has_a_ring_in_every_chart(four, shape):
    view = View()
    info = frontier_info(four, view)
    figure, rings = {
        "frontier": lambda: (frontier_figure(info), 1),
        "map": lambda: (lineage_figure(lineage_info(four, info.choice, "accuracy", "size_bytes")), 1),
        "3d": lambda: (space_figure(space_info(four, choose(four, view), "size_bytes")), 1),
        "parallel": lambda: (parallel_figure(parallel_info(four, choose(four, view), KEYS)), 1),
        "matrix": lambda: (matrix_figure(matrix_info(four, choose(four, view), KEYS)), 6),
    }[shape]()
    before = len(figure.data)
    assert not with_selected(figure, None)
    assert not with_selected(figure, "not here")
    assert len(figure.data) == before
    assert with_selected(figure, INT8.id)
    found = figure.data[before:]
    assert len(found) == rings
    for ring in found:
        assert ring.marker.color == SELECTED
        assert {o[0] for o in ring.customdata} == {INT8.id}
        assert len(ring.x) == (4 if shape == "parallel" else 1)
    assert sum(r.showlegend for r in found) == 1


def test_a_ring_is_in_sight_only_within_the_zoom(four):
    figure = frontier_figure(frontier_info(four, View()))
    assert in_sight(figure, {"xaxis": (5, 6)})
    with_selected(figure, INT8.id)
    assert in_sight(figure, {})
    assert in_sight(figure, {"xaxis": (0.4, 0.6), "yaxis": (90, 92)})
    assert not in_sight(figure, {"xaxis": (0.6, 0.9)})
    wide = frontier_figure(
        frontier_info([*four, trial(Recipe(steps=(*CUT.steps, *INT8.steps)), latency_ms=100.0)], View())
    )
    with_selected(wide, INT8.id)
    assert wide.layout.xaxis.type == "log"
    assert in_sight(wide, {"xaxis": (-0.5, 0)})
    assert not in_sight(wide, {"xaxis": (0.4, 0.6)})
