"""Why it is not faster: on profiles whose cost is known, and what each finding says."""

import pytest

from engine.explain.advice import explain, float_layers, unfused, vector_width
from engine.measure.profile import Kernel, Profile

FLAGS = ("avx2", "avx512f", "avx512_vnni")


def profile(*kernels, call_ms=None, images=1, macs=1000, channels=None):
    """Kernels as (name, type, layer, ms)."""
    made = tuple(Kernel(*k) for k in kernels)
    layers = {k.layer: macs // max(1, len(made)) for k in made if k.layer}
    total = sum(k.ms for k in made)
    return Profile(made, call_ms or 1.05 * total, images, macs, layers, channels or dict.fromkeys(layers, 64))


FLOATS = profile(("a", "Conv", "a", 3.0), ("b", "Conv", "b", 1.0), ("p", "GlobalAveragePool", "", 0.2))


def test_times_are_told_by_operator_and_by_layer_beside_the_baselines():
    trial = profile(("a", "QLinearConv", "a", 1.0), ("b", "QLinearConv", "b", 0.5), ("x", "QLinearAdd", "", 0.1))
    why = explain(trial, FLOATS, FLAGS)
    assert [(r["name"], r["trial_ms"], r["baseline_ms"]) for r in why.by_type] == [
        ("QLinearConv", 1.5, None), ("QLinearAdd", 0.1, None), ("Conv", None, 4.0), ("GlobalAveragePool", None, 0.2),
    ]  # fmt: skip
    assert [(r["name"], r["trial_ms"], r["baseline_ms"]) for r in why.by_layer] == [
        ("a", 1.0, 3.0), ("b", 0.5, 1.0), ("", 0.1, pytest.approx(0.2)),
    ]  # fmt: skip
    assert (why.trial_ms, why.baseline_ms) == (pytest.approx(1.6), pytest.approx(4.2))
    assert why.time_saved == pytest.approx(1 - 1.6 / 4.2)
    assert why.advice == (
        "it saves no MACs, but has integer kernels and 62 % of the time (1.6 ms in kernels per sample against 4.2 ms)",
    )


def test_times_are_per_image():
    batched = profile(("a", "Conv", "a", 12.0), images=8)
    why = explain(batched, profile(("a", "Conv", "a", 2.0)))
    assert (why.trial_ms, why.by_layer[0]["trial_ms"]) == (1.5, 1.5)
    assert why.time_saved == pytest.approx(0.25)


def test_macs_saved_are_held_against_the_time_saved():
    kept, broken = (profile(("a", "Conv", "a", ms), macs=400) for ms in (1.8, 3.4))
    assert explain(kept, FLOATS).macs_saved == pytest.approx(0.6)
    assert explain(kept, FLOATS).advice[0].startswith("it saves 60 % of the MACs and 57 % of the time")
    assert explain(broken, FLOATS).advice[0].startswith("it saves 60 % of the MACs but only 19 % of the time")
    assert (
        explain(profile(("a", "Conv", "a", 4.3), macs=400), FLOATS)
        .advice[0]
        .startswith("it saves 60 % of the MACs and no time")
    )


def test_weights_only_save_bytes():
    same = profile(("a", "Conv", "a", 3.0), ("b", "Conv", "b", 1.2))
    assert "does the same multiplications" in explain(same, FLOATS).advice[0]
    assert "activation_bits: 8" in explain(same, FLOATS).advice[0]


def test_rounding_inside_the_graph_did_not_fuse_and_that_at_its_ends_is_right():
    clean = profile(
        ("q", "QuantizeLinear", "", 0.1), ("a", "QLinearConv", "a", 1.0), ("d", "DequantizeLinear", "", 0.1)
    )
    assert unfused(clean) == ()
    stray = profile(
        ("q", "QuantizeLinear", "", 0.1), ("a", "QLinearConv", "a", 1.0), ("d1", "DequantizeLinear", "", 0.3),
        ("e", "Erf", "", 0.2), ("q1", "QuantizeLinear", "", 0.4), ("g", "QGemm", "b", 0.2),
    )  # fmt: skip
    assert [k.name for k in unfused(stray)] == ["d1", "q1"]
    advice = explain(stray, FLOATS).advice
    assert any(
        "2 Quantize- and DequantizeLinear nodes did not fuse" in text and "32 % of the time (d1, q1)" in text
        for text in advice
    )
    assert not any("did not fuse" in text for text in explain(clean, FLOATS).advice)


def test_layers_left_in_floats_are_named():
    mixed = profile(("a", "QLinearConv", "a", 1.0), ("b", "Conv", "b", 2.0))
    assert float_layers(mixed) == ("b",)
    assert float_layers(FLOATS) == ()
    assert any(
        "1 layers still multiply in floats and take 67 % of the time (b)" in t for t in explain(mixed, FLOATS).advice
    )


def test_kernels_that_name_no_layer_are_not_told_of_as_a_slow_one():
    trial = profile(("x", "QLinearConv", "", 5.0), ("y", "QLinearConv", "", 3.0))
    assert not any("take longer in integers" in line for line in explain(trial, FLOATS, FLAGS).advice)


def test_layers_that_integers_made_slower_are_named():
    trial = profile(("a", "QLinearConv", "a", 1.0), ("b", "QLinearConv", "b", 2.0))
    why = explain(trial, FLOATS)
    assert any(
        "1 layers take longer in integers than they did before and lose 33 % of the time (b: 2 ms, 1 before)" in t
        for t in why.advice
    )
    assert not any("(a:" in t for t in why.advice)


def test_channels_that_fill_no_vector_count_where_they_take_time():
    pruned = profile(("a", "Conv", "a", 2.0), ("b", "Conv", "b", 0.5), channels={"a": 50, "b": 64}, macs=600)
    why = explain(pruned, FLOATS, FLAGS)
    assert (why.vector_width, why.off_width) == (16, {"a": 50})
    assert any("a has 50" in t and "round_to: 16" in t for t in why.advice)
    slight = profile(("a", "Conv", "a", 0.2), ("b", "Conv", "b", 2.0), channels={"a": 50, "b": 64}, macs=600)
    assert not any("round_to" in t for t in explain(slight, FLOATS, FLAGS).advice)


def test_vectors_are_as_wide_as_the_cpus():
    assert [vector_width(f) for f in (FLAGS, ("avx2",), ("neon", "asimd"), ())] == [16, 8, 4, 4]


def test_a_tiny_network_is_told_that_the_call_costs_more():
    tiny = profile(("a", "Conv", "a", 0.01), call_ms=0.03)
    why = explain(tiny, FLOATS)
    assert why.call_ms == pytest.approx(0.02)
    assert any("67 % of a call is spent outside the kernels" in t and "batch" in t for t in why.advice)


def test_the_weightiest_cause_comes_first():
    trial = profile(
        ("t", "Transpose", "", 3.0),
        ("a", "QLinearConv", "a", 1.0),
        ("d", "DequantizeLinear", "", 0.5),
        ("b", "Conv", "b", 0.6),
    )
    causes = explain(trial, FLOATS).advice[1:]
    assert [next(w for w in ("moving data", "in floats", "did not fuse") if w in t) for t in causes] == [
        "moving data", "in floats", "did not fuse",
    ]  # fmt: skip
