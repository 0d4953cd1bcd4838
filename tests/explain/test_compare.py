"""What differs between trials, and which of them the test images tell apart."""

import math

import numpy as np
import pytest

from engine.errors import NotFoundError
from engine.explain.compare import (
    Layer,
    holm,
    layer_groups,
    metric_rows,
    pairs,
    read_layers,
    recipe_chains,
    recipe_rows,
)
from engine.figures.compare import (
    COSTS,
    MOST,
    Bar,
    CostsInfo,
    accuracy_alt,
    accuracy_figure,
    accuracy_info,
    costs_alt,
    costs_figure,
    costs_info,
)
from engine.metrics import METRICS
from engine.spec.recipe import Recipe
from engine.spec.steps import Prune
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from tests.helpers.trial_factory import FOUR, INT8, MACHINE, sweep_trials, trial

CUT = Recipe(steps=(Prune(method="channel", ratio=0.5), *INT8.steps))


def test_rows_say_whether_the_trials_differ():
    rows = {r.name: r for r in metric_rows([trial(), trial(INT8, size_bytes=30_000)])}
    assert rows["File size"].values == ("100 kB", "30.0 kB")
    assert rows["File size"].differs
    assert not rows["Measured on"].differs
    assert rows["Measured on"].values[0] == MACHINE.label
    assert rows["Accuracy"].values[0].startswith("90.00 % (")
    assert "Energy, estimated" in rows


def test_what_no_trial_has_is_no_row():
    names = {r.name for r in metric_rows([trial(latency_ms=None), trial(INT8, latency_ms=None)])}
    assert METRICS["latency_ms"].name not in names
    assert "Time to load" not in names


def test_numbers_are_those_of_the_device():
    rows = {r.name: r for r in metric_rows([trial(), trial(INT8)], "stm32h7a3-xcubeai")}
    assert rows["Latency, estimated"].values[0] == "80.0 ms (60.0 to 110)"


def test_options_of_recipes_side_by_side():
    rows = {r.name: r for r in recipe_rows([trial(), trial(INT8), trial(CUT)])}
    assert rows["quantize: weight bits"].values == ("–", "8", "8")
    assert rows["prune: ratio"].values == ("–", "–", "0.5")
    assert rows["quantize: per channel"].values == ("–", "yes", "yes")
    assert rows["quantize"].values == ("–", "int8", "int8")
    assert rows["quantize"].differs
    # Only one has the step, and that is said once.
    assert not rows["prune: ratio"].differs
    assert [name for name in rows if ":" not in name] == ["quantize", "prune"]
    assert list(rows).index("quantize: weight bits") < list(rows).index("prune")


def test_an_option_differs_among_those_that_have_the_step():
    rows = {r.name: r for r in recipe_rows([trial(), trial(INT8), trial(FOUR)])}
    assert rows["quantize: weight bits"].differs
    assert not rows["quantize: per channel"].differs


def test_two_steps_of_a_kind_are_numbered():
    twice = Recipe(steps=(Prune(method="nm", pattern="2:4"), Prune(method="channel", ratio=0.5)))
    names = [r.name for r in recipe_rows([trial(twice)])]
    assert {"prune: pattern", "prune 2: ratio"} <= set(names)


def test_sentences_that_all_trials_share_are_not_marked():
    int8, cut = recipe_chains([trial(INT8), trial(CUT)])
    assert [special for _, special in int8] == [False]
    assert [special for _, special in cut] == [True, False]
    assert recipe_chains([trial(), trial(INT8)])[1][0][1] is True


def test_a_pair_counts_the_images_that_only_one_has_right():
    a, b = np.ones(100, np.bool_), np.ones(100, np.bool_)
    a[:2] = False
    b[2:12] = False
    one, two = trial(INT8, accuracy=0.98), trial(FOUR, accuracy=0.90)
    (pair,) = pairs([one, two], {INT8.id: a, FOUR.id: b})
    assert (pair.only_first, pair.only_second, pair.n) == (10, 2, 100)
    # Mid-p by hand, both tails: 2 (C(12, 0) + C(12, 1)) + C(12, 2), over 2^12.
    assert pair.p == pytest.approx((2 * (1 + 12) + 66) / 2**12)
    assert pair.difference == "+8.00 points"
    assert pair.told_apart is True


def test_without_stored_answers_the_record_knows_the_pairs_with_the_baseline():
    first, second, third = pairs([trial(), trial(INT8), trial(FOUR)], {})
    assert (first.p, second.p) == (0.2, 0.2)
    assert third.p is None
    assert third.told_apart is None


def test_answers_to_different_images_are_not_paired():
    (pair,) = pairs([trial(INT8), trial(FOUR)], {INT8.id: np.ones(5, np.bool_), FOUR.id: np.ones(6, np.bool_)})
    assert (pair.n, pair.p) == (None, None)


def test_holm_corrects_for_as_many_tests_as_were_made():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_more_comparisons_make_a_verdict_harder():
    a = np.ones(100, np.bool_)
    b, c = a.copy(), a.copy()
    b[:5] = False  # mid-p of 5 against 0 is 0.03125
    c[5:6] = False
    told = pairs([trial(), trial(INT8), trial(FOUR)], {Recipe().id: a, INT8.id: b, FOUR.id: c})
    assert told[0].p == pytest.approx(1 / 32)
    assert told[0].told_apart is False


def test_layers_are_put_side_by_side_only_within_one_network():
    def layer(name, bits):
        return Layer(name, "Conv", 100, 90, 1_000, bits, 32)

    layers = {
        "a": (layer("/1/Conv", 32),),
        "b": (layer("/1/Conv", 8),),
        "c": (layer("/1/Conv", 8), layer("/2/Conv", 8)),
    }
    (same, rows), (other, _) = layer_groups(layers, "weight_bits")
    assert (same, other) == (("a", "b"), ("c",))
    assert rows[0].values == ("32", "8")
    assert rows[0].name == "1/Conv (Conv)"


def test_layers_are_read_from_the_shipped_files(home):
    store, artifacts = Store.open(), Artifacts.open()
    example = next(r for r in store.sweeps() if r.example)
    baseline, int8 = store.trials(example.id)[:2]
    before, after = read_layers(baseline.artifact, artifacts), read_layers(int8.artifact, artifacts)
    assert [layer.name for layer in before] == [layer.name for layer in after]
    assert sum(layer.macs for layer in before) == baseline.macs
    assert {layer.weight_bits for layer in before} == {32}
    assert {layer.weight_bits for layer in after} == {8}
    with pytest.raises(NotFoundError):
        read_layers("d" * 64 + ".onnx", artifacts)


def test_bars_are_shares_of_the_baseline():
    info = costs_info({"A": trial(), "B": trial(INT8, size_bytes=25_000, latency_ms=0.5)}, trial())
    assert list(info.bars) == ["B"]
    bars = {b.metric: b for b in info.bars["B"]}
    assert bars["File size"].percent == pytest.approx(25)
    assert bars["Latency"].percent == pytest.approx(50)
    assert (bars["Latency"].low, bars["Latency"].high) == pytest.approx((49, 51))
    assert bars["File size"].low is None
    assert "Energy (est.)" in info.metrics


def test_a_trial_has_the_same_colour_in_both_figures():
    named = {"A": trial(), "B": trial(INT8), "C": trial(FOUR, accuracy=0.8)}
    bars = {t.name: t.marker.color for t in costs_figure(costs_info(named, trial())).data}
    marks = {t.name: t.marker.color for t in accuracy_figure(accuracy_info(named, trial())).data}
    assert set(bars) == {"B", "C"}
    assert bars["B"] == marks["B"] != bars["C"] == marks["C"]


def test_the_number_behind_the_longest_bar_has_room():
    for size in (30_000, 250_000):
        figure = costs_figure(costs_info({"B": trial(INT8, size_bytes=size)}, trial()))
        longest = max(100.0, *figure.data[0].x)
        assert figure.layout.xaxis.range[0] == 0
        assert figure.layout.xaxis.range[1] >= 1.15 * longest
    # Those with a whisker stand clear of it.
    assert [t.startswith("\u2002") for t in figure.data[0].text] == [m == "Latency" for m in figure.data[0].y]


def test_what_the_baseline_lacks_is_no_bar():
    info = costs_info({"B": trial(INT8)}, trial(latency_ms=None))
    assert "Latency" not in info.metrics
    assert len(info.metrics) == len(COSTS) - 1


def test_six_trials_differ_by_hatching_and_mark_not_by_colour_alone():
    trials = sweep_trials()
    named = dict(zip("ABCDEF", trials[1:], strict=False))
    bars = costs_figure(costs_info(named, trials[0]))
    assert len({(t.marker.color, t.marker.pattern.shape) for t in bars.data}) == MOST
    assert len({t.marker.pattern.shape for t in bars.data}) == MOST
    marks = accuracy_figure(accuracy_info(named, trials[0]))
    assert len({t.marker.symbol for t in marks.data}) == MOST
    assert bars.to_json()
    assert marks.to_json()


def test_whiskers_are_the_interval():
    info = accuracy_info({"A": trial(accuracy=0.9)}, trial())
    ((_, value, low, high),) = info.values
    drawn = accuracy_figure(info).data[0]
    half = 1.96 * math.sqrt(0.9 * 0.1 / 10_000) * 100
    assert (value - low, high - value) == pytest.approx((half, half))
    assert drawn.error_x.array[0] == pytest.approx(half)


def test_names_reach_the_browser_escaped():
    named = {"<img src=x>": trial(INT8)}
    assert "<img" not in costs_figure(costs_info(named, trial())).to_json()
    assert "<img" not in accuracy_figure(accuracy_info(named, trial())).to_json()


def test_the_figures_are_told_to_those_who_cannot_see_them():
    named = {"B": trial(INT8, size_bytes=25_000)}
    assert "B: File size 25 %" in costs_alt(costs_info(named, trial()))
    assert "B 90.00 % (" in accuracy_alt(accuracy_info(named, trial()))
    assert "baseline has 90.00 %" in accuracy_alt(accuracy_info(named, trial()))


def test_no_whisker_goes_through_the_number_behind_its_bar():
    """An en space is 6 pixels, and one per cent of the axis on a wide screen as many."""
    bars = [Bar("Latency", 40.0, 40.0 - w, 40.0 + w, "") for w in (0.0, 1.0, 4.0, 7.0)]
    bars += [Bar("Latency", 60.0, 60.0, 59.0, "")]
    info = CostsInfo(
        ("Latency",), {str(i): (bar,) for i, bar in enumerate(bars)}, {str(i): i for i in range(len(bars))}
    )
    texts = [trace.text[0] for trace in costs_figure(info).data]
    clear = [len(text) - len(text.lstrip("\u2002")) for text in texts]
    assert all(spaces >= max(0.0, bar.high - bar.percent) for spaces, bar in zip(clear, bars, strict=True))
    assert clear[0] == clear[-1] == 1
