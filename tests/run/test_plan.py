"""The plan shares what recipes have in common, and its keys change exactly when an output could."""

from dataclasses import replace
from pathlib import Path

import pytest

from engine.cores import max_cores
from engine.errors import ModelError, SpecError
from engine.measure.machine import machine
from engine.run.forecast import forecast_s, next_nodes
from engine.run.planner import make_plan
from engine.spec.read import read_sweep
from engine.spec.sweep import parse_sweep
from tests.helpers.tiny import write_problem
from tests.helpers.tiny_onnx import conv_net

SPACE = {
    "distill": [None, {"student": "ds_cnn"}],
    "prune": [None, {"method": "channel", "ratio": [0.25, 0.5, 0.7], "finetune_epochs": 1}],
    "quantize": [None, {"weight_bits": 8, "activation_bits": 8}, {"weight_bits": 4, "activation_bits": 32}],
}


def plan_of(here=None, **changes):
    return make_plan(parse_sweep({"model": {"source": "resnet8"}, "space": SPACE, **changes}), here or machine())


@pytest.mark.parametrize(
    ("model", "data", "fits"),
    [
        ("resnet8", "pen_digits", "choose series_transformer"),
        ("series_transformer", "fashion_mnist", "choose resnet8, "),
    ],
)
def test_a_shipped_checkpoint_on_shipped_data_that_it_never_saw_is_refused(model: str, data: str, fits: str):
    with pytest.raises(ModelError, match=f"{model}'s shipped checkpoint is for data .*, not {data}; {fits}"):
        plan_of(model={"source": model}, data={"source": data}, space={})


def kinds(plan):
    found = [n.kind for n in plan.nodes.values()]
    return {k: found.count(k) for k in found}


def test_recipes_that_begin_alike_share_their_nodes():
    plan = plan_of()
    assert kinds(plan) == {
        "source": 1, "teacher": 1, "distill": 1, "prune": 6, "finetune": 6, "export": 8, "quantize": 16,
        "facts": 24, "accuracy": 24, "latency": 24,
    }  # fmt: skip
    # From scratch: source and export in all 24, teacher and distill in 12, prune and finetune in 18 each, quantize in 16, three measures in
    # all 24; and the baseline's export, which a latency is taken against, for the 21 recipes that have another network.
    own = 24 * 2 + 12 * 2 + 18 * 2 + 16 + 24 * 3
    assert plan.naive == own + 21
    assert plan.unique == 111


def test_what_a_stage_bought_is_measured_even_where_the_space_leaves_the_stage_out():
    pruned_first = {**SPACE, "distill": [None], "prune": SPACE["prune"][1:], "quantize": SPACE["quantize"][1:]}
    plan = plan_of(space=pruned_first)
    assert len(plan.chains) == 1 + 3 * 2
    # Pruned and finetuned but not quantized networks are no trials, yet measured; pruned ones alone are not.
    assert kinds(plan)["accuracy"] == 7 + 3
    last = plan.chains[-1]
    assert [len(c.recipe.steps) for c in last.stages] == [0, 2, 3]
    assert all(set(c.measures) <= plan.nodes.keys() for c in last.stages)


def test_students_share_a_teacher_and_only_those_who_have_one_wait_for_it():
    students = {
        "distill": [
            {"student": ["ds_cnn", "resnet20"], "alpha": [0, 0.5, 0.9]},
            {"student": "ds_cnn", "feature_weight": 1.0},
        ]
    }
    plan = plan_of(space=students)
    assert (kinds(plan)["teacher"], kinds(plan)["distill"]) == (2, 7)
    inputs = [n.inputs for n in plan.nodes.values() if n.kind == "distill"]
    assert [len(i) for i in inputs].count(1) == 2
    assert len({i[0] for i in inputs}) == 1


def test_another_teacher_is_loaded_and_exported_once():
    plan = plan_of(space={"distill": {"student": "ds_cnn", "teacher": "resnet20", "temperature": [2, 4]}})
    assert (kinds(plan)["source"], kinds(plan)["export"], kinds(plan)["teacher"]) == (2, 4, 1)
    with pytest.raises(ModelError, match="random weights"):
        plan_of(space={"distill": {"student": "ds_cnn", "teacher": "torchvision:resnet18"}})


def test_bits_by_layer_share_one_measurement_of_what_each_layer_loses():
    mixed = {
        "quantize": [
            {"weight_bits": 8, "activation_bits": 8, "mean_bits": [3, 4, 5]},
            {"weight_bits": 8, "activation_bits": 8, "max_latency": 0.7},
        ]
    }
    plan = plan_of(space=mixed)
    assert (kinds(plan)["sensitivity"], kinds(plan)["layer_times"], kinds(plan)["quantize"]) == (1, 1, 4)


def test_layers_in_float_are_ranked_by_the_widths_that_they_have_otherwise():
    shared = {"weight_bits": [3, 8], "activation_bits": 8}
    plan = plan_of(space={"quantize": [shared | {"max_drop": [0.5, 1.0]}, shared | {"float_layers": [1, 2]}]})
    asked = [node.options["widths"] for node in plan.nodes.values() if node.kind == "sensitivity"]
    assert sorted(asked) == [[3, 8], [8]]


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


def test_a_forecast_of_each_recipe_looks_at_what_that_recipe_needs(monkeypatch: pytest.MonkeyPatch):
    bits = {"weight_bits": [4, 5, 6, 7, 8], "activation_bits": 8, "rounding": ["nearest", "learned"]}
    plan = plan_of(space={"quantize": [None, bits]})
    rates, cores = {"quantize": 3.0, "export": 2.0, "accuracy": 1e-3}, 4

    def slowly(needed: frozenset[str]) -> float:
        """The longest way, with every node of the plan in its order."""
        until: dict[str, float] = {}
        for key, node in plan.nodes.items():
            own = 0.0 if node.kind == "latency" or key not in needed else node.work * rates.get(node.kind, 0.0)
            until[key] = own / (min(cores, max_cores()) if node.is_wide else 1) + max(
                (until[k] for k in node.inputs), default=0.0
            )
        return max(until.values())

    for chain in plan.chains:
        needed = frozenset(k for k in plan.needed(chain) if plan.nodes[k].kind in (*rates, "latency"))
        work = sum(plan.nodes[k].work * rates.get(plan.nodes[k].kind, 0.0) for k in needed)
        found = forecast_s(plan, needed, rates | {"latency": 0.0}, cores)
        assert found == pytest.approx(max(work / cores, slowly(needed)))
    read: list[str] = []
    monkeypatch.setattr("engine.run.plan._learns_rounding", lambda options: read.append("") or False)
    for chain in plan_of(space={"quantize": [None, bits]}).chains:
        forecast_s(plan, plan.needed(chain), {}, cores)
    assert len(read) <= len(plan.nodes)


def test_an_unknown_student_is_refused_before_anything_runs():
    with pytest.raises(ModelError, match="ds_cn"):
        plan_of(space={"distill": {"student": "ds_cn"}})


INT8 = {"weight_bits": 8, "activation_bits": 8}


def test_a_runtime_measures_again_what_it_can_change_and_nothing_else():
    space = {"quantize": [None, INT8], "runtime": [None, {"batch": 8}, {"graph_optimisation": "disable"}]}
    plan = plan_of(space=space)
    assert len(plan.chains) == 6
    # Files and facts are shared; a batch changes no answer, another graph may.
    assert kinds(plan) == {"source": 1, "export": 1, "quantize": 1, "facts": 2, "accuracy": 4, "latency": 6}
    by_label = {c.recipe.label: c for c in plan.chains}
    assert by_label["int8 · batch 8"].model == by_label["int8"].model
    assert by_label["int8 · batch 8"].accuracy == by_label["int8"].accuracy
    assert by_label["int8 · graph as stored"].accuracy != by_label["int8"].accuracy
    own, batch = (plan.nodes[by_label[name].latency] for name in ("baseline", "batch 8"))
    assert len(own.inputs) == 1
    assert batch.inputs == (own.inputs[0], own.inputs[0]), "the same file, run in another way than the baseline"


def test_a_runtime_that_says_what_the_sweep_does_anyway_is_the_same_measurement():
    plan = plan_of(
        space={"runtime": [None, {"threads": 1, "batch": 1, "graph_optimisation": "all", "provider": "CPU"}]}
    )
    assert len(plan.chains) == 2
    assert kinds(plan)["latency"] == kinds(plan)["accuracy"] == 1


def test_a_provider_that_is_not_there_is_refused_in_one_line():
    with pytest.raises(SpecError, match=r"provider TensorRT is not in this onnxruntime, which has .*CPU") as caught:
        plan_of(space={"runtime": [{"provider": "TensorRT"}]})
    assert "\n" not in str(caught.value)
    with pytest.raises(SpecError, match="provider Azure is not in"):  # it computes elsewhere
        plan_of(space={"runtime": [{"provider": "AzureExecutionProvider"}]})


def test_what_a_provider_measures_has_its_version_and_machine_in_the_key(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("engine.run.check_plan.check_device", lambda name: None)

    def chains(version: str, fingerprint: str = machine().fingerprint):
        versions = machine().versions | {"onnxruntime-ep-openvino": version}
        here = replace(machine(), versions=versions, fingerprint=fingerprint)
        return plan_of(here, space={"runtime": [None, {"provider": "OpenVINO"}]}).chains

    (baseline, own), (same, newer), (_, elsewhere) = chains("1.8.1"), chains("1.9.0"), chains("1.8.1", "f" * 64)
    assert (own.model, own.facts) == (baseline.model, baseline.facts)
    assert own.accuracy != baseline.accuracy
    assert own.latency != baseline.latency
    assert (newer.accuracy == own.accuracy, newer.latency == own.latency) == (False, False)
    # Kernels and precision differ by instruction set, so what a provider answers is of the machine; the CPU's own answers are not.
    assert (elsewhere.accuracy == own.accuracy, elsewhere.latency == own.latency) == (False, False)
    assert baseline == same


QUANTIZED = {"quantize": [None, *({"weight_bits": bits, "activation_bits": 32} for bits in (8, 6, 4))]}


def test_a_budget_takes_recipes_in_order_and_those_that_failed_last():
    plain = plan_of(space=QUANTIZED)
    every = frozenset(plain.nodes)
    assert next_nodes(plain, every, frozenset()) == (every, 4)
    two = plan_of(space=QUANTIZED, search={"trials": 2})
    now, recipes = next_nodes(two, every, frozenset())
    assert recipes == 2
    assert now == plain.needed(plain.chains[0]) | plain.needed(plain.chains[1])
    rest, recipes = next_nodes(two, every - now, frozenset())
    assert (rest | now, recipes) == (every, 2)
    assert next_nodes(two, frozenset(), frozenset()) == (frozenset(), 0)
    failed = frozenset({plain.chains[0].recipe.id, plain.chains[1].recipe.id})
    other, _ = next_nodes(two, every, failed)
    # A trial tells what its stages bought, so the baseline is measured with them all the same.
    assert other == plain.needed(plain.chains[2]) | plain.needed(plain.chains[3]) | plain.needed(plain.chains[0])


def test_a_network_is_read_once_for_all_recipes(monkeypatch: pytest.MonkeyPatch):
    from engine.run import planner as module

    read = []
    fingerprint = module.model_fingerprint
    monkeypatch.setattr(module, "model_fingerprint", lambda model: read.append(model) or fingerprint(model))
    plan_of(space=QUANTIZED)
    assert len(read) == 1


def test_a_fixed_batch_that_latency_would_not_use_is_told_before_any_work(tmp_path):
    space = {"quantize": [None, {"weight_bits": 4, "activation_bits": 32}]}
    spec = {"model": {"source": str(conv_net(tmp_path / "four.onnx", batch=4))}, "space": space}
    with pytest.raises(SpecError, match=r"batches of 4 only.* with 1; set measure.latency.batch to 4") as caught:
        plan_of(**spec)
    assert "\n" not in str(caught.value)
    for latency in (None, {"batch": 4}):
        assert len(plan_of(**spec, measure={"latency": latency}).chains) == 2
    with pytest.raises(SpecError, match="with 8"):
        plan_of(**spec | {"space": space | {"runtime": [None, {"batch": 8}]}}, measure={"latency": {"batch": 4}})
    free = {"model": {"source": str(conv_net(tmp_path / "free.onnx"))}, "space": space}
    assert len(plan_of(**free).chains) == 2


def test_every_node_has_a_recipe_to_be_named_by():
    # The first of these is measured on the way to the second, and is no recipe of the sweep.
    steps = [
        {"step": "prune", "method": "channel", "ratio": 0.5},
        {"step": "quantize", "weight_bits": 8, "activation_bits": 8},
    ]
    for search in ({}, {"method": "gain", "screen": True}):
        plan = make_plan(parse_sweep({"model": {"source": "resnet8"}, "recipes": [steps], "search": search}), machine())
        assert set(plan.first_recipes) == set(plan.nodes)
