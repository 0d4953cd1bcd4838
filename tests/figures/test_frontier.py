"""What a view leaves to choose from, and that the chart draws exactly that."""

import re
from dataclasses import replace

import numpy as np
import pytest

from engine.errors import SpecError
from engine.figures.frontier import frontier_alt, frontier_figure
from engine.figures.frontier_info import frontier_info
from engine.frontier.certainty import Certainty
from engine.frontier.recommendation import View, choose, within_limits
from engine.metrics import METRICS
from engine.spec.recipe import Recipe
from engine.spec.steps import Distill
from engine.trials.evidence import SeedRun, Seeds
from engine.trials.trial import Trial
from tests.helpers.trial_factory import CUT, FOUR, INT8, sweep_trials, trial


@pytest.fixture
def four() -> list[Trial]:
    """Baseline and int8 on the frontier of latency and accuracy, 4-bit beaten by int8, a cut one on it again."""
    return [
        trial(Recipe(), accuracy=0.92, size_bytes=300_000, latency_ms=1.0),
        trial(INT8, accuracy=0.91, size_bytes=80_000, latency_ms=0.5),
        trial(FOUR, accuracy=0.90, size_bytes=40_000, latency_ms=0.9),
        trial(CUT, accuracy=0.70, size_bytes=90_000, latency_ms=0.45),
    ]


def test_choice_names_frontier_knee_baseline_and_best(four):
    choice = choose(four, View())
    assert choice.front == (CUT.id, INT8.id, Recipe().id)
    assert choice.knee == INT8.id
    assert choice.baseline == Recipe().id
    assert choice.best == Recipe().id
    assert choice.measured == tuple(t.id for t in four)


def test_limits_take_points_off_the_frontier_and_move_the_best(four):
    choice = choose(four, View(limits={"size_bytes": 100_000, "accuracy": 0.8}))
    assert choice.kept == {INT8.id, FOUR.id}
    assert choice.front == (INT8.id,)
    assert choice.best == INT8.id
    assert choice.knee is None


def test_of_equal_accuracies_the_smaller_file_is_best(four):
    tied = [*four, trial(Recipe(steps=(*CUT.steps, *INT8.steps)), accuracy=0.92, size_bytes=20_000)]
    assert choose(tied, View()).best == tied[-1].id


def test_limits_that_nothing_keeps_leave_nothing(four):
    choice = choose(four, View(limits={"accuracy": 0.99}))
    assert (choice.kept, choice.front, choice.best, choice.knee) == (frozenset(), (), None, None)
    assert choice.baseline == Recipe().id


def test_limits_on_another_device_are_about_its_numbers(four):
    # The projection is 80 times the host's latency.
    view = View(device="stm32h7a3-xcubeai", limits={"latency_ms": 45.0})
    assert choose(four, view).kept == {INT8.id, CUT.id}


def test_pending_and_failed_trials_are_not_drawn_nor_counted():
    trials = sweep_trials(failed=2, pending=3)
    info = frontier_info(trials, View())
    assert len(info.points) == len(info.choice.measured) == len(trials) - 5
    assert within_limits(trials, {}).all()


def test_a_trial_without_one_of_the_axes_is_measured_but_not_drawn(four):
    unmeasured = trial(Recipe(steps=(*CUT.steps, *FOUR.steps)), latency_ms=None)
    info = frontier_info([*four, unmeasured], View())
    assert len(info.choice.measured) == 5
    assert {p.trial_id for p in info.points} == {t.id for t in four}


def test_points_are_in_the_units_shown_with_their_ranges(four):
    info = frontier_info(four, View(x="size_bytes", colour="energy_mj"))
    baseline = next(p for p in info.points if p.trial_id == Recipe().id)
    assert (baseline.x, baseline.y, baseline.colour) == pytest.approx((300.0, 92.0, 2.0))
    assert baseline.x_range is None
    low, high = baseline.y_range
    assert low < 92.0 < high
    assert info.x_title == "File size (kB)"
    assert info.colour_title == "Energy, estimated (mJ)"


def test_labels_reach_the_browser_escaped(four):
    hostile = trial(Recipe(steps=(Distill(student="<img src=x onerror=alert(1)>"),)))
    hovers = [p.hover for p in frontier_info([four[0], hostile], View()).points]
    assert "&lt;img" in hovers[1]
    assert not any("<img" in h for h in hovers)


def marks(figure, name):
    """Ids of the points that a legend entry draws."""
    return [row[0] for t in figure.data if t.name == name and t.customdata is not None for row in t.customdata]


def test_every_mark_carries_its_trial(four):
    view = View(limits={"size_bytes": 100_000})
    figure = frontier_figure(frontier_info(four, view))
    assert sorted(marks(figure, "outside your limits")) == [Recipe().id]
    assert sorted(marks(figure, "frontier")) == sorted([INT8.id, CUT.id])
    assert marks(figure, "beaten by another") == [FOUR.id]
    assert marks(figure, "baseline") == [Recipe().id]
    assert marks(figure, "best within your limits") == [INT8.id]


def test_best_is_not_marked_as_long_as_there_is_no_limit(four):
    assert marks(frontier_figure(frontier_info(four, View())), "best within your limits") == []


def test_roles_differ_in_shape_not_only_in_colour(four):
    figure = frontier_figure(frontier_info(four, View(limits={"size_bytes": 100_000})))
    shapes = [t.marker.symbol for t in figure.data if t.mode == "markers"]
    assert len(shapes) == len(set(shapes))


def whiskers(figure):
    """The (x, y) ends of every line of every role's whiskers."""
    shapes = {shape.legendgroup: shape.path for shape in figure.layout.shapes}
    numbers = {role: [float(n) for n in re.findall(r"[-+.e0-9]+", path)] for role, path in shapes.items()}
    return {role: np.array(found).reshape(-1, 2, 2) for role, found in numbers.items()}


def test_whiskers_reach_the_ends_of_the_interval(four):
    figure = frontier_figure(frontier_info(four[:1], View()))
    front = next(t for t in figure.data if t.name == "frontier")
    accuracy, ratio = four[0].accuracy, four[0].latency_ratio
    (x,), (y,) = front.x, front.y
    # A click in the legend hides those of the same group.
    across, up = whiskers(figure)[front.legendgroup]
    assert across == pytest.approx(np.array([[x * ratio.low / ratio.value, y], [x * ratio.high / ratio.value, y]]))
    assert up == pytest.approx(np.array([[x, accuracy.low * 100], [x, accuracy.high * 100]]))


def test_whiskers_that_reach_zero_stay_on_a_logarithmic_axis(four):
    info = frontier_info(four, View(x="size_bytes"))
    low = replace(info.points[0], x_range=(0.0, info.points[0].x * 2))
    figure = frontier_figure(replace(info, points=(low, *info.points[1:]), x_span=(1.0, 1000.0)))
    assert figure.layout.xaxis.type == "log"
    ends = np.concatenate([found[:, :, 0].ravel() for found in whiskers(figure).values()])
    assert ends.min() == pytest.approx(low.x / 1000)


def test_a_trial_that_the_measurements_cannot_tell_from_the_frontier_has_a_shape_of_its_own(four):
    sure = Certainty(500, {FOUR.id: 0.3, INT8.id: 0.9}, frozenset({FOUR.id}), {INT8.id: (FOUR.id,)}, 0.8, 0.7, 0.004, 4)
    info = frontier_info(four, View(), sure)
    assert marks(frontier_figure(info), "tied with the frontier") == [FOUR.id]
    hovers = {p.trial_id: p.hover for p in info.points}
    assert "tied with the frontier; on it in 30 % of redraws" in hovers[FOUR.id]
    assert "on it in 90 % of redraws" in hovers[INT8.id]
    assert "1 more are statistically tied" in frontier_alt(info)
    outside = frontier_info(four, View(limits={"size_bytes": 30_000}), sure)
    assert marks(frontier_figure(outside), "tied with the frontier") == []


def test_mean_and_range_over_seeds_stand_beside_the_point_of_the_file(four):
    runs = tuple(SeedRun(i, a, 80_000, f"{i:064x}.onnx") for i, a in enumerate((0.91, 0.90, 0.92)))
    four[1] = replace(four[1], seeds=Seeds.of(runs))
    info = frontier_info(four, View())
    figure = frontier_figure(info)
    spread = next(t for t in figure.data if t.name == "mean and range over seeds")
    assert [row[0] for row in spread.customdata] == [INT8.id]
    assert spread.y[0] == pytest.approx(91.0)
    assert (spread.error_y.array[0], spread.error_y.arrayminus[0]) == pytest.approx((1.0, 1.0))
    assert "over seeds: 91.00 ± 1.00 % over 3 seeds (90.00 to 92.00)" in next(
        p.hover for p in info.points if p.trial_id == INT8.id
    )
    assert not [t for t in frontier_figure(frontier_info(four, View(y="size_bytes"))).data if t.name == spread.name]


def test_times_of_two_machines_are_never_on_one_axis(four):
    elsewhere = replace(four[1].machine, fingerprint="e" * 64, cpu="Other CPU")
    mixed = [four[0], replace(four[1], machine=elsewhere), *four[2:]]
    with pytest.raises(SpecError, match=r"latency was measured on 2 machines \(Other CPU.*Test CPU"):
        frontier_info(mixed, View())
    with pytest.raises(SpecError, match="2 machines"):
        frontier_info(mixed, View(x="size_bytes", limits={"energy_mj": 2.0}))
    assert len(frontier_info(mixed, View(x="size_bytes")).points) == 4
    assert len(frontier_info(mixed, View(device="stm32h7a3-xcubeai")).points) == 4


@pytest.mark.parametrize(
    ("x", "y", "shape"),
    [
        ("latency_ms", "accuracy", "hv"),
        ("latency_ms", "size_bytes", "hv"),
        ("accuracy", "latency_ms", "vh"),
    ],
)
def test_the_line_is_the_edge_of_what_can_be_had(four, x, y, shape):
    figure = frontier_figure(frontier_info(four, View(x=x, y=y)))
    line = next(t for t in figure.data if t.mode == "lines")
    assert line.line.shape == shape
    assert list(line.x) == sorted(line.x)


@pytest.mark.parametrize("x", METRICS)
@pytest.mark.parametrize("colour", [None, "energy_mj"])
def test_every_metric_can_be_an_axis(four, x, colour):
    y = "latency_ms" if x == "accuracy" else "accuracy"
    figure = frontier_figure(frontier_info(four, View(x=x, y=y, colour=colour)))
    assert METRICS[x].name in figure.layout.xaxis.title.text
    assert figure.to_json()


def test_wide_spans_are_drawn_in_logarithms_with_plain_ticks(four):
    wide = [*four, trial(Recipe(steps=(*CUT.steps, *INT8.steps)), size_bytes=2_000)]
    axis = frontier_figure(frontier_info(wide, View(x="size_bytes"))).layout.xaxis
    assert axis.type == "log"
    assert {"2", "50", "200"} <= set(axis.ticktext)
    assert frontier_figure(frontier_info(four, View(x="size_bytes"))).layout.xaxis.type == "linear"


def test_the_same_view_is_the_same_figure(four):
    """The browser keeps a selection only as long as the figure does not change."""
    assert (
        frontier_figure(frontier_info(four, View())).to_json() == frontier_figure(frontier_info(four, View())).to_json()
    )


def test_nothing_measured_draws_an_empty_chart():
    figure = frontier_figure(frontier_info([], View()))
    assert all(not t.x for t in figure.data)


def test_intervals_of_recipes_that_share_a_value_stand_on_it_to_the_last_digit():
    """Plotly makes an axis between the ends of marks and shapes: of the length of a rounding it could draw nothing."""
    one = [trial(size_bytes=1_890, latency_ms=None)]
    figure = frontier_figure(frontier_info(one, View(x="size_bytes")))
    (at,) = {x for t in figure.data for x in t.x}
    drawn = [float(x) for s in figure.layout.shapes for x in re.findall(r"[ML]([^,]+),", s.path)]
    assert at != float(f"{at:.9g}")
    assert drawn
    assert set(drawn) == {at}


def test_the_chart_is_told_to_those_who_cannot_see_it(four):
    text = frontier_alt(frontier_info(four, View(limits={"size_bytes": 100_000})))
    assert "Accuracy (%) against Latency (ms)" in text
    assert "4 of 4" in text
    assert "3 are within" in text
    assert "2 on the frontier" in text
