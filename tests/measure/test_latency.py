import itertools
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from tiny_onnx import conv_net, linear_net

from engine.errors import SpecError, StepError
from engine.measure.latency import LatencyResult, measure_latency, summarise
from engine.measure.latency_process import (
    EMPTY_MODEL,
    Limits,
    block_values,
    bootstrap_median,
    choose_cpus,
    take_turns,
)
from engine.spec import LatencyOptions

QUICK = Limits(seconds=0.3, min_seconds=0.0, warm_up_seconds=0.01)


class Stage:
    """A clock and the runs that move it: no test here waits for, or depends on, real time."""

    def __init__(self, seed=0):
        self.now = 0
        self.log = []
        self.rng = np.random.default_rng(seed)

    def clock(self):
        return self.now

    def run(self, name, ms, noise=0.0):
        """A run of `ms`, a number or a function of the seconds passed, with log-normal noise."""

        def take():
            mean = ms(self.now * 1e-9) if callable(ms) else ms
            self.log.append(name)
            self.now += int(mean * np.exp(noise * self.rng.standard_normal()) * 1e6)

        return take

    def turns(self, candidate_ms, baseline_ms, limits=Limits(), noise=0.0):  # noqa: B008 - frozen
        baseline = None if baseline_ms is None else self.run("b", baseline_ms, noise)
        return take_turns(self.run("c", candidate_ms, noise), baseline, limits, self.clock)


def _samples(turns, **fields):
    return {
        "candidate_ms": turns.candidate_ms,
        "baseline_ms": turns.baseline_ms,
        "stopped_by": turns.stopped_by,
        "elapsed_s": turns.elapsed_s,
        "load_ms": 1.5,
        "peak_memory_bytes": 4096,
        "cpus": [1],
    } | fields


def test_steady_times_stop_at_the_minimum_and_give_the_exact_ratio():
    turns = Stage().turns(1.0, 4.0)
    result = summarise(_samples(turns), LatencyOptions())
    assert turns.stopped_by == "interval"
    assert 1.0 <= turns.elapsed_s < 1.6
    assert len(turns.candidate_ms) >= 20
    assert sum(map(len, turns.candidate_ms)) >= 100
    assert (result.latency_ratio.value, result.latency_ratio.low, result.latency_ratio.high) == (0.25, 0.25, 0.25)
    assert (result.latency_ms.p50, result.latency_ms.p95, result.latency_ms.p99) == (1, 1, 1)


def test_noise_that_never_settles_stops_at_the_time_limit():
    turns = Stage().turns(1.0, 4.0, noise=1.5)
    assert turns.stopped_by == "time limit"
    assert 2.5 <= turns.elapsed_s < 3.5


def test_a_network_slower_than_the_limit_is_still_measured_three_times():
    stage = Stage()
    turns = stage.turns(2000.0, 4000.0)
    assert turns.stopped_by == "time limit"
    assert [len(b) for b in turns.candidate_ms] == [1, 1, 1]
    assert stage.log.count("c") == 4  # one to warm up


def test_candidate_and_baseline_take_turns_and_swap_who_goes_first():
    stage = Stage()
    stage.turns(1.0, 1.0)
    groups = [(name, len(list(runs))) for name, runs in itertools.groupby(stage.log)]
    warm_up, timed = groups[:2], groups[3:-1]
    assert [name for name, _ in warm_up] == ["c", "b"]
    # Twenty timed runs and one that is not, twice in a row: c b, b c, c b, ...
    assert {length for _, length in timed} == {42}
    assert {name for name, _ in timed} == {"c", "b"}


def test_the_run_after_a_switch_is_not_counted():
    stage = Stage()
    cold = [True]

    def candidate():
        stage.now += 9_000_000 if cold[0] else 1_000_000
        cold[0] = False

    def baseline():
        stage.now += 1_000_000
        cold[0] = True

    turns = take_turns(candidate, baseline, Limits(), stage.clock)
    assert {ms for block in turns.candidate_ms for ms in block} == {1.0}


def test_what_slows_both_down_leaves_the_ratio_alone():
    def factor(seconds):
        return 1.0 if seconds < 0.6 else 3.0

    limits = Limits(half_width=0)
    turns = Stage().turns(lambda s: 0.5 * factor(s), lambda s: 2.0 * factor(s), limits, noise=0.02)
    result = summarise(_samples(turns), LatencyOptions())
    assert result.latency_ratio.value == pytest.approx(0.25, rel=0.01)
    assert result.latency_ratio.high / result.latency_ratio.low < 1.02


def test_very_fast_networks_leave_few_enough_samples_to_store():
    turns = Stage().turns(0.05, 0.1)
    assert max(map(len, turns.candidate_ms)) == 50
    assert sum(map(len, turns.candidate_ms)) < 20_000
    assert turns.elapsed_s >= 1  # though twenty steady blocks took less than a fifth of that


def test_without_a_baseline_the_ratio_is_one():
    turns = Stage().turns(3.0, None, noise=0.1)
    result = summarise(_samples(turns), LatencyOptions(batch=6))
    assert turns.baseline_ms == ()
    assert (result.latency_ratio.value, result.latency_ratio.low, result.latency_ratio.high) == (1, 1, 1)
    assert result.latency_interval_ms.low < result.latency_ms.p50 < result.latency_interval_ms.high
    assert result.throughput_per_s == pytest.approx(6000 / result.latency_ms.p50)


def test_the_interval_covers_the_true_ratio_in_about_95_percent():
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(250):
        _, low, high = bootstrap_median(0.6 * np.exp(0.05 * rng.standard_normal(40)))
        covered += low <= 0.6 <= high
    assert 0.92 <= covered / 250 <= 0.98


def test_block_values_are_ratios_of_neighbours():
    np.testing.assert_allclose(block_values([(1, 2, 3), (4.0,)], [(4, 4), (2, 2, 9)]), [0.5, 2.0])
    np.testing.assert_allclose(block_values([(1, 2, 3), (4.0,)], ()), [2, 4])


def test_recorded_samples_give_the_same_result_again():
    turns = Stage().turns(1.0, 1.7, noise=0.2)
    result = summarise(_samples(turns), LatencyOptions(threads=2, batch=4))
    record = json.loads(json.dumps(result.to_json())) | {"machine": {"cpu": "added by others"}}
    assert LatencyResult.from_json(record) == result
    tampered = replace(result, latency_ms=replace(result.latency_ms, p50=0.1))
    assert LatencyResult.from_json(tampered.to_json()) == result


def test_percentiles_are_those_of_all_runs():
    blocks = [[float(ms) for ms in range(1, 51)], [float(ms) for ms in range(51, 102)]]
    result = summarise(_samples(Stage().turns(1.0, None)) | {"candidate_ms": blocks}, LatencyOptions())
    assert (result.latency_ms.p50, result.latency_ms.p95, result.latency_ms.p99) == pytest.approx((51, 96, 100))


def test_pinning_prefers_fast_cores_then_cores_of_their_own():
    siblings = {0: "0,4", 4: "0,4", 1: "1,5", 5: "1,5", 2: "2", 3: "3"}
    mhz = {0: 5000, 4: 5000, 1: 5000, 5: 5000, 2: 3000, 3: 3000}
    assert choose_cpus(siblings, 2, siblings, mhz) == (5, 4)
    assert choose_cpus(siblings, 5, siblings, mhz) == (5, 4, 3, 2, 1)
    assert choose_cpus([0, 1], 1, {}, {}) == (1,)


def test_a_real_pair_is_measured_in_a_process_of_its_own(tmp_path):
    candidate, baseline = conv_net(tmp_path / "c.onnx", 4), conv_net(tmp_path / "b.onnx", 32)
    result = measure_latency(candidate, baseline, (1, 8, 8), LatencyOptions(batch=2), QUICK)
    assert 0 < result.latency_ms.p50 <= result.latency_ms.p95 <= result.latency_ms.p99
    assert result.latency_ratio.low <= result.latency_ratio.value <= result.latency_ratio.high
    assert len(result.candidate_ms) == len(result.baseline_ms) >= 3
    assert result.stopped_by in {"interval", "time limit"}
    assert result.load_ms > 0
    if sys.platform == "linux":
        assert len(result.cpus) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_peak_memory_is_the_candidates_alone(tmp_path):
    small = linear_net(tmp_path / "small.onnx", np.ones((64, 10)), 8)
    large = linear_net(tmp_path / "large.onnx", np.ones((4096, 1000)), 64)  # 16 MB of weights
    quick = replace(QUICK, seconds=0.1)
    alone = measure_latency(small, None, (1, 8, 8), LatencyOptions(), quick).peak_memory_bytes
    beside = measure_latency(
        small, conv_net(tmp_path / "b.onnx", 2048), (1, 8, 8), LatencyOptions(), quick
    ).peak_memory_bytes
    heavy = measure_latency(large, None, (1, 64, 64), LatencyOptions(), quick).peak_memory_bytes
    assert alone < 4_000_000
    assert abs(beside - alone) < 2_000_000
    assert 16_000_000 < heavy < 80_000_000


def test_the_timing_process_imports_nothing_heavy():
    code = "import sys, engine.measure.latency_process; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "numpy" in loaded
    assert not {"torch", "pydantic", "onnx", "pandas", "yaml"} & set(loaded)


def test_the_empty_model_is_a_valid_identity():
    model = onnx.load_from_string(EMPTY_MODEL)
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["Identity"]


def test_files_that_cannot_be_timed_are_named_in_one_line(tmp_path):
    good = conv_net(tmp_path / "good.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(good.read_bytes()[:150])
    for candidate, baseline, shape, words in (
        (broken, good, (1, 8, 8), "cannot load broken.onnx"),
        (good, tmp_path / "gone.onnx", (1, 8, 8), "cannot load gone.onnx"),
        (good, None, (3, 8, 8), "good.onnx does not run on input of shape (1, 3, 8, 8)"),
        (conv_net(tmp_path / "four.onnx", batch=4), None, (1, 8, 8), "set measure.latency.batch to that"),
    ):
        with pytest.raises(StepError) as caught:
            measure_latency(candidate, baseline, shape, LatencyOptions(), QUICK)
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="stands a shell script in for the interpreter")
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("kill -9 $$", "killed by signal 9"),
        ("echo hello", "ended with code 0: no output"),
        ("echo first >&2; echo last >&2; exit 3", "ended with code 3: last"),
    ],
)
def test_a_timing_process_that_dies_is_reported(tmp_path, monkeypatch, script, words):
    interpreter = tmp_path / "python"
    interpreter.write_text(f"#!/bin/sh\ncat > /dev/null\n{script}\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    with pytest.raises(StepError, match=words):
        measure_latency(tmp_path / "x.onnx", None, (1, 8, 8), LatencyOptions(), QUICK)


def test_more_threads_than_cpus_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(SpecError, match=r"measure\.latency\.threads is 1000, but there"):
        measure_latency(tmp_path / "x.onnx", None, (1, 8, 8), LatencyOptions(threads=1000))
