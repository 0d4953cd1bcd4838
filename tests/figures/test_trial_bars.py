"""One trial drawn: what is computed for its figures, and what the figures then say."""

import numpy as np
import pytest

from engine.figures.trial_bars import (
    MOST_LAYERS,
    Bar,
    bars_alt,
    parts_figure,
    size_by_layer,
    size_types,
    stages_figure,
    stages_info,
)
from engine.figures.trial_latency import (
    histogram_alt,
    histogram_figure,
    histogram_info,
    times_alt,
    times_figure,
    times_info,
)
from engine.figures.trial_recall import recall_alt, recall_figure, recall_info
from engine.quality.statistics import wilson
from engine.spec.recipe import Recipe
from engine.spec.steps import Prune, Quantize
from engine.trials.trial import Stage
from tests.helpers.trial_factory import trial

RECIPE = Recipe(steps=(Prune(method="channel", ratio=0.5), Quantize(weight_bits=8, activation_bits=8)))
STAGES = (
    Stage(0, 0.93, None, 100_000, 9_000_000, 0.2),
    Stage(1, 0.92, 0.001, 50_000, 4_000_000, 0.15),
    Stage(2, 0.919, 0.4, 14_000, 4_000_000, 0.1),
)


def test_every_stage_has_its_value_and_what_it_changed():
    found = stages_info(trial(RECIPE, stages=STAGES))
    assert list(found) == ["accuracy", "size_bytes", "latency_ms"]
    assert [b.value for b in found["size_bytes"]] == [100, 50, 14]
    assert [b.name for b in found["latency_ms"]] == ["baseline", "channels −50 %", "int8"]
    assert found["accuracy"][2].text == "91.90 % (-0.10 points, not told apart)"
    for key, bars in found.items():
        figure = stages_figure(bars, "%" if key == "accuracy" else "kB")
        assert list(figure.data[0].x) == [b.value for b in bars]
        assert [b.name in a.text for a, b in zip(figure.layout.annotations, bars, strict=True)] == [True] * 3
    assert "int8 14.0 kB (-36.0 kB)" in bars_alt("File size", found["size_bytes"])


def test_a_long_name_and_its_text_fit_a_third_of_the_page():
    named = Bar("distil self ×0.5 deep (20 epochs, rate 0.02)", 97.7, "97.74 % (-0.14 points, not told apart)")
    (note,) = stages_figure([named], "%").layout.annotations
    assert named.text.replace("-", "−") in note.text
    # By its beginning and its end.
    assert note.text.startswith("<b>distil self")
    assert "0.02)</b>" in note.text
    assert len(note.text.replace("<b>", "").replace("</b>", "")) <= 58
    (short,) = stages_figure([Bar(named.name, 285.0, "285 kB (-277.6 kB)")], "kB").layout.annotations
    assert "×0.5 deep" in short.text


def test_a_stage_that_was_not_timed_leaves_the_times_out_and_one_stage_is_no_chain():
    untimed = (STAGES[0], Stage(2, 0.919, 0.4, 14_000, 4_000_000, None))
    assert list(stages_info(trial(RECIPE, stages=untimed))) == ["accuracy", "size_bytes"]
    assert stages_info(trial(stages=STAGES[:1])) == {}


@pytest.mark.parametrize("count", [3, MOST_LAYERS, MOST_LAYERS + 25])
def test_bytes_add_up_to_the_file_however_many_layers_there_are(count):
    layers = {f"layer{i}": 100 + i for i in range(count)}
    total = sum(layers.values()) + 77
    parts = {"weights": total - 77, "scales": 0, "biases": 0, "constants": 7, "graph": 70}
    made = trial(size_bytes=total, size_parts=parts, size_layers=layers, layer_bits={"layer2": 4})
    for bars in (size_types(made), size_by_layer(made)):
        assert round(sum(b.value for b in bars) * 1000) == total
        assert sum(int(b.text.split(" ")[0].replace(",", "")) for b in bars) == total
        assert len(parts_figure(bars).layout.annotations) == len(bars)
    assert [b.name for b in size_types(made)] == ["weights", "constants", "graph"]
    named = [b.name for b in size_by_layer(made)]
    assert named[-1] == "no layer’s own"
    assert len(named) <= MOST_LAYERS + 2
    if count > MOST_LAYERS:
        assert named[-2] == "25 smaller layers"
    else:
        assert size_by_layer(made)[2].text.endswith(", 4 bits")


def test_without_parts_there_is_nothing_to_draw():
    assert size_types(trial()) == size_by_layer(trial()) == ()


def test_times_stand_beside_the_baselines_and_the_tail_is_summed():
    rows = [{"name": f"op{i}", "trial_ms": 1.0, "baseline_ms": None if i % 2 else 2.0} for i in range(15)]
    info = times_info([{"name": "", "trial_ms": 3.0, "baseline_ms": 1.0}, *rows], most=12)
    assert info.rows[0] == ("no layer’s own", 3.0, 1.0)
    assert info.rows[-1] == ("4 others", 4.0, 4.0)
    figure = times_figure(info)
    assert [t.name for t in figure.data] == ["this recipe", "baseline"]
    assert list(figure.data[1].x)[2] is None
    assert "op1 1.0000 ms, baseline none" in times_alt(info)


def test_names_from_a_users_graph_are_no_markup():
    info = times_info([{"name": "<script>alert(1)</script>", "trial_ms": 1.0, "baseline_ms": 1.0}])
    figure = times_figure(info)
    assert "<script>" not in str(figure.data[0].customdata)
    layer = trial(size_bytes=10, size_parts={"weights": 10}, size_layers={"<img src=x>": 10})
    assert "<img" not in parts_figure(size_by_layer(layer)).layout.annotations[0].text


def test_the_histogram_counts_every_run_and_says_how_many_are_beyond():
    rng = np.random.default_rng(0)
    own, before = rng.gamma(20, 0.01, 1_000), rng.gamma(20, 0.02, 3_000)
    info = histogram_info(own, before)
    assert [(s.name, s.runs) for s in info.sides] == [("this recipe", 1_000), ("baseline", 3_000)]
    for side, ms in zip(info.sides, (own, before), strict=True):
        assert side.median_ms == pytest.approx(np.median(ms))
        assert side.shares.sum() / 100 * len(ms) + side.beyond == pytest.approx(len(ms))
    assert info.sides[1].beyond == 15
    assert len(histogram_figure(info).data) == 2
    assert "3,000 runs" in histogram_alt(info)


def test_a_baseline_alone_and_runs_that_all_took_as_long_are_drawn():
    info = histogram_info([0.2] * 50, [])
    assert [s.name for s in info.sides] == ["this recipe"]
    assert histogram_figure(info).data[0].name == "this recipe, median 0.2 ms"


def test_recall_is_sorted_with_wilsons_interval_and_the_baselines_mark():
    found = recall_info([0.9, None, 0.8], [0.95, None, 0.7], [100, 0, 50], ["a", "b", "<c>"])
    assert [(r.name, r.before) for r in found] == [("<c>", 0.7), ("a", 0.95)]
    assert (found[0].low, found[0].high) == wilson(40, 50)
    figure = recall_figure(found)
    assert list(figure.layout.yaxis.ticktext) == ["&lt;c&gt;", "a"]
    assert list(figure.data[1].y) == [0, 1]
    assert list(figure.data[0].x) == [70, 95]
    assert recall_figure(recall_info([0.9], None, [10], ["a"])).data[0].x == ()
    assert "2 classes" in recall_alt(found)


def test_layers_whose_names_end_alike_stay_apart():
    names = [f"/features/features.{n}/conv/conv.0/conv.0.0/Conv" for n in range(2, 6)]
    figure = times_figure(times_info([{"name": n, "trial_ms": 1.0, "baseline_ms": 2.0} for n in names]))
    assert list(figure.data[0].y) == [0, 1, 2, 3]
    assert len(figure.layout.yaxis.ticktext) == 4
