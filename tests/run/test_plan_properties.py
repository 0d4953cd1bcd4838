"""What holds for every plan: nodes are those of an independent count, keys are the same in every process, and any change changes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.errors import SpecError
from engine.measure.machine import machine
from engine.run.node_key import node_key
from engine.run.plan import EXCLUSIVE, Kind, Plan
from engine.run.planner import make_plan
from engine.spec.recipe import Recipe
from engine.spec.steps import Distill, Finetune, Prune, Quantize
from engine.spec.sweep import parse_sweep
from tests.helpers.places import ROOT

MACHINE = machine()
_QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])

prunes = st.lists(st.sampled_from([0.1, 0.25, 0.5, 0.75]), max_size=3, unique=True)
bits = st.lists(st.sampled_from([2, 3, 4, 6, 8]), max_size=3, unique=True)
spaces = st.builds(
    lambda ratios, epochs, weight_bits, distilled: {
        "distill": [None, {"student": "ds_cnn", "epochs": 1, "samples": 100}] if distilled else [None],
        "prune": [None, *({"method": "channel", "ratio": r, "finetune_epochs": epochs} for r in ratios)],
        "quantize": [None, *({"weight_bits": b, "activation_bits": 8} for b in weight_bits)],
    },
    prunes,
    st.integers(0, 2),
    bits,
    st.booleans(),
)


def planned(space: Any, digest_of: Callable[[str], str] = lambda kind: kind, **spec: Any) -> Plan:
    sweep = parse_sweep({"name": "any", "model": {"source": "resnet8"}, "space": space} | spec)
    return make_plan(sweep, MACHINE, digest_of, device="cpu")


def made(recipe: Recipe) -> Iterator[tuple[Any, ...]]:
    """What has to exist for a recipe, each thing named by all that it is made from: counted without the planner."""
    chain: tuple[Any, ...] = ("resnet8",)
    yield chain
    exported = False
    for position, step in enumerate(recipe.steps):
        if isinstance(step, Quantize) and not exported:
            chain, exported = (*chain, "export"), True
            yield chain
        if isinstance(step, Quantize) and step.weight_bits in (3, 4):
            # What its layers share out is by the harm of this width.
            yield (*chain, "sensitivity", step.weight_bits)
        if isinstance(step, Distill):
            # It is taught by what the baseline's ONNX file says, and a fresh student begins with the sweep's network.
            yield ("resnet8", "export")
            yield ("resnet8", "export", "teacher")
        chain = (*chain, step)
        yield chain
        repaired = isinstance(step, Prune) and isinstance((*recipe.steps, None)[position + 1], Finetune)
        if not repaired and position + 1 < len(recipe.steps):
            yield from measured(chain if exported else (*chain, "export"))
    yield from measured(chain if exported else (*chain, "export"))
    yield from measured(("resnet8", "export"))


def measured(file: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """A file and its three measurements; a latency is taken in turns with the baseline."""
    yield file
    yield from ((*file, what) for what in ("facts", "accuracy", "latency"))


@_QUICK
@given(spaces)
def test_the_nodes_are_those_of_an_independent_count_and_each_is_there_once(space: Any):
    plan = planned(space)
    apart = [set(made(chain.recipe)) for chain in plan.chains]
    assert plan.unique == len(set().union(*apart))
    # Recipes share exactly what begins alike.
    for chain, things in zip(plan.chains, apart, strict=True):
        assert len(plan.awaited(chain)) == len(things)
    assert all(key == node.key for key, node in plan.nodes.items())
    places = {key: i for i, key in enumerate(plan.nodes)}
    assert all(places[i] < places[key] for key, node in plan.nodes.items() for i in node.inputs)


_KEYS = """
import json, sys
from engine.errors import SpecError
from engine.measure.machine import machine
from engine.run.planner import make_plan
from engine.spec.sweep import parse_sweep
plan = make_plan(parse_sweep(json.load(sys.stdin)), machine(), lambda kind: kind, device="cpu")
print(json.dumps([list(plan.nodes), [c.recipe.id for c in plan.chains], plan.sweep.id]))
"""


@pytest.mark.parametrize("seed", ["0", "4711"])
def test_keys_are_the_same_in_every_process_whatever_its_hashes(seed: str):
    space = {
        "distill": [None, {"student": "self", "epochs": 1}],
        "prune": [None, {"method": "channel", "ratio": [0.2, 0.4], "finetune_epochs": 1}],
        "quantize": [None, {"weight_bits": [4, 8], "activation_bits": 8}],
    }
    spec = {"name": "keys", "model": {"source": "resnet8"}, "space": space}
    environment = os.environ | {"PYTHONHASHSEED": seed}
    done = subprocess.run(
        [sys.executable, "-c", _KEYS],
        input=json.dumps(spec),
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
        check=True,
    )
    plan = planned(space, name="keys")
    assert json.loads(done.stdout) == [list(plan.nodes), [c.recipe.id for c in plan.chains], plan.sweep.id]


# Steps with values for what another option asks for, so that each option can be changed alone and still makes sense.
_STEPS: dict[str, list[dict[str, Any]]] = {
    "distill": [
        {"student": "ds_cnn", "epochs": 2, "samples": 1000, "temperature": 3.0, "alpha": 0.5},
        {"student": "self", "epochs": 1, "depth": 0.5},
        {"student": "recursive_resnet", "epochs": 1, "repeats": 2},
    ],
    "prune": [
        {"method": "channel", "ratio": 0.4},
        {"method": "channel", "macs_ratio": 0.4},
        {"method": "magnitude", "ratio": 0.4},
        {"method": "nm", "pattern": "2:4"},
    ],
    # A range that is left to the planner is one of the two others, by what the machine adds without overflow.
    "quantize": [
        {"weight_bits": 8, "activation_bits": 8, "weight_range": "full"},
        {"weight_bits": 8, "activation_bits": 8, "mean_bits": 5.0},
        {"weight_bits": 8, "activation_bits": 8, "max_drop": 1.0},
        {"weight_bits": 8, "activation_bits": 8, "layers": {"conv1": 32}},
        {"weight_bits": 8, "activation_bits": 8, "method": "qat", "samples": 500, "learning_rate": 0.001},
        {"weight_bits": 4, "method": "block", "block_size": 32, "accuracy_level": 4},
        {"weight_bits": 16, "activation_bits": 32},
    ],
}
_CLASSES = {"distill": Distill, "prune": Prune, "quantize": Quantize}


def others(annotation: Any, value: Any) -> list[Any]:
    """Values of an option's type that are not the one that it has, likely ones first."""
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return [v for v in parts if v != value]
    if get_origin(annotation) is tuple:
        return [{"conv1": 8}]
    found: list[Any] = []
    for part in parts:
        found += others(part, value)
    if annotation is bool:
        found.append(not value)
    elif annotation is str:
        found += [v for v in ("self", "ds_cnn", "resnet20") if v != value]
    elif annotation in (int, float):
        base = value if isinstance(value, int | float) else 1
        found += [v for v in (annotation(base + 1), annotation(base * 2), 4, 0.5, 0.25, 5.5) if v != value]
    return found


def changed(family: str, step: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    """The step with other values of one option, as far as the spec takes them and they say something else."""

    def recipe(of: dict[str, Any]) -> Recipe:
        return parse_sweep({"name": "x", "model": {"source": "resnet8"}, "space": {family: [of]}}).all_recipes[-1]

    if name == "weight_range" and name not in step:
        return
    field, own = _CLASSES[family].model_fields[name], recipe(step)
    for value in others(field.annotation, step.get(name, field.default)):
        try:
            says_more = recipe(step | {name: value}) != own
        except SpecError:
            continue
        # No network is called `self`, which is a student.
        if says_more and (name, value) not in [("weight_range", "auto"), ("teacher", "self")]:
            yield step | {name: value}


@pytest.mark.parametrize("family", list(_STEPS))
def test_every_option_of_every_step_changes_the_key_of_its_file(family: str):
    tried = set()
    for step in _STEPS[family]:
        own = planned({family: [step]}).chains[-1].model
        for name in _CLASSES[family].model_fields:
            for other in changed(family, step, name) if name != "step" else ():
                tried.add(name)
                assert planned({family: [other]}).chains[-1].model != own, (name, other[name])
    # A new option that is not tried here would be left out unseen.
    assert tried == set(_CLASSES[family].model_fields) - {"step"}


_PARTS: dict[str, Any] = {
    "inputs": ("a" * 64, "b" * 64),
    "options": {"x": 1, "y": [1, 2], "z": {"w": None}},
    "code": "c",
    "seed": 0,
    "data": "d",
    "device": "cpu",
}
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
values = st.recursive(scalars, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=3), v, max_size=3))


@_QUICK
@given(
    st.dictionaries(st.text(max_size=4), values, max_size=4), st.dictionaries(st.text(max_size=4), values, max_size=4)
)
def test_two_nodes_have_one_key_only_if_they_are_told_the_same(one: dict[str, Any], other: dict[str, Any]):
    def key(options: dict[str, Any]) -> str:
        return node_key("quantize", (), options, "code", 0, "data", MACHINE)

    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (key(one) == key(other)) == same
    assert key(dict(reversed(one.items()))) == key(one)


@pytest.mark.parametrize("kind", get_args(Kind))
def test_what_a_kind_depends_on_is_in_its_key_and_what_it_does_not_is_not(kind: Kind):
    def key(**parts: Any) -> str:
        return node_key(kind, **(_PARTS | {"machine": MACHINE} | parts))

    own, elsewhere = key(), replace(MACHINE, fingerprint="f" * 64)
    assert key(inputs=("a" * 64, "c" * 64)) != own
    assert key(inputs=("b" * 64, "a" * 64)) != own
    assert key(options=_PARTS["options"] | {"x": 2}) != own
    assert key(code="other") != own
    assert key(device="cuda") != own
    assert (key(seed=1) != own) == (kind in {"distill", "finetune", "qat"})
    assert (key(data="other") != own) == (kind not in {"facts", "latency"})
    if kind != "accuracy":  # which asks how that machine adds
        assert (key(machine=elsewhere) != own) == (kind in EXCLUSIVE)


@_QUICK
@given(spaces, st.integers(1, 1000))
def test_another_seed_changes_what_is_trained_and_nothing_else(space: Any, seed: int):
    first, second = planned(space), planned(space, seed=seed)

    def trained(plan: Plan, key: str) -> bool:
        return any(plan.nodes[k].kind in {"distill", "finetune", "qat"} for k in (key, *plan.ancestors[key]))

    for (one, _), (other, _) in zip(first.nodes.items(), second.nodes.items(), strict=True):
        assert (one != other) == trained(first, one)
