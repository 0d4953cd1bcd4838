"""What people read: numbers with units and sensible digits, recipes as sentences."""

import math
from dataclasses import replace

import pytest

from engine.metrics import METRICS, axis_title, based, shown, text_of
from engine.spec.recipe import Recipe
from engine.spec.runtime import Runtime
from engine.spec.sentences import recipe_texts
from engine.spec.steps import Distill, Finetune, Prune, Quantize
from engine.trials.evidence import Accuracy, Confirmation, Interval
from engine.trials.measurements import Timing
from engine.trials.text import (
    baseline_text,
    best_text,
    confirmation_text,
    is_estimated,
    metric_range,
    placement_texts,
    stage_rows,
    sums_text,
    timing_texts,
    with_minus,
)
from engine.trials.trial import Stage
from tests.helpers.trial_factory import trial


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("accuracy", 0.91236, "91.24 %"),
        ("size_bytes", 84_312, "84.3 kB"),
        ("size_bytes", 1_234_567, "1,235 kB"),
        ("latency_ms", 0.40321, "0.403 ms"),
        ("latency_ms", 0.0, "0.00 ms"),
        ("latency_ms", 0.0000341, "0.000034 ms"),
        ("latency_ms", 0.00000047, "4.7×10⁻⁷ ms"),
        ("latency_ms", 1e-9, "10⁻⁹ ms"),
        ("latency_ratio", 0.456, "0.456 ×"),
        ("energy_mj", 123.456, "123 mJ"),
        ("params", 78_042, "78,042"),
        ("macs", 12_345_678, "12.3 M"),
        ("vs_baseline", -0.00412, "-0.41 points"),
        ("vs_baseline", -0.00004, "0.00 points"),
        ("accuracy", -1e-17, "0.00 %"),
        ("latency_ms", -0.0, "0.00 ms"),
        ("macs", -1.5e6, "-1.50 M"),
        ("flip_rate", 0.0312, "3.12 %"),
        ("nll", 0.21345, "0.213 nats"),
        ("macs", None, "–"),
        ("energy_mj", math.nan, "–"),
    ],
)
def test_numbers_have_units_and_sensible_digits(key, value, text):
    assert text_of(key, value) == text


@pytest.mark.parametrize("key", METRICS)
def test_shown_units_convert_back(key):
    assert based(key, shown(key, 12_345.0)) == pytest.approx(12_345.0)


def test_unit_can_be_left_out():
    assert text_of("size_bytes", 84_312, unit=False) == "84.3"


def test_ranges_are_those_of_the_device():
    made = trial(latency_ms=1.0, energy_mj=2.0)
    # What was measured is the ratio to the baseline, so its interval is the latency's.
    assert metric_range(made, "latency_ms") == pytest.approx((0.98, 1.02))
    assert metric_range(trial(latency_ratio=None), "latency_ms") is None
    assert metric_range(made, "latency_ms", "stm32h7a3-xcubeai") == (60.0, 110.0)
    assert metric_range(made, "energy_mj") == pytest.approx((1.4, 2.8))
    assert metric_range(made, "latency_ratio") == pytest.approx((0.98, 1.02))
    assert metric_range(trial(accuracy=None), "accuracy") is None


def test_latency_is_estimated_off_the_host_and_energy_where_it_says_so():
    made = trial()
    assert not is_estimated(made, "latency_ms")
    assert is_estimated(made, "latency_ms", "stm32h7a3-xcubeai")
    assert is_estimated(made, "energy_mj")
    assert not is_estimated(made, "accuracy", "stm32h7a3-xcubeai")


def test_titles_name_device_truth_and_unit():
    assert axis_title("latency_ms") == "Latency (ms)"
    assert axis_title("energy_mj", "some-board", estimated=True) == "Energy on some-board, estimated (mJ)"
    assert axis_title("params", "some-board") == "Parameters"


def test_a_recipe_is_told_step_by_step():
    recipe = Recipe(
        steps=(
            Distill(student="ds_cnn", epochs=2, samples=25_000),
            Prune(method="channel", ratio=0.25),
            Finetune(epochs=1),
            Quantize(weight_bits=8, activation_bits=8, calibration_samples=256),
        )
    )
    assert recipe_texts(recipe) == [
        "Train ds_cnn with the baseline as its teacher (temperature 4, weight 0.9), 2 epochs of 25,000 samples",
        "Remove whole channels until 25 % of the parameters are gone, those with the smallest weights, the same share in each layer",
        "Train on for 1 epoch",
        "Compute in integers: weights in 8 bits, one scale per channel, rounded up or down as learned on calibration samples, "
        "activations in 8 bits, ranges from 256 calibration samples",
    ]


def test_weight_only_steps_and_the_baseline_are_told():
    assert recipe_texts(Recipe()) == ["The network as it came: nothing removed, 32-bit floats"]
    four = Recipe(steps=(Quantize(weight_bits=4, activation_bits=32, per_channel=False),))
    assert recipe_texts(four) == ["Store weights in 4 bits, one scale per layer; compute in floats"]
    half = Recipe(steps=(Prune(method="magnitude", ratio=0.5), Quantize(weight_bits=16, activation_bits=32)))
    assert recipe_texts(half) == [
        "Set 50 % of all weights to zero, the smallest, wherever they matter least",
        "Store weights as 16-bit floats; compute in 32-bit floats",
    ]


def test_what_each_stage_bought_is_the_difference_to_the_one_before():
    recipe = Recipe(
        steps=(Prune(method="channel", ratio=0.5), Finetune(epochs=1), Quantize(weight_bits=8, activation_bits=8))
    )
    stages = (
        Stage(0, 0.93, None, 300_000, 10_000_000, 0.5),
        Stage(2, 0.92, 0.001, 150_000, 5_000_000, 0.3),
        Stage(3, 0.919, 0.4, 45_000, 5_000_000, 0.2),
    )
    rows = stage_rows(trial(recipe, stages=stages))
    assert [r["After"] for r in rows] == ["baseline", "channels −50 % · finetune 1", "int8"]
    assert rows[0]["Accuracy"] == "93.00 %"
    assert rows[1]["Accuracy"] == "92.00 % (-1.00 points)"
    assert rows[2]["Accuracy"] == "91.90 % (-0.10 points, not told apart)"
    assert rows[1]["File size"] == "150 kB (-150.0 kB)"
    assert rows[2]["Latency"] == "0.200 ms (-0.100 ms)"


def test_a_small_change_has_the_digits_of_the_time_and_no_change_has_no_sign() -> None:
    recipe = Recipe(steps=(Quantize(weight_bits=8, activation_bits=8),))
    stages = (Stage(0, 0.93, None, 100_000, 9, 0.0540), Stage(1, 0.93, 1.0, 100_000, 9, 0.0539))
    row = stage_rows(trial(recipe, stages=stages))[1]
    assert row["Latency"] == "0.0539 ms (-0.0001 ms)"
    assert row["Accuracy"] == "93.00 % (0.00 points, not told apart)"
    assert row["File size"] == "100 kB (0.0 kB)"


def test_a_minus_is_no_dash() -> None:
    text = "-0.4 points [-1, 0], 4-bit weights of w-2, 1e-07, 3-5"
    assert with_minus(text) == "−0.4 points [−1, 0], 4-bit weights of w-2, 1e-07, 3-5"


def test_a_teacher_is_told_without_the_folders_of_its_owner():
    text = recipe_texts(Recipe(steps=(Distill(student="ds_cnn", teacher="/home/me/secret/big.onnx"),)))[0]
    assert "with big.onnx as its teacher" in text


def test_the_comparison_with_the_baseline_is_told_with_its_interval():
    tied = Accuracy(0.9, 0.89, 0.91, 1000, 0.3, Interval(-0.002, -0.006, 0.002))
    assert baseline_text(trial(accuracy=None, id="x")) == ""
    assert baseline_text(replace(trial(), accuracy=tied)) == (
        "tied with the baseline (p = 0.300, McNemar), -0.20 points (-0.60 to +0.20)"
    )
    different = replace(tied, p_vs_baseline=1e-5, vs_baseline=None)
    assert baseline_text(replace(trial(), accuracy=different)) == "different from the baseline (p < 0.001, McNemar)"


def test_what_held_back_images_said_is_told_with_how_often_they_were_asked():
    held = Accuracy(0.9, 0.88, 0.92, 500, 0.2, Interval(-0.01, -0.02, 0.005))
    text = confirmation_text(replace(trial(), confirmation=Confirmation(held, 0.91, 2, "2026-11-23T10:00:00+00:00")))
    assert text == (
        "90.00 % (88.00 to 92.00) on 500 held-back samples, -1.00 points (-2.00 to +0.50) against the baseline’s 91.00 %: tied with it; "
        "number 2 of this sweep to be confirmed on them"
    )
    assert confirmation_text(trial()) == ""


def test_the_recommendation_says_how_sure_it_is_and_what_picking_flatters():
    assert best_text(0.64, 0.0031, 24) == (
        "The same choice in 64 % of redraws of the measurements; picked from 24 by the samples it is scored on, its accuracy is expected "
        "to be 0.31 points too high"
    )
    assert best_text(None, None, 0) == ""
    assert best_text(0.999, None, 5) == "The same choice in over 99 % of redraws of the measurements"


@pytest.mark.parametrize(
    ("options", "label", "text"),
    [
        ({"threads": 1}, "1 thread", "Run with 1 thread"),
        ({"threads": 4, "batch": 8}, "4 threads · batch 8", "Run with 4 threads, 8 samples per call"),
        (
            {"graph_optimisation": "disable", "provider": "CUDAExecutionProvider"},
            "graph as stored · CUDA",
            "Run with the graph as it is stored, the CUDA provider",
        ),
    ],
)
def test_a_runtime_is_told_by_what_it_states(options, label, text):
    recipe = Recipe(steps=(Runtime(**options),))
    assert recipe.label == label
    assert recipe_texts(recipe) == [text]


def test_how_a_latency_was_measured_is_told_in_full():
    timing = Timing(
        threads=2, batch=8, baseline_batch=1, graph_optimisation="all", provider="CPU", cpus=(0, 1), stopped="time limit",
        half_width=0.034, processes=5, blocks=120, disturbed_blocks=20, first_run_ms=1.234, arena_bytes=None,
    )  # fmt: skip
    assert timing_texts(timing) == [
        "Run with 2 threads, 8 samples per call, every graph optimisation, the CPU provider, pinned to CPU 0, 1; the baseline with a "
        "batch of 1",
        "Latency: 100 pairs of blocks in 5 processes, 20 more disturbed and not counted; interval ±3.4 %, stopped by the time limit",
        "First run after loading 1.23 ms",
    ]


def test_an_accuracy_counted_where_sums_saturate_says_so_and_what_it_is_elsewhere():
    here = replace(trial(), accuracy=Accuracy(0.81, 0.8, 0.82, 10_000, exact_sums=0.8153))
    assert sums_text(here) == (
        "accuracy was counted on a CPU whose int8 sums saturate; with exact sums (CPUs with VNNI or AMX, Arm) the same file has "
        "81.53 % on the same samples"
    )
    assert sums_text(replace(here, accuracy=Accuracy(0.81, 0.8, 0.82, 10_000))) == ""
    assert sums_text(replace(here, accuracy=None)) == ""


@pytest.mark.parametrize(
    ("provider", "placement", "texts"),
    [
        ("CPU", {}, []),
        ("OpenVINO", {"OpenVINO": {"Conv": 9, "Relu": 9}}, ["OpenVINO runs all 18 operators"]),
        (
            "OpenVINO",
            {"CPU": {"LpPool": 1, "Det": 2}, "OpenVINO": {"Conv": 9}},
            ["OpenVINO runs 9 of 12 operators; the CPU runs 3: Det, LpPool"],
        ),
        (
            "TensorRT",
            {"CPU": {"Det": 1}, "TensorRT": {"Conv": 9}, "CUDA": {"Relu": 2}},
            [
                "TensorRT runs 9 of 12 operators; the CPU runs 1: Det; CUDA runs 2: Relu",
                "Timed with input and output in the device's memory, until it is done; copies to and from the host are not in it",
            ],
        ),
    ],
)
def test_what_ran_where_is_told(provider, placement, texts):
    timing = Timing(
        threads=1, batch=1, baseline_batch=1, graph_optimisation="all", provider=provider, cpus=(), stopped="precise",
        half_width=0.02, processes=3, blocks=9, disturbed_blocks=0, first_run_ms=1.0, arena_bytes=None, placement=placement,
    )  # fmt: skip
    assert timing_texts(timing)[1:-2] == texts
    assert placement_texts(provider, placement) == texts
