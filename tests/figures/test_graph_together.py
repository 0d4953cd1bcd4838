"""Blocks that repeat as one box: its number, what it says, and where it opens; and colours by how alike layers are."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from engine.figures.graph import graph_html
from engine.figures.graph_changes import CHANGE_COLOURS, difference_info
from engine.figures.graph_info import SIMILARITY, SIMILARITY_TITLE, graph_info
from engine.graph.graph_difference import BITS as OTHER_BITS
from engine.graph.graph_difference import graph_difference, summary
from engine.graph.layer_graph import LayerBox, LayerGraph


def encoder(times: int, bits: Sequence[int] = (32, 32)) -> LayerGraph:
    """An input, so many blocks of two layers and a sum, and an output."""
    boxes, edges = [LayerBox("input", "x", "Input", ())], []
    for i in range(times):
        first = len(boxes)
        for name, layer_bits in zip(("up", "down"), bits, strict=True):
            boxes.append(
                LayerBox(
                    "operator", f"/blocks.{i}/{name}/MatMul", "MatMul", ("MatMul",), (f"{name}{i}", f"{name}{i} bias"), (1, 8), (8, 8),
                    64, 64, 64, 10 + i, layer_bits, weights=f"{name}{i}",
                )
            )  # fmt: skip
        boxes.append(LayerBox("operator", f"/blocks.{i}/Add", "Add", ("Add",), shape=(1, 8)))
        edges += [(first - 1, first), (first, first + 1), (first - 1, first + 2), (first + 1, first + 2)]
    boxes.append(LayerBox("output", "y", "Output", ()))
    return LayerGraph(tuple(boxes), (*edges, (len(boxes) - 2, len(boxes) - 1)))


def test_equal_blocks_are_one_box_with_the_sum_of_what_they_hold() -> None:
    info = graph_info(encoder(6), "bytes")
    assert len(info.marks) == 20
    assert info.together is not None
    assert [mark.title for mark in info.together.marks] == ["Input", "6 × block of 3", "Output"]
    block = info.together.marks[1]
    assert (block.name, block.value, block.opens) == ("blocks.0 … blocks.5", "0.150 kB", 1)
    assert "768 parameters, all of them together" in block.about
    assert info.marks[block.opens].name == "blocks.0/up/MatMul"
    assert graph_info(encoder(1)).together is None


@pytest.mark.parametrize(("bits", "said"), [((8, 8), "8 bits"), ((8, 4), "")])
def test_bits_are_said_of_a_block_where_all_its_layers_have_them(bits: tuple[int, int], said: str) -> None:
    block = graph_info(encoder(3, bits), "weight_bits").together.marks[1]
    assert block.value == said
    assert (block.colour is not None) == bool(said)
    assert f"weights in {' and '.join(map(str, sorted(set(bits))))} bits" in block.about


def test_of_similarity_the_least_counts_and_has_the_colour_of_what_is_much() -> None:
    values = {"up0": 30.0, "up0 bias": 38.0, "down1": 12.0, "down2": math.inf}
    info = graph_info(encoder(3), SIMILARITY, values, SIMILARITY_TITLE, least=True)
    shown = {mark.name: mark for mark in info.marks if mark.value}
    assert {name: mark.value for name, mark in shown.items()} == {
        "blocks.0/up/MatMul": "30 dB", "blocks.1/down/MatMul": "12 dB", "blocks.2/down/MatMul": "no difference",
    }  # fmt: skip
    assert shown["blocks.0/up/MatMul"].about.endswith("Similarity (SQNR): 30 dB")
    assert info.together.marks[1].value == "12 dB"
    assert [text for text, _, _ in info.legend] == ["12 dB", "30 dB", "no difference"]
    assert len({colour for _, colour, _ in info.legend}) == 3
    much = graph_info(encoder(3), SIMILARITY, {"up0": 12.0, "down1": 30.0}, "x")
    assert shown["blocks.1/down/MatMul"].colour == next(m.colour for m in much.marks if m.value == "30 dB")


def test_blocks_to_which_the_same_was_done_are_one_box_of_a_difference() -> None:
    found = graph_difference(encoder(4), encoder(4, (8, 8)), True)
    info = difference_info(found, summary(found))
    block = info.together.marks[1]
    assert (block.title, block.value, block.colour) == ("4 × block of 3", "8 of 12", CHANGE_COLOURS[OTHER_BITS])
    assert info.together.legend == info.legend
    mixed = encoder(4)
    boxes = list(mixed.boxes)
    boxes[7] = replace(boxes[7], weight_bits=8)
    found = graph_difference(mixed, replace(mixed, boxes=tuple(boxes)), True)
    drawn = difference_info(found, summary(found))
    assert " of " not in "".join(m.value for m in (drawn.together or drawn).marks), "one of four is no block"


def test_a_page_holds_both_pictures_and_a_small_one_the_shorter() -> None:
    info = graph_info(encoder(6))
    both, one = graph_html(info), graph_html(info, opens=False)
    assert (both.count("<svg"), one.count("<svg")) == (2, 1)
    assert re.findall(r'data-opens="(\d+)"', both) == ["1"]
    assert "data-opens" not in one
    assert "Every block" not in one
    assert graph_html(graph_info(encoder(1))).count("<svg") == 1
