"""Mixed precision: the choice is the best one, the budget holds, and what cannot be is said in one line."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.compress.quantization.allocation import (
    allocate_bits,
    allocate_float,
    by_layer,
    choose,
    mixed_bits,
    shared_out,
    stated_bits,
)
from engine.compress.quantization.weights import find_layers, weight_names
from engine.errors import StepError
from engine.spec.steps import Quantize
from tests.helpers.tiny_trained import tiny_graph

torch.set_num_threads(1)
BITS = range(2, 9)


def layers_of_the_tiny_graph() -> tuple[list[str], list[str], dict[str, int]]:
    """(node names, weight names, {weight: size})."""
    graph = tiny_graph().graph
    layers = find_layers(graph.node, weight_names(graph))
    sizes = {t.name: int(np.prod(t.dims)) for t in graph.initializer}
    return [x.node.name for x in layers], [x.weight for x in layers], {x.weight: sizes[x.weight] for x in layers}


items = st.lists(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), min_size=1, max_size=4), min_size=1, max_size=5
)


@given(items=items, capacity=st.integers(-1, 30))
def test_the_knapsack_is_solved_as_by_trying_everything(items: list[list[tuple[int, int]]], capacity: int) -> None:
    costs = [[float(c) for c, _ in options] for options in items]
    weights = [[w for _, w in options] for options in items]
    fitting = [sum(c for c, _ in picks) for picks in itertools.product(*items) if sum(w for _, w in picks) <= capacity]
    chosen = choose(costs, weights, capacity)
    if not fitting:
        assert chosen is None
        return
    assert chosen is not None
    assert sum(w[i] for w, i in zip(weights, chosen, strict=True)) <= capacity
    assert sum(c[i] for c, i in zip(costs, chosen, strict=True)) == min(fitting)


def random_problem(seed: int, layers: int) -> tuple[dict[str, dict[str, float]], dict[str, int]]:
    rng = np.random.default_rng(seed)
    sizes = {f"w{i}": int(rng.integers(1, 400)) * 9 for i in range(layers)}
    sensitivity = {
        name: {str(b): float(c) for b, c in zip(BITS, np.sort(rng.exponential(size=7))[::-1], strict=True)}
        for name in sizes
    }
    return sensitivity, sizes


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("mean_bits", [2.0, 3.0, 4.3, 7.9])
def test_bits_are_the_best_under_the_budget(seed: int, mean_bits: float) -> None:
    sensitivity, sizes = random_problem(seed, 5)
    most = 8 if seed % 2 else 6
    found = allocate_bits(sensitivity, sizes, min(mean_bits, most), most, {"w1": 4} if mean_bits > 2.5 else {})
    budget = min(mean_bits, most) * sum(sizes.values())
    cost = least = 0.0
    cost = sum(sensitivity[n][str(b)] for n, b in found.items())
    least = min(
        sum(sensitivity[n][str(b)] for n, b in zip(sizes, bits, strict=True))
        for bits in itertools.product(range(2, most + 1), repeat=5)
        if sum(s * b for s, b in zip(sizes.values(), bits, strict=True)) <= budget and (mean_bits < 2.5 or bits[1] == 4)
    )
    assert sum(sizes[n] * b for n, b in found.items()) <= budget
    assert cost == pytest.approx(least)


def test_large_networks_keep_the_budget() -> None:
    """Sizes without a common divisor, too many for whole units."""
    rng = np.random.default_rng(0)
    sizes = {f"w{i}": int(rng.integers(1000, 3_000_000)) for i in range(60)}
    sensitivity = {n: {str(b): float(rng.exponential() * 4.0**-b) for b in BITS} for n in sizes}
    found = allocate_bits(sensitivity, sizes, 4.0, 8, {})
    mean = sum(sizes[n] * b for n, b in found.items()) / sum(sizes.values())
    assert 3.95 < mean <= 4.0
    assert len(set(found.values())) > 2


def test_a_budget_below_what_is_fixed_is_refused_with_what_is_needed() -> None:
    sensitivity, sizes = random_problem(0, 3)
    fixed = {"w0": 8, "w1": 32}
    least = (sizes["w0"] * 8 + sizes["w1"] * 32 + sizes["w2"] * 2) / sum(sizes.values())
    with pytest.raises(StepError, match=rf"^quantize: mean_bits 3 cannot be reached, .* {least:.2f} bits[^\n]*$"):
        allocate_bits(sensitivity, sizes, 3, 8, fixed)


def test_float_layers_are_the_best_that_the_time_allows() -> None:
    rng = np.random.default_rng(1)
    costs = {f"w{i}": float(rng.exponential()) for i in range(6)}
    times = {name: (float(rng.uniform(0.5, 2)), float(rng.uniform(0.3, 1))) for name in costs} | {"": (0.4, 0.7)}
    whole = sum(t[0] for t in times.values())
    for share in (0.75, 0.85, 1.0):
        found = allocate_float(costs, times, share, {"w2": True})
        assert found["w2"]

        def time(choice: dict[str, bool]) -> float:
            return times[""][1] + sum(times[n][0 if f else 1] for n, f in choice.items())

        def cost(choice: dict[str, bool]) -> float:
            return sum(costs[n] for n, f in choice.items() if not f)

        options = [dict(zip(costs, flags, strict=True)) for flags in itertools.product([False, True], repeat=6)]
        least = min(cost(o) for o in options if o["w2"] and time(o) <= share * whole - 1e-4)
        assert time(found) <= share * whole + 1e-9
        assert cost(found) <= least + 1e-12
    with pytest.raises(
        StepError, match=r"^quantize: max_latency 0.1 cannot be reached, the fastest choice of layers takes 0\.\d\d "
    ):
        allocate_float(costs, times, 0.1, {})


def test_steps_become_bits_for_each_weight() -> None:
    names, weights, sizes = layers_of_the_tiny_graph()
    graph = tiny_graph()
    assert mixed_bits(Quantize(weight_bits=4, activation_bits=8), graph) == dict.fromkeys(weights, 4)
    ends = mixed_bits(Quantize(weight_bits=3, activation_bits=8), graph)
    assert [ends[w] for w in weights] == [8, *[3] * (len(weights) - 2), 8]
    stated = Quantize(weight_bits=3, activation_bits=8, layers={names[0]: 5, names[3]: 32})
    assert mixed_bits(stated, graph) == ends | {weights[0]: 5, weights[3]: 32}

    sensitivity = {w: {str(b): 4.0**-b * (100 if i == 2 else 1) for b in BITS} for i, w in enumerate(weights)}
    step = Quantize(weight_bits=8, activation_bits=8, mean_bits=4, layers={names[4]: 2})
    mixed = mixed_bits(step, graph, sensitivity)
    assert sum(sizes[w] * b for w, b in mixed.items()) <= 4 * sum(sizes.values())
    assert mixed[weights[4]] == 2
    assert mixed[weights[2]] > mixed[weights[1]]
    times = dict.fromkeys(weights, (1.0, 0.5)) | {"": (0.5, 0.5)}
    step = Quantize(weight_bits=8, activation_bits=8, max_latency=0.8)
    faster = mixed_bits(step, graph, sensitivity, times)
    assert faster[weights[2]] == 32  # the one that loses most
    share = (0.5 + sum(1.0 if b == 32 else 0.5 for b in faster.values())) / (0.5 + len(weights))
    assert 0.75 < share <= 0.8


def test_the_allocation_can_be_shown_and_written_into_a_recipe() -> None:
    names, weights, _ = layers_of_the_tiny_graph()
    bits = {w: 2 + i % 7 for i, w in enumerate(weights)}
    shown = by_layer(tiny_graph(), bits)
    assert shown == {name: bits[w] for name, w in zip(names, weights, strict=True)}
    again = Quantize(weight_bits=8, activation_bits=8, layers=shown)
    assert mixed_bits(again, tiny_graph()) == bits


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"conv9": 4}, r"layers names 'conv9', which the network does not have; its layers are "),
        ({"/0/0.0/Conf": 4}, r"did you mean '/0/0.0/Conv'\?"),
        ({"/0/0.0/Conv": 12}, r"layers gives '/0/0.0/Conv' 12 bits; use 2 to 8, or 32 for float"),
    ],
)
def test_layers_that_cannot_be_are_named_in_one_line(layers: dict[str, int], message: str) -> None:
    graph = tiny_graph().graph
    with pytest.raises(StepError, match=message) as error:
        stated_bits(
            Quantize(weight_bits=8, activation_bits=8, layers=layers), find_layers(graph.node, weight_names(graph))
        )
    assert "\n" not in str(error.value)


def test_layers_that_leave_nothing_to_be_rounded_are_refused() -> None:
    names = layers_of_the_tiny_graph()[0]
    step = Quantize(weight_bits=8, activation_bits=8, layers=dict.fromkeys(names, 32))
    with pytest.raises(StepError, match="layers leaves every layer in float; give some of them 2 to 8 bits"):
        mixed_bits(step, tiny_graph())
    assert mixed_bits(step.model_copy(update={"layers": step.layers[1:]}), tiny_graph())


@pytest.mark.parametrize("bits", [3, 4])
def test_few_bits_are_shared_out_within_a_twentieth_more(bits: int) -> None:
    _, weights, sizes = layers_of_the_tiny_graph()
    graph = tiny_graph()
    step = Quantize(weight_bits=bits, activation_bits=8)
    sensitivity = {w: {str(b): 4.0**-b * (100 if i == 2 else 1) for b in BITS} for i, w in enumerate(weights)}
    plain, found = mixed_bits(step, graph), mixed_bits(step, graph, sensitivity)
    assert mixed_bits(step.model_copy(update={"layers": "uniform"}), graph, sensitivity) == plain
    assert sum(sizes[w] * b for w, b in found.items()) <= 1.05 * sum(sizes[w] * b for w, b in plain.items())
    harm = {name: sum(sensitivity[w][str(b)] for w, b in bits.items()) for name, bits in (("p", plain), ("f", found))}
    assert harm["f"] < harm["p"]
    middle = {b for w, b in found.items() if plain[w] < 8}
    assert min(middle) >= bits - 1
    assert max(middle) <= 7
    assert {w: b for w, b in found.items() if plain[w] == 8} == {w: 8 for w, b in plain.items() if b == 8}
    assert shared_out(found) == [f"layers in {min(found.values())} to {max(found.values())} bits"]
    assert shared_out(dict.fromkeys(weights, 4)) == []


@pytest.mark.parametrize(
    "options",
    [
        {"weight_bits": 5}, {"weight_bits": 2}, {"activation_bits": 32}, {"rounding": "nearest"}, {"layers": "uniform"},
        {"layers": {"conv": 4}}, {"method": "qat"}, {"mean_bits": 4}, {"float_layers": 1}, {"max_drop": 1}, {"max_latency": 0.9},
    ],
)  # fmt: skip
def test_what_is_stated_or_not_few_bits_shares_out_nothing(options: dict[str, object]) -> None:
    usual = {"weight_bits": 4, "activation_bits": 8}
    assert Quantize(**usual).shares_out_bits
    assert not Quantize(**(usual | options)).shares_out_bits


def test_uniform_beside_what_chooses_by_layer_is_refused() -> None:
    with pytest.raises(ValueError, match="layers uniform gives every layer weight_bits and mean_bits does not"):
        Quantize(weight_bits=4, activation_bits=8, mean_bits=3.5, layers="uniform")


@pytest.mark.parametrize("cost", [float("inf"), float("nan")])
def test_harm_that_is_no_number_shares_nothing_out(cost: float) -> None:
    step = Quantize(weight_bits=4, activation_bits=8)
    _, weights, _ = layers_of_the_tiny_graph()
    sensitivity = {w: {"4": cost if i else 1.0} for i, w in enumerate(weights)}
    assert mixed_bits(step, tiny_graph(), sensitivity) == mixed_bits(step, tiny_graph())
