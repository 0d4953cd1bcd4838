"""Specs: what is expanded, what is refused and with which words, and that writing and reading is the identity."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import SpecError
from engine.spec import Distill, Finetune, Prune, Quantize, Recipe, expand_space, parse_sweep, read_sweep, to_yaml

SPEC = {
    "name": "first look",
    "model": {"source": "resnet8"},
    "space": {
        "distill": [None, {"student": "ds_cnn"}],
        "prune": [None, {"method": "channel", "ratio": [0.25, 0.5, 0.7], "finetune_epochs": 1}],
        "quantize": [None, {"weight_bits": 8, "activation_bits": 8}, {"weight_bits": 4, "activation_bits": 32}],
    },
}


def test_every_combination_is_a_recipe_and_the_baseline_comes_first():
    recipes = parse_sweep(SPEC).recipes
    assert len(recipes) == 2 * 4 * 3
    assert recipes[0] == Recipe()
    assert len({r.id for r in recipes}) == len(recipes)


def test_finetuning_after_pruning_is_a_step_of_its_own_so_that_sweeps_share_the_pruned_network():
    recipes = expand_space(
        {"prune": {"method": "channel", "ratio": 0.5, "finetune_epochs": [0, 1, 2], "finetune_samples": 100}}
    )
    pruned = Prune(method="channel", ratio=0.5)
    assert [r.steps for r in recipes[1:]] == [
        (pruned,),
        (pruned, Finetune(epochs=1, samples=100)),
        (pruned, Finetune(epochs=2, samples=100)),
    ]


def test_equal_recipes_appear_once():
    twice = {"quantize": [None, {"weight_bits": [8, 8], "activation_bits": 8}, None]}
    assert len(expand_space(twice)) == 2


def test_the_order_of_the_space_is_the_order_of_the_steps():
    space = {"prune": {"method": "magnitude", "ratio": 0.5}, "distill": {"student": "ds_cnn"}}
    assert [s.step for s in expand_space(space)[1].steps] == ["prune", "distill"]
    reversed_space = dict(reversed(space.items()))
    assert parse_sweep({**SPEC, "space": space}).id != parse_sweep({**SPEC, "space": reversed_space}).id


def test_yaml_reads_back_as_the_same_sweep(tmp_path: Path):
    sweep = parse_sweep(SPEC)
    path = tmp_path / "spec.yaml"
    path.write_text(to_yaml(sweep))
    assert read_sweep(path) == sweep
    assert read_sweep(path).id == sweep.id


steps = st.one_of(
    st.builds(Distill, student=st.sampled_from(["ds_cnn", "resnet20"]), temperature=st.floats(0.5, 20)),
    st.builds(Prune, method=st.sampled_from(["magnitude", "channel"]), ratio=st.floats(0.01, 0.99)),
)
quantizers = st.builds(Quantize, weight_bits=st.sampled_from([2, 3, 4, 8]), activation_bits=st.sampled_from([8, 32]))


@given(st.lists(steps, max_size=3), st.lists(quantizers, max_size=1))
def test_recipes_survive_json(torch_steps, onnx_steps):
    recipe = Recipe(steps=(*torch_steps, *onnx_steps))
    again = Recipe.from_json(recipe.to_json())
    assert again == recipe
    assert again.id == recipe.id


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
        ({"data": {"source": "a.npz", "std": [0.0]}}, ["data.std", "0.0"]),
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
        ({"model": {"source": "net.onnx"}}, ["net.onnx", "prune", "quantize alone"]),
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
    assert (sweep.seed, sweep.measure.latency.threads, len(sweep.recipes)) == (3, 2, 2)


@pytest.mark.parametrize(
    ("text", "words"), [("a: [", "not YAML"), ("- 1", "a spec is a mapping"), ("", "a spec is a mapping")]
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


@pytest.mark.parametrize(
    ("steps", "label"),
    [
        ((), "baseline"),
        ((Prune(method="channel", ratio=0.25), Finetune(epochs=1)), "channels −25 % · finetune 1"),
        ((Quantize(weight_bits=8, activation_bits=8),), "int8"),
        ((Quantize(weight_bits=16, activation_bits=32),), "fp16 weights"),
        ((Distill(student="ds_cnn", alpha=0),), "train ds_cnn"),
    ],
)
def test_labels_are_what_people_say(steps, label):
    assert Recipe(steps=steps).label == label
