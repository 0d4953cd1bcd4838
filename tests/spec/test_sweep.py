"""Specs: what is expanded, what is refused and with which words, and that writing and reading is the identity."""

import json
from pathlib import Path

import pytest
import yaml

from engine.errors import SpecError
from engine.spec.read import load_plain_yaml, load_yaml, read_sweep, to_yaml
from engine.spec.recipe import Recipe
from engine.spec.steps import Prune, Quantize
from engine.spec.sweep import parse_sweep
from tests.helpers.specs import SPEC


def test_knobs_left_out_are_filled_in_by_method_so_that_one_recipe_has_one_name():
    short, long = (
        Recipe(steps=(Prune(method="channel", ratio=0.5, **more),))
        for more in ({}, {"importance": "l2", "allocation": "uniform", "round_to": 4, "macs_ratio": None})
    )
    assert short.id == long.id
    assert Quantize(weight_bits=3, activation_bits=8).ends_8bit
    assert not Quantize(weight_bits=4, activation_bits=8).ends_8bit
    assert Quantize(weight_bits=4, activation_bits=8, method="qat").epochs == 1


def test_bits_of_named_layers_are_a_mapping_in_a_spec_and_read_back_the_same():
    step = Quantize(weight_bits=8, activation_bits=8, layers={"b": 4, "a": 32})
    assert step.layers == (("a", 32), ("b", 4))
    recipe = Recipe(steps=(step,))
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


def test_recipes_can_be_listed_step_by_step_beside_the_space():
    listed = [[{"step": "prune", "method": "nm"}, {"step": "finetune"}, {"step": "distill", "student": "current"}]]
    sweep = parse_sweep({"model": {"source": "resnet8"}, "space": {"finetune": {"epochs": 1}}, "recipes": listed * 2})
    assert [r.label for r in sweep.all_recipes] == ["baseline", "finetune 1", "2:4 sparse · finetune 1 · distil on 2"]
    assert parse_sweep(yaml.safe_load(to_yaml(sweep))).id == sweep.id
    with pytest.raises(SpecError, match=r"recipes\.0: quantize before|recipes\.0.*quantized once"):
        parse_sweep({**SPEC, "recipes": [[{"step": "quantize", "weight_bits": 8, "activation_bits": 8}] * 2]})


def test_a_teacher_beside_the_spec_is_found(tmp_path: Path):
    teach = {"student": "ds_cnn", "teacher": ["big.onnx", "resnet20"]}
    sweep = parse_sweep(
        {**SPEC, "space": {"distill": [None, teach]}, "recipes": [[{"step": "distill", **teach, "teacher": "b.onnx"}]]},
        tmp_path,
    )
    teachers = {s.teacher for r in sweep.all_recipes for s in r.steps}
    assert teachers == {f"{tmp_path}/big.onnx", f"{tmp_path}/b.onnx", "resnet20"}


def test_yaml_reads_back_as_the_same_sweep(tmp_path: Path):
    sweep = parse_sweep(SPEC)
    path = tmp_path / "spec.yaml"
    path.write_text(to_yaml(sweep))
    assert read_sweep(path) == sweep
    assert read_sweep(path).id == sweep.id


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"space": {"prune": {"method": "channel", "ratio": 1.5}}}, ["space.prune.ratio", "1.5", "less than 1"]),
        ({"space": {"quantize": {"weight_bits": 0, "activation_bits": 8}}}, ["weight_bits", "0", "2, 3, 4"]),
        ({"space": {"prunee": {}}}, ["prunee", "distill, prune, finetune, quantize"]),
        ({"space": {"prune": {"method": "channel", "ratio": 0.5, "ratios": 1}}}, ["'ratios'", "space.prune"]),
        ({"space": {"prune": 0.5}}, ["space.prune", "0.5", "null"]),
        ({"space": {"prune": []}}, ["space.prune", "[null]"]),
        ({"space": {"quantize": {"weight_bits": 16, "activation_bits": 8}}}, ["16-bit", "activation_bits 32"]),
        ({"modle": {}}, ["'modle'"]),
        ({"seed": -1}, ["seed", "-1"]),
        ({"seed": "x"}, ["seed", "'x'"]),
        ({"data": {"source": "a.npz", "mean": [0.0], "std": [0.0]}}, ["data.preprocess.std", "0.0"]),
        ({"data": {"source": "a.npz", "mean": [0.5]}}, ["std is missing"]),
        ({"data": {"source": "a.npz", "mean": [0.5], "std": [1.0], "preprocess": "none"}}, ["inside"]),
        ({"data": {"source": "a.npz", "preprocess": "imagenet"}}, ["'imagenet'", "none or standardize"]),
        ({"data": {"source": "a.npz", "preprocess": {"resize": 32, "crop": 64}}}, ["crop 64", "resize 32"]),
        ({"measure": {"latency": {"threads": 0}}}, ["measure.latency.threads", "0"]),
        ({"search": {"method": "luck"}}, ["search.method", "'luck'"]),
        (
            {
                "space": {
                    "quantize": {"weight_bits": 8, "activation_bits": 8},
                    "prune": {"method": "channel", "ratio": 0.5},
                }
            },
            ["prune cannot follow quantize"],
        ),
        (
            {"space": {"prune": {"method": "channel", "ratio": 0.5}, "distill": {"student": "ds_cnn"}}},
            ["prune before distill has no effect", "student: current"],
        ),
        ({"space": {"prune": {"method": "nm", "ratio": 0.5}}}, ["ratio", "method nm", "pattern"]),
        ({"space": {"prune": {"method": "channel"}}}, ["macs_ratio"]),
        ({"space": {"prune": {"method": "magnitude", "ratio": 0.5, "rounds": 3}}}, ["rounds", "finetune_epochs"]),
        ({"space": {"prune": {"method": "nm", "rounds": 2, "finetune_epochs": 1}}}, ["rounds", "no ratio"]),
        ({"space": {"prune": {"method": "magnitude", "ratio": 0.5, "rounds": 0}}}, ["rounds", "0", "1 to 100"]),
        ({"space": {"distill": {"student": "resnet20", "repeats": 3}}}, ["repeats", "resnet20"]),
        ({"space": {"distill": {"student": "current", "width": 0.5}}}, ["current", "self"]),
        ({"space": {"quantize": {"weight_bits": 4, "activation_bits": 8, "epochs": 2}}}, ["epochs", "qat"]),
        (
            {"space": {"quantize": {"weight_bits": 4, "activation_bits": 32, "method": "qat"}}},
            ["qat", "activation_bits 8"],
        ),
        ({"space": {"quantize": {"weight_bits": 8, "activation_bits": 8, "symmetric": False}}}, ["per_channel false"]),
        (
            {"space": {"quantize": {"weight_bits": 8, "activation_bits": 32, "format": "u8u8"}}},
            ["u8u8", "integer kernels"],
        ),
        (
            {"space": {"quantize": {"weight_bits": 4, "activation_bits": 8, "mean_bits": 5}}},
            ["mean_bits 5", "weight_bits 4"],
        ),
        (
            {"space": {"quantize": {"weight_bits": 4, "activation_bits": 32, "max_latency": 0.5}}},
            ["max_latency", "activation_bits 8"],
        ),
        ({"space": {"quantize": {"weight_bits": 8, "activation_bits": 8, "layers": {"a": 1}}}}, ["layers", "1"]),
        (
            {"model": {"source": "net.pt2"}, "space": {"prune": {"method": "channel", "ratio": 0.5}}},
            ["net.pt2", "prune", "built-in student"],
        ),
        ({"model": {"source": "net.onnx"}, "space": {"distill": {"student": "self"}}}, ["net.onnx", "student self"]),
    ],
)
def test_a_wrong_spec_is_one_line_with_the_value_and_the_remedy(change, words):
    with pytest.raises(SpecError) as caught:
        parse_sweep({**SPEC, **change})
    message = str(caught.value)
    assert "\n" not in message
    assert [w for w in words if w not in message] == [], message


def test_files_are_found_beside_the_spec_and_overrides_change_keys(tmp_path: Path):
    path = tmp_path / "spec.yaml"
    path.write_text(
        yaml.safe_dump({"model": {"source": "nets.py:build", "weights": "w.pt"}, "data": {"source": "d.npz"}})
    )
    sweep = read_sweep(
        path, ("seed=3", "measure.latency.threads=2", "space.quantize={weight_bits: 8, activation_bits: 8}")
    )
    assert sweep.model.source == f"{tmp_path}/nets.py:build"
    assert sweep.model.weights == f"{tmp_path}/w.pt"
    assert sweep.data.source == f"{tmp_path}/d.npz"
    assert (sweep.seed, sweep.measure.latency.threads, len(sweep.all_recipes)) == (3, 2, 2)


def test_what_is_merged_in_may_be_overridden_once():
    text = "a: &a {weight_bits: 8, samples: 3}\nb: {<<: *a, weight_bits: 4}\nc: *a"
    whole = load_yaml(text, "the text")
    assert whole["b"] == {"weight_bits": 4, "samples": 3}
    assert whole["c"] == {"weight_bits": 8, "samples": 3}
    nested = "base: &base {a: 1}\nx: {y: {z: &mid {<<: *base, a: 2}}}\ntop: {<<: *mid, b: 3}"
    assert load_yaml(nested, "the text")["top"] == {"a": 2, "b": 3}
    with pytest.raises(SpecError, match="line 3: the key 'x' is there twice"):
        load_plain_yaml("a:\n  x: 1\n  x: 2", "the text")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "not YAML"),
        ("- 1", "a spec is a mapping"),
        ("", "a spec is a mapping"),
        ("seed: 1\nname: x\nseed: 2", r"spec.yaml: line 3: the key 'seed' is there twice, first in line 1"),
        ("space:\n  prune: [null]\n  prune: [null]", "line 3: the key 'prune' is there twice, first in line 2"),
        (
            "space: {quantize: [null, {weight_bits: 8,\n weight_bits: 4}]}",
            "line 2: the key 'weight_bits' is there twice",
        ),
        ('{"seed": 1,\n"seed": 1}', "line 2: the key 'seed' is there twice"),
    ],
)
def test_a_file_that_is_no_spec_says_so(tmp_path: Path, text: str, words: str):
    path = tmp_path / "spec.yaml"
    path.write_text(text)
    with pytest.raises(SpecError, match=words):
        read_sweep(path)
    with pytest.raises(SpecError, match="does not exist"):
        read_sweep(tmp_path / "none.yaml")
    path.write_text("model: {source: resnet8}")
    with pytest.raises(SpecError, match="KEY=VALUE"):
        read_sweep(path, ("seed",))
    with pytest.raises(SpecError, match="--set space is not YAML"):
        read_sweep(path, ("space={quantize: [",))
    with pytest.raises(SpecError, match="--set space: line 1: the key 'prune' is there twice"):
        read_sweep(path, ("space={prune: [null], prune: [null]}",))


def test_keys_that_came_later_leave_the_ids_of_older_sweeps_as_they_were():
    from engine.paths import EXAMPLE

    assert read_sweep(EXAMPLE / "spec.yaml").id == "resnet8-first-look-e564c7"
    base = {"name": "a", "model": {"source": "resnet8"}}
    ids = {
        parse_sweep(base | more).id
        for more in (
            {},
            {"search": {"trials": 3}},
            {"search": {"method": "tpe"}},
            {"search": {"minutes": 3}},
            {"search": {"node_seconds": 3}},
            {"search": {"method": "gain"}},
            {"search": {"method": "gain", "screen": True}},
            {"search": {"method": "gain", "enough": 0.99}},
            {"target": {"limits": {"accuracy": 0.9}}},
        )
    }
    assert len(ids) == 9
    assert parse_sweep(base | {"search": {"method": "grid"}, "target": None}).id == parse_sweep(base).id
    usual = {"search": {"method": "gain", "screen": {"share": 0.25, "test_samples": 500}}}
    assert parse_sweep(base | {"search": {"method": "gain", "screen": True}}).id == parse_sweep(base | usual).id
    assert parse_sweep(base | {"search": {"method": "gain", "screen": False}}).search.screen is None


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"target": {"limits": {"speed": 1}}}, "target.limits: 'speed' is not a metric"),
        ({"target": {"device": "nvidia-t4"}}, "target.device nvidia-t4 is not one of measure.profiles"),
        ({"target": {"limits": {"accuracy": float("nan")}}}, "target.limits"),
        ({"search": {"minutes": 0}}, "search.minutes"),
        ({"search": {"trials": 0}}, "search.trials: input should be greater than or equal to 1, but is 0"),
        ({"search": {"recipes": 5}}, "search.recipes: 'recipes' is not a known key of search"),
        (
            {"search": {"method": "cma"}},
            "search.method: input should be 'grid', 'random', 'nsga2', 'tpe', 'gp' or 'gain', but is 'cma'",
        ),
        ({"search": {"node_seconds": 0}}, "search.node_seconds: input should be greater than 0, but is 0"),
        ({"search": {"screen": True}}, "screen is of method gain, not of grid; write method: gain, or leave it out"),
        ({"search": {"method": "tpe", "enough": 0.9}}, "enough is of method gain, not of tpe"),
        ({"search": {"method": "gain", "enough": 1}}, "search.enough: input should be less than 1, but is 1"),
        (
            {"search": {"method": "gain", "screen": {"share": 1}}},
            "search.screen.share: input should be less than 1, but is 1",
        ),
        ({"search": {"method": "gain", "screen": {"test_samples": 0}}}, "search.screen.test_samples"),
        ({"search": {"method": "gain", "screen": 3}}, "search.screen"),
        ({"search": {"method": "gain", "objectives": ["speed"]}}, "search.objectives: 'speed' is not a metric"),
        ({"search": {"method": "gain", "objectives": ["macs", "macs"]}}, "an objective is named twice; name each once"),
        ({"search": {"method": "gain", "objectives": []}}, "search.objectives"),
    ],
)
def test_targets_and_budgets_that_mean_nothing_are_refused(more, words):
    with pytest.raises(SpecError) as found:
        parse_sweep({"name": "a", "model": {"source": "resnet8"}} | more)
    assert words in str(found.value)
