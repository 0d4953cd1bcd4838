"""The one table of a trial's numbers: what `trials --json` says, beside the baseline."""

from __future__ import annotations

import math

from engine.metrics import METRICS
from engine.store.store import Store
from engine.trials.number_table import ELSEWHERE, GROUPS, number_table
from tests.helpers.trial_factory import INT8, sweep_trials, trial


def by_key(found, device="host"):
    return {n.key: n for n in found if n.device == device}


def test_its_numbers_are_those_of_the_json(home):
    store = Store.open()
    trials = [t for row in store.sweeps() if row.example for t in store.trials(row.id) if t.state == "done"]
    assert len(trials) > 20
    for made in trials:
        said, found = made.to_json(), by_key(number_table(made, None))
        for key in ("accuracy", "latency_ratio", "energy_mj"):
            if said[key]:
                ends = found[key].value, found[key].low, found[key].high
                assert ends == (said[key]["value"], said[key]["low"], said[key]["high"])
        for key in ("size_bytes", "size_zipped_bytes", "params", "nonzero_params", "macs", "peak_memory_bytes"):
            assert (found[key].value if key in found else None) == said[key]
        assert found["latency_ms"].value == said["latency_ms"]["p50"]
        assert found["latency_p95_ms"].value == said["latency_ms"]["p95"]
        assert found["throughput_per_s"].value == said["throughput_per_s"]
        for device in (d for d in made.projections if d != "host"):
            there, elsewhere = made.to_json(device), by_key(number_table(made, None), device)
            assert {n.group for n in elsewhere.values()} <= {ELSEWHERE}
            if there["energy_mj"]:
                assert elsewhere["energy_mj"].value == there["energy_mj"]["value"]


def test_a_difference_is_subtracted_for_shares_and_relative_for_the_rest():
    baseline, small = trial(accuracy=0.9, size_bytes=100_000), trial(INT8, accuracy=0.885, size_bytes=26_000)
    found = by_key(number_table(small, baseline))
    accuracy, size, ratio = found["accuracy"], found["size_bytes"], found["latency_ratio"]
    assert math.isclose(accuracy.difference, -0.015)
    assert accuracy.is_absolute
    assert accuracy.difference_text == "-1.50 points"
    assert (accuracy.baseline, accuracy.baseline_text) == (0.9, "90.00 %")
    assert math.isclose(size.difference, -0.74)
    assert not size.is_absolute
    assert (size.difference_text, size.baseline_text) == ("-74 %", "100 kB")
    # It is relative to the baseline by itself.
    assert ratio.difference is None
    assert ratio.difference_text == ""


def test_the_baseline_differs_from_nothing_and_a_zero_has_no_percent():
    baseline = trial(size_bytes=0, peak_memory_bytes=0)
    assert all(n.difference is None and n.baseline is None for n in number_table(baseline, baseline))
    found = by_key(number_table(trial(INT8), baseline))
    assert (found["size_bytes"].difference, found["peak_memory_bytes"].difference) == (None, None)


def test_what_was_not_measured_has_no_row_and_groups_follow_each_other():
    bare = trial(INT8, accuracy=None, latency_ms=None, energy_mj=None, throughput_per_s=None, peak_memory_bytes=None)
    assert {n.key for n in number_table(bare, None)} <= {
        "size_bytes", "size_zipped_bytes", "params", "nonzero_params", "macs"
    }  # fmt: skip
    order = [GROUPS.index(n.group) for n in number_table(sweep_trials()[4], sweep_trials()[0])]
    assert order == sorted(order)
    assert all(n.name and n.value_text and n.how for n in number_table(sweep_trials()[4], None))
    assert all(n.key in METRICS or n.key.endswith(("_ms", "_per_s", "_bytes")) for n in number_table(bare, None))
