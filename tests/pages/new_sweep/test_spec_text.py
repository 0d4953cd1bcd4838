"""A spec as text and the form's fields: the same sweep in both directions, and a line of explanation where that is not possible."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.devices.cost import read_scenarios
from engine.errors import InputError, SpecError
from engine.paths import EXAMPLE
from engine.spec.read import read_sweep
from engine.spec.sweep import Sweep, parse_sweep
from pages.new_sweep import presets
from pages.new_sweep.draft import AS_IT_IS, BOUNDS, Draft, bits_of, quantization_name, to_spec
from pages.new_sweep.reading import Reading
from pages.new_sweep.searching import Searching
from pages.new_sweep.spec_text import LONGEST, CannotShow, parse, to_draft, write

HERE, BARE = Path("/nowhere"), "model: {source: resnet8}\n"
TOO_MUCH = f"space: {{prune: {{method: magnitude, ratio: {[0.1] * 400}}}, quantize: {{weight_bits: {[8] * 400}, activation_bits: 8}}}}"

NO_STUDENTS = {name: getattr(Draft, name) for name in ("students", "own_widths", "own_depths", "own_start", "repeats")} | {
    name: getattr(Draft, name)
    for name in (
        "student_epochs", "student_images", "student_rate", "student_augment", "teacher", "temperature", "alpha", "feature_weight",
        "untaught", "plain",
    )
}  # fmt: skip

EVERYTHING = Draft(
    name="all – of: it",
    students=("recursive_resnet", "ds_cnn"),
    own_widths=(0.5,),
    own_depths=(0.5, 0.25),
    own_start="fresh",
    repeats=(2, 4),
    student_images=1234,
    student_rate=0.05,
    student_augment="shift",
    teacher="resnet20",
    temperature=3.0,
    feature_weight=1.0,
    channels=(0.33, 0.5),
    channel_quantity="macs_ratio",
    importances=("l2", "taylor"),
    allocation="global",
    round_to=8,
    parts=("heads", "mlp"),
    part_ratios=(0.3,),
    zeros=(0.5,),
    patterns=("2:4",),
    rounds=2,
    finetune_rate=0.01,
    finetune_augment="mirror",
    quantizations=(AS_IT_IS, "int8", "w5a7", "7-bit weights", "fp16 weights"),
    matrices=("int8 dynamic", "4-bit blocks"),
    trained=("w4a8",),
    trained_rate=0.02,
    mean_bits=(4.0,),
    time_shares=(0.75,),
    rounding="nearest",
    weight_range="safe",
    bias_correction="yes",
    equalize="no",
    formats=("u8s8", "u8u8"),
    calibrations=("minmax",),
    calibration_images=64,
    run_threads=(1, 3),
    run_batches=(8,),
    run_levels=("basic",),
    run_providers=("CPU",),
    test_images=777,
    held_back=0.2,
    threads=2,
    batch=4,
    half_width=0.05,
    time_limit_s=5.0,
    processes=4,
    profiles=("host", "nvidia-t4"),
    target_device="nvidia-t4",
    limits=(("accuracy", 0.9), ("macs", 5e6)),
    **asdict(Searching(7, 1.5, 600.0, "gain", True, 0.5, 300, 0.99)),
    replicates=3,
    seed=11,
)


def spec(draft: Draft) -> Sweep:
    return parse_sweep(to_spec(draft))


def test_every_field_of_the_form_survives_the_way_to_text_and_back():
    default = Draft()
    for name in Draft.__dataclass_fields__:
        switches = {"model", "weights", "data", "untaught", "plain", "unpruned", "run_usual", "latency", "alpha"}
        others = {"ends_8bit", "per_channel", "student_epochs", "finetune_epochs", "finetune_images"}
        others |= {"trained_epochs", "trained_images"} | {f.name for f in fields(Reading)}
        if name not in switches | others:
            assert getattr(EVERYTHING, name) != getattr(default, name), name
    assert to_draft(parse(write(spec(EVERYTHING)), HERE)) == EVERYTHING


@pytest.mark.parametrize(
    "changed",
    [
        {"latency": False, "threads": 1, "batch": 1, "half_width": 0.02, "time_limit_s": 10.0, "processes": 3},
        {"untaught": True, "alpha": 0.5, "own_start": "taken", "parts": ("heads_and_mlp",)},
        {"plain": False, "unpruned": False, "run_usual": False, "quantizations": ("int8",)},
        {
            "rounding": "learned",
            "ends_8bit": "yes",
            "per_channel": (True, False),
            "quantizations": ("4-bit weights",),
        },
        {"student_epochs": 5, "finetune_epochs": 3, "trained_epochs": 4, "trained_images": 99, "finetune_images": 0},
        {"data": "/a/b.npz", "model": "/a/net.py:build", "weights": "/a/w.safetensors"},
        {"data": "/a/b.npz", "model": "/a/net.onnx", "model_outputs": ("boxes", "scores"), **NO_STUDENTS},
        {"data": "/a/b.npz", "model": "/a/net.onnx", "model_outputs": ("a b: {c}",), **NO_STUDENTS},
        {
            "model": "/a/net.py:build",
            "model_options": "width: 32, deep: true, name: x",
            "data": "/a/b.npz",
            "data_kind": "series",
        },
        {
            "data": "/a/b.npz",
            "data_classes": "12",
            "data_numbers": "none",
            "data_layout": "NHWC",
            "data_colours": "BGR",
        },
        {"data": "/a/t.csv", "data_target": "species", "data_classes": "a cat, b", "data_numbers": "standardize"},
        {"data": "/a/b.npz", "data_slices": "site, device", "limits": (("slice_worst:Accuracy:max:%", 0.8),)},
        {"data": "/a/b.npy", "data_labels": "/a/y.npy", "data_numbers": "own", "data_scale": "1/255"},
        {
            "data": "/a/b.npz",
            "data_numbers": "own",
            "data_scale": "0.1",
            "data_mean": "0.485, 0.456, -1",
            "data_std": "0.229, 1, 2",
            "data_resize": 256,
            "data_crop": 224,
        },
        {
            "finetune_epochs": 0,
            "finetune_images": 20_000,
            "finetune_rate": 0.02,
            "finetune_augment": "none",
            "rounds": 1,
        },
    ],
)
def test_the_other_fields_do_too(changed):
    draft = replace(EVERYTHING, **changed)
    assert to_draft(parse(write(spec(draft)), HERE)) == draft


def test_the_bare_form_and_the_shipped_example_do_too():
    assert to_draft(parse(write(spec(Draft())), HERE)) == Draft()
    shipped = read_sweep(EXAMPLE / "spec.yaml")
    assert parse(write(shipped), HERE) == shipped
    assert set(spec(to_draft(shipped)).all_recipes) == set(shipped.all_recipes)


@given(
    st.builds(
        Draft,
        students=st.sets(st.sampled_from(["ds_cnn", "mobilenet_v2"])).map(lambda s: tuple(sorted(s))),
        untaught=st.booleans(),
        plain=st.booleans(),
        channels=st.sets(st.sampled_from([0.25, 0.5])).map(lambda s: tuple(sorted(s))),
        zeros=st.sets(st.sampled_from([0.5, 0.9])).map(lambda s: tuple(sorted(s))),
        unpruned=st.booleans(),
        rounds=st.integers(1, 3),
        quantizations=st.sets(st.sampled_from([AS_IT_IS, "int8", "w4a8", "3-bit weights"])).map(
            lambda s: tuple(sorted(s))
        ),
        trained=st.sets(st.sampled_from(["w8a8", "w2a8"])).map(lambda s: tuple(sorted(s))),
        formats=st.sets(st.sampled_from(["u8s8", "s8s8"]), min_size=1).map(lambda s: tuple(sorted(s))),
        run_batches=st.sets(st.sampled_from([1, 8])).map(lambda s: tuple(sorted(s))),
        run_usual=st.booleans(),
    )
)
@settings(max_examples=60)
def test_whatever_the_form_says_it_can_show_again(draft):
    """Not always by the same ticks (one that changes nothing may be lost), but always the same recipes."""
    sweep = spec(draft)
    assert set(spec(to_draft(parse(write(sweep), HERE))).all_recipes) == set(sweep.all_recipes)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("data: {source: a.npz, classes: ['a, b', c]}", "data.classes is not in the form"),
        (
            "space: {distill: {student: ds_cnn, temperature: [2, 4]}}",
            "distill.temperature has several values (2.0, 4.0)",
        ),
        ("space: {distill: {student: 'torchvision:resnet18'}}", "student torchvision:resnet18"),
        ("space: {prune: {method: nm}, distill: {student: current}}", "student current"),
        ("space: {distill: {student: self, width: 0.5, depth: 0.5}}", "distil self ×0.5 ×0.5 deep"),
        ("space: {quantize: [{weight_bits: 8, activation_bits: 32, symmetric: false}]}", "asymmetric"),
        ("loss: imitation", "loss is not in the form"),
        ("metric: macro_f1", "metric.name is not in the form"),
        ("space: {finetune: {epochs: 3}}", "finetune 3"),
        ("recipes: [[{step: prune, method: nm}, {step: finetune}, {step: finetune}]]", "finetune 1 · finetune 1"),
        (
            "space: {prune: [{method: channel, ratio: 0.5}, {method: channel, ratio: 0.2, importance: taylor}]}",
            "would also make “channels −20 %”",
        ),
        ("space: {distill: {student: ds_cnn, temperature: 0.1}}", "0.1 is beyond the form’s box for temperature"),
        (
            "search: {trials: 2}\nspace: {quantize: [{weight_bits: 3, activation_bits: 32}, null]}\n"
            "recipes: [[{step: prune, method: nm}]]",
            "2:4 sparse",
        ),
    ],
)
def test_what_the_form_has_no_box_for_is_named(text, why):
    sweep = parse(BARE + text, HERE)
    with pytest.raises(CannotShow) as found:
        to_draft(sweep)
    assert why in str(found.value)


def test_recipes_listed_one_by_one_are_shown_where_boxes_say_the_same():
    listed = "recipes: [[{step: prune, method: channel, ratio: 0.5}], [{step: quantize, weight_bits: 8, activation_bits: 8}]]"
    with pytest.raises(CannotShow, match="would also make"):
        to_draft(parse(BARE + listed, HERE))
    one = "recipes: [[{step: quantize, weight_bits: 8, activation_bits: 8}]]"
    assert to_draft(parse(BARE + one, HERE)).quantizations == (AS_IT_IS, "int8")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("- 1\n- 2", "a spec is a mapping"),
        ("name: [", "the text is not YAML: line 1, column 8"),
        ("name: x\n\tmodel: y", "line 2, column 1"),
        (BARE + "seed: many", "seed:"),
        (BARE + "sead: 1", "'sead' is not a known key"),
        (BARE + "space: {quantize: {weight_bits: 9, activation_bits: 8}}", "space.quantize.weight_bits"),
        (BARE + "space: {prune: {method: channel}}", "needs either ratio"),
        (BARE + "space: {quantise: null}", "'quantise' is not a step"),
        (BARE + "target: {limits: {speed: 1}}", "'speed' is not a metric"),
        (BARE + "target: {device: nvidia-t4}", "not one of measure.profiles"),
        (BARE + "search: {trials: 0}", "search.trials"),
        ("a: &x [1]\nb: *x", "line 2: *x refers to another place"),
        ("[" * 500 + "]" * 500, "nested more than"),
        ("a: !!python/object/apply:os.system ['true']", "not YAML"),
        ("x" * (LONGEST + 1), "characters"),
        (BARE + "data: {source: 2020-13-45}", "not YAML"),
        (BARE + TOO_MUCH, "160,000 combinations are more than 100,000"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_its_place(text, says):
    with pytest.raises(SpecError) as found:
        parse(text, HERE)
    assert says in str(found.value)
    assert "\n" not in str(found.value)


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(
    ["resnet8", "channel", "nm", "magnitude", "qat", "self", "current"]
)  # fmt: skip
_KEYS = st.sampled_from(
    ["name", "model", "source", "data", "space", "distill", "prune", "quantize", "runtime", "method", "ratio", "weight_bits",
     "activation_bits", "student", "recipes", "trials", "search", "measure", "latency", "target", "limits", "accuracy", "seed", "step"]
) | st.text(max_size=4) | st.integers()  # fmt: skip
_ANYTHING = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4), max_leaves=20
)


@given(st.dictionaries(_KEYS, _ANYTHING, max_size=5), st.booleans())
@settings(max_examples=300)
def test_whatever_is_pasted_is_a_sweep_or_one_line(value, with_model):
    text = yaml.safe_dump(value | ({"model": {"source": "resnet8"}} if with_model else {}))
    with suppress(InputError, CannotShow):
        to_draft(parse(text, HERE))


@given(st.text(max_size=200))
def test_no_characters_do_harm(text):
    with pytest.raises(InputError):
        parse(text, HERE)


def test_names_of_quantizations_read_back():
    for name in (*presets.FIRST_LOOK.fields["quantizations"][1:], "w3a5", "fp16 weights", "6-bit weights"):
        assert quantization_name(*bits_of(name)) == name


def test_the_boxes_of_the_form_take_its_defaults():
    for name, (low, high) in BOUNDS.items():
        assert low <= getattr(Draft(), name) <= high
        assert type(low) is type(high) is type(getattr(Draft(), name)), name


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("model", ["resnet8", "ds_cnn", "/some/net.onnx"])
def test_a_preset_keeps_model_and_data_and_is_a_sweep(number, model):
    draft = replace(Draft(), model=model, data="/my/data.npz", name="mine", seed=4)
    filled = presets.presets(("CPU",))[number].fill(draft)
    assert (filled.model, filled.data, filled.name) == (model, "/my/data.npz", "mine")
    recipes = spec(filled).all_recipes
    assert len(recipes) == presets.count(filled) >= 3
    assert set(spec(to_draft(spec(filled))).all_recipes) == set(recipes)


def test_presets_are_what_their_lines_say():
    first, int8, micro, gpu = (p.fill(Draft()) for p in presets.presets(("CPU",)))
    assert [presets.count(d) for d in (first, int8, micro, gpu)] == [24, 7, 17, 36]
    trains = {s.step for r in spec(int8).all_recipes for s in r.steps}
    assert trains == {"quantize"}
    assert all(r.steps[-1].step == "quantize" and r.steps[-1].activation_bits == 8 for r in spec(micro).all_recipes[1:])
    assert "no GPU here" in presets.presets(("CPU",))[3].says
    cuda = presets.presets(("CPU", "CUDA"))[3].fill(Draft())
    ways = {(r.runtime.provider, r.runtime.batch) for r in spec(cuda).all_recipes if r.runtime}
    assert ways == {("CUDA", 1), ("CUDA", 8), ("CUDA", 32)}


@pytest.mark.parametrize("name", read_scenarios())
def test_a_scenario_sets_device_limits_and_data_and_leaves_the_steps(name):
    scenario = read_scenarios()[name]
    draft = presets.under(scenario, presets.FIRST_LOOK.fill(Draft()))
    sweep = spec(draft)
    assert sweep.target.device == scenario.device
    assert dict(sweep.target.limits) == dict(scenario.limits)
    assert sweep.measure.profiles == ("host", scenario.device)
    assert len(sweep.all_recipes) == 24
    assert to_draft(sweep) == draft


def test_data_that_nothing_here_can_load_is_not_pretended(monkeypatch):
    scenario = read_scenarios()["medical-imager"]
    monkeypatch.setattr(presets, "is_available", lambda source: source == "fashion_mnist")
    assert presets.under(scenario, Draft()).data == "fashion_mnist"
    assert "not installed: uses the built-in data" in presets.about_data(scenario)
    monkeypatch.setattr(presets, "is_available", lambda source: True)
    assert presets.under(scenario, Draft()).data == scenario.datasets[0]
    assert presets.about_data(scenario) == f"Data: {scenario.datasets[0]}."
