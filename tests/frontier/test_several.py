"""Frontiers of several sweeps: coverage, hypervolume and the joint frontier against brute force; what is not compared."""

from dataclasses import replace

import numpy as np
import pytest

from engine.errors import SpecError
from engine.explain.several_sweeps import named_apart, shared_metrics, usual_axes, who_beats_whom
from engine.figures.several import drawn_text, several_alt, several_figure, several_info
from engine.frontier.columns import Trials
from engine.frontier.several import Lot, several
from engine.quality.predictions import Predictions
from engine.spec.recipe import Recipe
from engine.spec.steps import Prune
from engine.trials.evidence import Accuracy
from tests.helpers.trial_factory import MACHINE, sweep_trials, trial

AXES = ("accuracy", "size_bytes")


def made(seed, count=40, gain=0.0, half=0.002, **fields):
    """So many recipes at random; a greater gain is a better sweep."""
    rng = np.random.default_rng(seed)
    trials = []
    for i in range(count):
        size = int(rng.integers(10_000, 100_000))
        value = float(np.clip(0.5 + 0.4 * (size / 1e5) ** 0.3 + gain - abs(rng.normal(0, 0.03)), 0, 1))
        recipe = Recipe(steps=(Prune(method="channel", ratio=(i + 1) / 100),)) if i else Recipe()
        found = Accuracy(value, value - half, value + half, 10_000)
        trials.append(replace(trial(recipe, size_bytes=size, **fields), accuracy=found))
    return trials


def lot(name, trials, data="pictures", model="net", find=None):
    return Lot(name, Trials.of(trials), data, model, find)


def beats(a, b):
    """Whether (accuracy, bytes) a is at least as good as b in both and better in one."""
    return a[0] >= b[0] and a[1] <= b[1] and a != b


def points(trials):
    return [(t.accuracy.value, t.size_bytes) for t in trials]


def front(some):
    return [p for p in some if not any(beats(q, p) for q in some)]


@pytest.mark.parametrize("seed", range(5))
def test_coverage_volume_and_the_joint_frontier_are_those_of_brute_force(seed):
    sweeps = [made(seed, gain=0.01), made(seed + 10), made(seed + 20, count=9)]
    found = several([lot(str(i), s) for i, s in enumerate(sweeps)], AXES)
    fronts = [front(points(s)) for s in sweeps]
    for i, mine in enumerate(fronts):
        assert [points(sweeps[i])[row] for row in found.fronts[i]] == sorted(mine, reverse=True)
        for j, theirs in enumerate(fronts):
            expected = np.mean([any(beats(a, b) for a in mine) for b in theirs])
            assert found.covers[i][j].value == pytest.approx(expected)
    everything = [p for s in sweeps for p in points(s)]
    together = front(everything)
    assert [points(sweeps[i])[row] for i, row in found.joint] == sorted(together, reverse=True)
    # The area by a fine grid of the common box.
    accuracy, size = np.array(everything).T
    x, y = np.meshgrid(np.linspace(accuracy.min(), accuracy.max(), 401), np.linspace(size.min(), size.max(), 401))
    for share, mine in zip(found.volumes, fronts, strict=True):
        dominated = np.zeros(x.shape, np.bool_)
        for a, b in mine:
            dominated |= (x <= a) & (y >= b)
        assert share.value == pytest.approx(dominated.mean(), abs=0.01)


def test_a_sweep_beats_nothing_of_itself_and_equal_sweeps_are_not_told_apart():
    found = several([lot("a", made(0)), lot("b", made(0))], AXES)
    assert found.covers[0][1].value == 0
    assert found.covers[0][0].value == 0
    assert found.volumes[0].value == found.volumes[1].value
    # Every point of the frontier is there twice, and neither beats the other.
    assert len(found.joint) == 2 * len(found.fronts[0])
    assert 0.05 < found.ahead[0][1] < 0.95
    assert "within chance" in " ".join(who_beats_whom(found))


def test_a_sweep_that_is_better_beyond_its_intervals_is_surely_ahead():
    found = several([lot("good", made(1, gain=0.05)), lot("poor", made(1))], AXES)
    assert found.ahead[0][1] == 1
    assert found.covers[0][1].low > 0.9
    assert found.covers[1][0].high == 0
    assert found.volumes[0].low > found.volumes[1].high
    told = who_beats_whom(found)
    assert told[0].index("“good”") < told[0].index("“poor”")
    assert any("“good” beats 100 % of the frontier of “poor”, “poor” none of that of “good”." in line for line in told)


def test_where_both_answered_the_same_samples_what_they_have_in_common_cancels(tmp_path):
    """Two sweeps that differ by a few samples out of many: as two sets of samples nobody could tell, in pairs it is sure."""
    labels = np.zeros(2_000, np.int64)
    rng = np.random.default_rng(0)
    base = rng.random(2_000) < 0.8

    def answered(name, right):
        said = np.where(right, labels, 1).astype(np.uint16)
        Predictions(said, np.zeros((2_000, 1), np.float16), None, None, right).save(tmp_path / name)
        share = float(right.mean())
        found = Accuracy(share, share - 0.0175, share + 0.0175, 2_000)
        # A second file that is worse and larger gives the box its other corner.
        small = Recipe(steps=(Prune(method="channel", ratio=0.5),))
        none = np.zeros(2_000, np.bool_)
        Predictions(np.ones(2_000, np.uint16), np.zeros((2_000, 1), np.float16), None, None, none).save(
            tmp_path / f"s{name}"
        )
        zero = Accuracy(0.0, 0.0, 0.002, 2_000)
        return [
            replace(trial(size_bytes=50_000), accuracy=found, predictions=name),
            replace(trial(small, size_bytes=200_000), accuracy=zero, predictions=f"s{name}"),
        ]

    better = base.copy()
    better[np.flatnonzero(~base)[:25]] = True
    sweeps = answered("a", better), answered("b", base)
    paired = several([lot(n, s, find=lambda name: tmp_path / name) for n, s in zip("ab", sweeps, strict=True)], AXES)
    alone = several([lot(n, s) for n, s in zip("ab", sweeps, strict=True)], AXES)
    assert paired.ahead[0][1] == 1
    assert alone.ahead[0][1] < 0.95


def test_other_data_have_no_joint_frontier_and_say_so():
    found = several([lot("a", made(0)), lot("b", made(1), data="other pictures")], AXES)
    assert found.joint == ()
    assert found.covers == ()
    assert [len(f) > 0 for f in found.fronts] == [True, True]
    assert (
        "Accuracy on different data says nothing of which is better (a: pictures; b: other pictures)" in found.unlike[0]
    )
    # Bytes and parameters are the same everywhere.
    assert several([lot("a", made(0)), lot("b", made(1), data="other")], ("size_bytes", "params")).joint


def test_data_of_one_name_with_other_labels_are_other_data(tmp_path):
    rng = np.random.default_rng(0)
    lots = []
    for name, shift in (("a", 0), ("b", 0), ("c", 1)):
        labels = (np.arange(300) + shift) % 3
        said = np.where(rng.random(300) < 0.9, labels, (labels + 1) % 3).astype(np.uint16)
        Predictions(said, np.zeros((300, 1), np.float16), None, None, said == labels).save(tmp_path / name)
        trials = [replace(t, predictions=name) for t in made(0)]
        lots.append(lot("sweep", trials, find=lambda asked: tmp_path / asked))
    apart = named_apart(lots)
    assert [x.name for x in apart] == ["sweep (1)", "sweep (2)", "sweep (3)"]
    assert apart[0].data == apart[1].data == "pictures"
    assert apart[2].data == "pictures as it was for sweep (3)"


def test_numbers_against_the_baseline_are_those_of_one_network():
    lots = [lot("a", sweep_trials()), lot("b", sweep_trials(), model="another")]
    assert "against each sweep’s own baseline" in several(lots, ("accuracy", "latency_ratio")).unlike[0]
    assert several([lot("a", sweep_trials()), lot("b", sweep_trials())], ("accuracy", "latency_ratio")).joint


def test_times_of_two_machines_are_refused_with_what_to_take_instead():
    other = replace(MACHINE, fingerprint="0" * 64, cpu="Other CPU")
    lots = [lot("a", sweep_trials()), lot("b", [replace(t, machine=other) for t in sweep_trials()])]
    with pytest.raises(SpecError, match=r"latency was measured on 2 machines .*Other CPU.*file size.*a device profile"):
        several(lots, ("accuracy", "latency_ms"))
    assert several(lots, ("accuracy", "latency_ms"), "stm32h7a3-xcubeai").joint
    assert usual_axes(lots) == AXES
    assert usual_axes(lots[:1] * 2) == ("accuracy", "size_bytes", "latency_ms")


def test_what_a_sweep_lacks_is_said_and_too_few_or_many_are_refused():
    lots = [lot("a", made(0)), lot("b", made(1, latency_ms=None))]
    assert "latency_ms" not in shared_metrics(lots)
    assert several(lots, ("accuracy", "latency_ms")).unlike == ("b has no latency",)
    empty = several([lot("a", []), lot("b", [])], AXES)
    assert empty.unlike
    assert several_info(empty).sweeps[0].total == 0
    for some in (lots[:1], lots * 4):
        with pytest.raises(SpecError, match="name 2 to 6"):
            several(some, AXES)
    with pytest.raises(SpecError, match="two objectives"):
        several(lots, ("accuracy",))


def test_three_objectives_have_a_joint_frontier_too():
    found = several([lot("a", made(0)), lot("b", made(1))], (*AXES, "latency_ms"))
    assert found.joint


def test_the_chart_has_every_frontier_whole_and_names_escaped():
    lots = [lot("<b>", made(0, count=90)), lot("b", made(1))]
    many = [lot(str(i), made(i, count=99)) for i in range(6)]
    info = several_info(several(lots, AXES))
    figure = several_figure(info, ["one", "two"])
    assert drawn_text(info) == ""
    marks = [t for t in figure.data if t.customdata is not None]
    assert {sweep for t in marks for sweep, _ in t.customdata} == {"one", "two"}
    assert "<b>&lt;b&gt;</b>" in marks[0].hovertext[0]
    assert sum(len(t.x) for t in marks) == 130
    assert figure.data[0].name == "joint frontier"
    assert "joint frontier" in several_alt(info)
    crowded = several_info(several(many, AXES))
    for sweep, lot_ in zip(crowded.sweeps, many, strict=True):
        assert sum(sweep.front) == len(front(points(lot_.trials)))
    none = several_info(several([lots[0], replace(lots[1], data="x")], AXES))
    assert several_figure(none, ["one", "two"]).data[0].name != "joint frontier"
    assert "no joint frontier" in several_alt(none)


def test_of_sweeps_that_share_a_value_none_is_ahead_by_area():
    same = [replace(t, accuracy=Accuracy(1.0, 0.99, 1.0, 10_000)) for t in made(1)]
    told = who_beats_whom(several([lot("one", same), lot("two", same[:20])], AXES))
    assert told[0].startswith("No frontier covers any of the area")
    assert not any("ahead of" in line for line in told)
    apart = who_beats_whom(several([lot("one", made(1)), lot("two", made(2))], AXES))
    assert "the frontiers cover: that of “" in apart[0]
    assert any("ahead of" in line for line in apart)
