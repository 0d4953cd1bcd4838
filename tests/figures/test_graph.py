"""The picture of a network: boxes that do not overlap, colours that mean something, and text that cannot become markup."""

import itertools
import random
import re
from dataclasses import replace

import pytest

from engine.figures import graph_layout
from engine.figures.graph import graph_html, graph_svg
from engine.figures.graph_changes import BOTH, CHANGE_COLOURS, difference_info
from engine.figures.graph_info import COLOURINGS, HEIGHT, WIDTH, graph_info
from engine.figures.graph_layout import layered
from engine.graph.count_layer_graph import layer_graph
from engine.graph.graph_difference import BITS, GONE, NARROWER, SAME, graph_difference, summary
from engine.graph.layer_graph import LayerBox, LayerGraph
from tests.helpers.graph_pairs import residual_net


def _random_dag(count, seed):
    rng = random.Random(seed)
    edges = {(rng.randrange(max(0, i - 6), i), i) for i in range(1, count) for _ in range(rng.choice([1, 1, 2, 3]))}
    return sorted(edges)


@pytest.mark.parametrize("seed", range(4))
def test_boxes_stand_apart_and_edges_lead_down(seed):
    edges = _random_dag(60, seed)
    layout = layered(60, edges)

    assert all(layout.places[a][1] < layout.places[b][1] for a, b in edges)
    for (x, y), (u, v) in itertools.combinations(layout.places, 2):
        assert y != v or abs(x - u) >= 1 - 1e-6
    # A line passes the layers between its ends, one bend each, never through a box.
    for (a, b), route in zip(edges, layout.routes, strict=True):
        between = range(round(layout.places[a][1]) + 1, round(layout.places[b][1]))
        assert [round(y) for _, y in route] == list(between)
        for x, y in route:
            assert all(round(v) != round(y) or abs(x - u) > 0.5 for u, v in layout.places)


def test_the_same_graph_is_laid_out_the_same():
    assert layered(60, _random_dag(60, 1)) == layered(60, _random_dag(60, 1))


def test_what_nothing_connects_has_a_place_of_its_own_and_a_circle_is_no_trap():
    apart = layered(4, [(0, 1)])
    circle = layered(3, [(0, 1), (1, 2), (2, 0)])

    assert len(set(apart.places)) == 4
    assert len(set(circle.places)) == 3
    assert layered(0, []).places == ()


def test_of_very_many_bends_the_longest_lines_are_drawn_straight(monkeypatch):
    monkeypatch.setattr(graph_layout, "_MOST_BENDS", 20)
    edges = [(i, i + 1) for i in range(40)] + [(0, k) for k in (5, 10, 39)]
    layout = layered(41, edges)

    assert [len(route) for route in layout.routes[-3:]] == [4, 9, 0]
    assert layout.layers == 40


@pytest.mark.parametrize("colour", COLOURINGS)
def test_a_network_is_coloured_by_what_its_layers_have(colour):
    graph = layer_graph(residual_net(), {"stem": 300, "a": 2400, "b": 2400, "head": 128})
    info = graph_info(graph, colour)

    known = [getattr(box, colour) for box in graph.boxes]
    assert [mark.colour is not None for mark in info.marks] == [bool(number) for number in known]
    # The legend counts every coloured box once, and what reads alike looks alike.
    assert sum(n for _, _, n in info.legend) == sum(map(bool, known))
    assert len({c for _, c, _ in info.legend}) == len(info.legend)
    order = [c for _, c, _ in info.legend]
    shown = sorted((number, order.index(mark.colour)) for number, mark in zip(known, info.marks, strict=True) if number)
    assert [place for _, place in shown] == sorted(place for _, place in shown)


def test_any_number_by_name_of_layer_can_be_the_colour():
    info = graph_info(layer_graph(residual_net()), "time_ms", {"a": 0.5, "b": 2.0, "elsewhere": 9.0}, "Time")

    assert {m.name: m.value for m in info.marks if m.value} == {"a": "0.500 ms", "b": "2.00 ms"}
    assert "Time: 0.500 ms" in next(m for m in info.marks if m.name == "a").about
    assert info.about.endswith("coloured by time")


def test_a_difference_is_coloured_by_kind_and_says_it_in_words():
    found = graph_difference(layer_graph(residual_net()), layer_graph(residual_net(width=4, bits=8, softmax=False)))
    info = difference_info(found, summary(found), ("A", "B"))
    by_name = {mark.name: mark for mark in info.marks}

    assert by_name["a"].colour == CHANGE_COLOURS[BOTH]
    assert by_name["a"].value == "8→4, 8 bits"
    assert by_name["head"].colour == CHANGE_COLOURS[NARROWER]
    assert by_name["softmax"].colour == CHANGE_COLOURS[GONE]
    assert by_name["softmax"].is_dashed
    assert by_name["softmax"].about.startswith("in A alone")
    assert {text: n for text, _, n in info.legend} == {SAME: 2, NARROWER: 1, f"{NARROWER}, {BITS}": 3, GONE: 1}
    assert [line.is_dashed for line in info.lines].count(True) == 2


def test_the_picture_holds_every_box_within_its_frame():
    info = graph_info(layer_graph(residual_net()))
    svg = graph_svg(info)

    assert svg.count('class="mark"') == len(info.marks)
    assert all(0 <= m.x <= info.width - WIDTH and 0 <= m.y <= info.height - HEIGHT for m in info.marks)
    xs = [float(n) for path in re.findall(r'<path d="([^"]*)"', svg) for n in re.findall(r"[MC]([\d.]+) ", path)]
    assert all(0 <= x <= info.width for x in xs)


def test_names_of_users_are_no_markup():
    hostile = '</title><script>alert(1)</script><img src=x onerror="alert(1)">'
    box = LayerBox("operator", hostile, hostile, (hostile, "Relu"), inside=hostile)
    page = graph_html(graph_info(LayerGraph((box, replace(box, name="")), ((0, 1),))))

    assert "<script" not in page
    assert "<img" not in page


def test_a_long_operator_leaves_room_for_its_number():
    info = graph_info(layer_graph(residual_net()))
    mark = replace(info.marks[0], title="LayerNormalization", value="0.512 kB")
    svg = graph_svg(replace(info, marks=(mark,)))

    # Bold letters of 12 pixels are 7 wide, those of the number 6; a gap of a letter between them.
    (title,) = re.findall(r'font-weight="600">([^<]*)<', svg)
    assert 14 + 7.2 * len(title) + 6 * (len(mark.value) + 1) + 8 <= WIDTH
    assert title == "LayerNormaliza…"
