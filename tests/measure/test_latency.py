import itertools
import json
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import onnx
import pytest

from engine.errors import SpecError, StepError
from engine.measure.latency import LatencyResult, measure_latency, summarise
from engine.measure.latency_process import EMPTY_MODEL, Limits, arena_bytes, logs_of, take_turns
from engine.spec.runtime import Runtime
from engine.spec.sections import LatencyOptions
from tests.helpers.tiny_onnx import conv_net, linear_net

QUICK = LatencyOptions(time_limit_s=0.8, processes=1)
ONE = LatencyOptions().filled(None)


class Stage:
    """A clock and the runs that move it: no test here waits for, or depends on, real time."""

    def __init__(self, seed=0):
        self.now = 0
        self.log = []
        self.switches = 0
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
        return take_turns(self.run("c", candidate_ms, noise), baseline, limits, self.clock, lambda: self.switches)


def _process(turns, **fields):
    """What one measuring process would have answered."""
    cold = {"load_ms": 1.5, "first_run_ms": 2.5, "peak_memory_bytes": 4096, "arena_bytes": None, "cpus": [1]}
    return json.loads(json.dumps(asdict(turns) | cold | fields))


def _result(*turns, runtime=ONE, **fields):
    return summarise([_process(t, **fields) for t in turns], runtime, ONE, "precise", 1.0)


def test_steady_times_stop_at_the_minimum_and_give_the_exact_ratio():
    turns = Stage().turns(1.0, 4.0)
    result = _result(turns)
    assert 0.3 <= turns.elapsed_s < 1.0
    assert len(turns.candidate_ms) >= 20
    assert sum(map(len, turns.candidate_ms)) >= 50
    assert asdict(result.latency_ratio) == pytest.approx({"value": 0.25, "low": 0.25, "high": 0.25})
    assert result.half_width == pytest.approx(0, abs=1e-6)
    assert (result.latency_ms.p50, result.latency_ms.p95, result.latency_ms.p99) == (1, 1, 1)


def test_noise_that_never_settles_ends_with_the_time_of_the_process():
    turns = Stage().turns(1.0, 4.0, noise=1.5)
    assert 1.25 <= turns.elapsed_s < 2


def test_a_network_slower_than_the_limit_is_still_measured():
    stage = Stage()
    turns = stage.turns(2000.0, 4000.0)
    assert [len(b) for b in turns.candidate_ms] == [1]
    assert stage.log.count("c") == 2  # one to warm up


def test_candidate_and_baseline_take_turns_and_swap_who_goes_first():
    stage = Stage()
    stage.turns(1.0, 1.0)
    groups = [(name, len(list(runs))) for name, runs in itertools.groupby(stage.log)]
    warm_up, timed = groups[:2], groups[3:-1]
    assert [name for name, _ in warm_up] == ["c", "b"]
    # Three timed runs and one that is not, twice in a row: c b, b c, c b, ...
    assert {length for _, length in timed} == {8}
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

    turns = take_turns(candidate, baseline, Limits(), stage.clock, lambda: 0)
    assert {ms for block in turns.candidate_ms for ms in block} == {1.0}


def test_what_slows_both_down_leaves_the_ratio_alone():
    def factor(seconds):
        return 1.0 if seconds < 0.6 else 3.0

    limits = Limits(half_width=0)
    turns = Stage().turns(lambda s: 0.5 * factor(s), lambda s: 2.0 * factor(s), limits, noise=0.02)
    result = _result(turns)
    assert result.latency_ratio.value == pytest.approx(0.25, rel=0.01)
    assert result.latency_ratio.high / result.latency_ratio.low < 1.02


def test_blocks_in_which_the_process_lost_its_core_do_not_count():
    stage = Stage()
    runs = itertools.count()

    def candidate():
        # Now and then another process takes the core for 4 ms, for most of a block's runs.
        lost = next(runs) % 24 in {1, 2, 3}
        stage.switches += lost
        stage.now += 5_000_000 if lost else 1_000_000

    turns = take_turns(candidate, stage.run("b", 2.0), Limits(half_width=0), stage.clock, lambda: stage.switches)
    hit = [s > 0 for s in turns.switches]
    assert 0.1 < np.mean(hit) < 0.5
    assert len(logs_of(asdict(turns))) == len(hit) - sum(hit)
    result = _result(turns)
    assert result.disturbed_blocks == sum(hit)
    assert asdict(result.latency_ratio) == pytest.approx({"value": 0.5, "low": 0.5, "high": 0.5})
    assert result.latency_ms.p99 == 5.0  # the raw samples keep them


def test_very_fast_networks_leave_few_enough_samples_to_store():
    turns = Stage().turns(0.05, 0.1)
    assert max(map(len, turns.candidate_ms)) == 50
    assert sum(map(len, turns.candidate_ms)) < 5_000
    assert turns.elapsed_s >= 0.3  # though twenty steady blocks took less than that


def test_without_a_baseline_the_ratio_is_one():
    turns = Stage().turns(3.0, None, noise=0.1)
    result = _result(turns, runtime=ONE.model_copy(update={"batch": 6}))
    assert turns.baseline_ms == ()
    assert (result.latency_ratio.value, result.latency_ratio.low, result.latency_ratio.high) == (1, 1, 1)
    assert result.latency_interval_ms.low < result.latency_ms.p50 < result.latency_interval_ms.high
    assert result.throughput_per_s == pytest.approx(6000 / result.latency_ms.p50)


def test_with_other_batches_times_are_of_a_call_and_the_ratio_is_per_image():
    result = _result(Stage().turns(4.0, 1.0), runtime=ONE.model_copy(update={"batch": 8}))
    assert result.latency_ms.p50 == 4.0
    assert result.latency_ratio.value == pytest.approx(0.5)  # 4 ms for eight images against 1 ms for one
    assert result.throughput_per_s == pytest.approx(2000)


def test_recorded_samples_give_the_same_result_again():
    turns = [Stage(seed).turns(1.0, 1.7, noise=0.2) for seed in range(3)]
    result = _result(*turns, runtime=Runtime(threads=2, batch=4, graph_optimisation="basic", provider="CPU"))
    record = json.loads(json.dumps(result.to_json())) | {"machine": {"cpu": "added by others"}}
    assert LatencyResult.from_json(record) == result
    tampered = replace(result, latency_ms=replace(result.latency_ms, p50=0.1))
    assert LatencyResult.from_json(tampered.to_json()) == result


def test_percentiles_are_those_of_all_runs_of_all_processes():
    turns = Stage().turns(1.0, None)
    blocks = ([[float(ms) for ms in range(1, 51)]], [[float(ms) for ms in range(51, 102)]])
    processes = [_process(turns, candidate_ms=b, switches=[0]) for b in blocks]
    result = summarise(processes, ONE, ONE, "precise", 1.0)
    assert (result.latency_ms.p50, result.latency_ms.p95, result.latency_ms.p99) == pytest.approx((51, 96, 100))


class Replayed:
    """Stands in for the measuring process: answers with the turns given, one for each call, and moves the clock."""

    def __init__(self, turns, seconds=1.0, **fields):
        self.turns, self.seconds, self.fields = iter(turns), seconds, fields
        self.now, self.requests = 0.0, []

    def __call__(self, request, timeout_s):
        self.requests.append(json.loads(json.dumps(request)))
        self.now += self.seconds
        return _process(next(self.turns), **self.fields)

    def measure(self, tmp_path, options=LatencyOptions(), runtime=None):  # noqa: B008 - frozen
        paths = tmp_path / "c.onnx", tmp_path / "b.onnx"
        return measure_latency(*paths, (1, 8, 8), options, runtime, ask=self, clock=lambda: self.now)


def _turns(ratio, noise=0.002, seed=0):
    return Stage(seed).turns(ratio, 1.0, Limits(seconds=0.6), noise)


def test_processes_that_agree_stop_when_the_interval_is_narrow_enough(tmp_path):
    replayed = Replayed([_turns(0.5, seed=s) for s in range(3)])
    result = replayed.measure(tmp_path)
    assert (result.stopped, len(result.processes)) == ("precise", 3)
    assert result.half_width is not None
    assert result.half_width <= 0.02
    assert result.latency_ratio.value == pytest.approx(0.5, rel=0.01)
    assert [r["arena"] for r in replayed.requests] == [True, False, False]


def test_processes_that_differ_call_for_more_of_them(tmp_path):
    """Each is sure of itself to ±0.2 %, yet two say 0.50 and one 0.52: more processes settle it, or the time is over."""
    ratios = [0.50, 0.52, 0.50, 0.505, 0.502, 0.5, 0.501, 0.5, 0.5, 0.5]
    settled = Replayed([_turns(r, seed=s) for s, r in enumerate(ratios)]).measure(tmp_path)
    assert settled.stopped == "precise"
    assert len(settled.processes) > 3
    apart = Replayed([_turns(r, seed=s) for s, r in enumerate([0.4, 0.6] * 20)]).measure(tmp_path)
    assert (apart.stopped, len(apart.processes)) == ("time limit", 10)
    assert apart.half_width is not None
    assert apart.half_width > 0.02
    assert apart.latency_ratio.low < 0.45 < 0.55 < apart.latency_ratio.high


def test_the_width_asked_for_is_an_option(tmp_path):
    turns = [_turns(r, seed=s) for s, r in enumerate([0.50, 0.52] * 20)]
    loose = Replayed(turns).measure(tmp_path, LatencyOptions(half_width=0.1))
    strict = Replayed(turns).measure(tmp_path, LatencyOptions(half_width=0.001, time_limit_s=7))
    assert (loose.stopped, len(loose.processes)) == ("precise", 3)
    assert (strict.stopped, len(strict.processes)) == ("time limit", 7)


def test_a_runtime_step_is_for_the_candidate_alone(tmp_path):
    replayed = Replayed([_turns(0.5, seed=s) for s in range(3)])
    result = replayed.measure(tmp_path, LatencyOptions(batch=2), Runtime(batch=8, graph_optimisation="basic"))
    candidate, baseline = replayed.requests[0]["sessions"]
    assert candidate == {"threads": 1, "batch": 8, "graph_optimisation": "basic", "provider": "CPU"}
    assert baseline == {"threads": 1, "batch": 2, "graph_optimisation": "all", "provider": "CPU"}
    assert result.latency_ratio.value == pytest.approx(0.125, rel=0.01)


def test_the_arena_is_read_from_the_runtimes_log():
    log = "[I:onnxruntime] Total allocated bytes: 1051432\n[I] Extended\n[I] Total allocated bytes: 3148584\n"
    assert arena_bytes(log) == 3_148_584
    assert arena_bytes("nothing of the kind") is None


def test_a_real_pair_is_measured_in_a_process_of_its_own(tmp_path):
    candidate, baseline = conv_net(tmp_path / "c.onnx", 4), conv_net(tmp_path / "b.onnx", 32)
    result = measure_latency(candidate, baseline, (1, 8, 8), QUICK, Runtime(batch=2, graph_optimisation="basic"))
    assert 0 < result.latency_ms.p50 <= result.latency_ms.p95 <= result.latency_ms.p99
    assert result.latency_ratio.low <= result.latency_ratio.value <= result.latency_ratio.high
    # One is asked for; where something else takes the cores, it is not precise, and there may be more.
    for process in result.processes:
        assert len(process["candidate_ms"]) == len(process["baseline_ms"]) == len(process["switches"])
        assert len(process["cpus"]) == (sys.platform == "linux")
    assert result.blocks == sum(len(p["switches"]) for p in result.processes)
    assert result.stopped == ("precise" if result.half_width <= 0.02 else "time limit")
    assert result.load_ms > 0
    assert result.first_run_ms > 0
    if sys.platform == "linux":
        assert result.arena_bytes > 0


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_peak_memory_is_the_candidates_alone(tmp_path):
    small = linear_net(tmp_path / "small.onnx", np.ones((64, 10)), 8)
    large = linear_net(tmp_path / "large.onnx", np.ones((4096, 1000)), 64)  # 16 MB of weights
    quick = LatencyOptions(time_limit_s=0.4, processes=1)
    alone = measure_latency(small, None, (1, 8, 8), quick).peak_memory_bytes
    beside = measure_latency(small, conv_net(tmp_path / "b.onnx", 2048), (1, 8, 8), quick).peak_memory_bytes
    heavy = measure_latency(large, None, (1, 64, 64), quick).peak_memory_bytes
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
            measure_latency(candidate, baseline, shape, QUICK)
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
        measure_latency(tmp_path / "x.onnx", None, (1, 8, 8), QUICK)


def test_more_threads_than_cpus_is_refused_before_anything_runs(tmp_path):
    with pytest.raises(SpecError, match=r"measure\.latency\.threads is 1000, but there"):
        measure_latency(tmp_path / "x.onnx", None, (1, 8, 8), LatencyOptions(threads=1000))
    with pytest.raises(SpecError, match="runtime: threads is 999, but there"):
        measure_latency(tmp_path / "x.onnx", None, (1, 8, 8), LatencyOptions(), Runtime(threads=999))


def test_a_provider_that_is_missing_is_told_by_the_measuring_process(tmp_path):
    with pytest.raises(StepError, match="runtime: provider TensorRT is not in this onnxruntime"):
        measure_latency(conv_net(tmp_path / "x.onnx"), None, (1, 8, 8), QUICK, Runtime(provider="TensorRT"))
