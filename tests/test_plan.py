"""The plan shares what recipes have in common, and its keys change exactly when an output could."""

from dataclasses import replace
from pathlib import Path

import pytest
from tiny import write_problem

from engine.errors import ModelError
from engine.forecast import forecast_s
from engine.measure.machine import machine
from engine.plan import make_plan
from engine.spec import parse_sweep, read_sweep

SPACE = {
    "distill": [None, {"student": "ds_cnn"}],
    "prune": [None, {"method": "channel", "ratio": [0.25, 0.5, 0.7], "finetune_epochs": 1}],
    "quantize": [None, {"weight_bits": 8, "activation_bits": 8}, {"weight_bits": 4, "activation_bits": 32}],
}


def plan_of(here=None, **changes):
    return make_plan(parse_sweep({"model": {"source": "resnet8"}, "space": SPACE, **changes}), here or machine())


def kinds(plan):
    found = [n.kind for n in plan.nodes.values()]
    return {k: found.count(k) for k in found}


def test_recipes_that_begin_alike_share_their_nodes():
    plan = plan_of()
    assert kinds(plan) == {
        "source": 1, "distill": 1, "prune": 6, "finetune": 6, "export": 8, "quantize": 16,
        "facts": 24, "accuracy": 24, "latency": 24,
    }  # fmt: skip
    # From scratch: source and export in all 24, distill in 12, prune and finetune in 18 each, quantize in 16, three measures in all 24;
    # and the baseline's export, which a latency is taken against, for the 21 recipes that have another network.
    own = 24 * 2 + 12 + 18 * 2 + 16 + 24 * 3
    assert plan.naive == own + 21
    assert plan.unique == 110


def test_nodes_come_in_an_order_in_which_they_can_run():
    plan = plan_of()
    seen: set[str] = set()
    for key, node in plan.nodes.items():
        assert set(node.inputs) <= seen
        seen.add(key)


def test_the_key_depends_on_what_determines_the_output_and_on_nothing_else():
    plan = plan_of()

    def shared(other):
        common = plan.nodes.keys() & other.nodes.keys()
        found = [plan.nodes[k].kind for k in common]
        return {k: found.count(k) for k in found}

    assert plan.nodes.keys() == plan_of(name="another name").nodes.keys()
    assert shared(plan_of(seed=1)) == {}
    other_machine = replace(machine(), fingerprint="other")
    assert shared(plan_of(other_machine)) == {k: n for k, n in kinds(plan).items() if k != "latency"}
    fewer = plan_of(measure={"test_samples": 100})
    assert shared(fewer) == {k: n for k, n in kinds(plan).items() if k != "accuracy"}
    gentler = {**SPACE, "distill": [None, {"student": "ds_cnn", "temperature": 2}]}
    assert shared(plan_of(space=gentler))["prune"] == 3


def test_changed_data_or_network_code_is_never_taken_from_the_cache(tmp_path: Path):
    spec = write_problem(tmp_path)
    before = make_plan(read_sweep(spec), machine())
    again = make_plan(read_sweep(spec), machine())
    assert before.nodes.keys() == again.nodes.keys()
    network = tmp_path / "net.py"
    network.write_text(network.read_text().replace("16, 3, 1, 1", "24, 3, 1, 1").replace("(16", "(24"))
    changed = make_plan(read_sweep(spec), machine())
    assert not before.nodes.keys() & changed.nodes.keys()


def test_without_latency_nothing_waits_for_the_host():
    plan = plan_of(measure={"latency": None})
    assert "latency" not in kinds(plan)
    assert all(c.latency is None for c in plan.chains)


def test_the_forecast_grows_with_the_work_and_shrinks_with_cores():
    plan = plan_of()
    everything = frozenset(plan.nodes)
    one, two = (forecast_s(plan, everything, {}, cores) for cores in (1, 2))
    assert 0 < two < one
    assert forecast_s(plan, frozenset(), {}, 2) == 0
    rates = {n.kind: 1.0 / n.work for n in plan.nodes.values() if n.kind in {"export"}}
    assert forecast_s(
        plan, frozenset(k for k, n in plan.nodes.items() if n.kind == "export"), rates, 1
    ) == pytest.approx(8)


def test_an_unknown_student_is_refused_before_anything_runs():
    with pytest.raises(ModelError, match="ds_cn"):
        plan_of(space={"distill": {"student": "ds_cn"}})
