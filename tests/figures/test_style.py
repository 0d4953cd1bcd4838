"""What a figure says about its looks, so that the page need not."""

from __future__ import annotations

import plotly.graph_objects as go
import pytest

from engine.figures.style import TEXT, all_shortened, named_places, style


def luminance(colour: str) -> float:
    """Relative luminance of #RRGGBB (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("page", ["#FFFFFF", "#10151C"])
def test_text_can_be_read_on_both_pages(page: str) -> None:
    light, dark = sorted((luminance(TEXT), luminance(page)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) > 4.2


def test_nothing_is_left_to_a_template() -> None:
    figure = go.Figure(go.Scatter(x=[1], y=[2]))
    style(figure)
    sent = figure.to_plotly_json()["layout"]
    assert "template" not in sent
    assert sent["font"]["color"] == TEXT
    assert sent["paper_bgcolor"] == sent["plot_bgcolor"] == "rgba(0, 0, 0, 0)"


def test_what_a_figure_says_itself_stays() -> None:
    figure = go.Figure(go.Scatter(x=[1], y=[2]))
    figure.update_layout(xaxis={"title": {"text": "x", "font": {"size": 9}}, "showgrid": True}, font={"size": 20})
    style(figure)
    assert figure.layout.xaxis.title.font.size == 9
    assert figure.layout.xaxis.showgrid
    assert figure.layout.font.size == 20
    assert figure.layout.font.color == TEXT


def test_every_pane_and_every_axis_in_space_has_its_grid() -> None:
    flat, space = go.Figure(go.Scatter(x=[1], y=[2])), go.Figure(go.Scatter3d(x=[1], y=[2], z=[3]))
    flat.add_scatter(x=[1], y=[2], xaxis="x2", yaxis="y2")
    flat.update_layout(xaxis={}, yaxis={"type": "linear"}, xaxis2={"anchor": "y2"}, yaxis2={"anchor": "x2"})
    space.update_layout(scene={"xaxis": {"type": "linear"}})
    style(flat)
    style(space)
    assert all(axis.tickfont.color == TEXT for axis in (*flat.select_xaxes(), *flat.select_yaxes()))
    scene = space.layout.scene
    assert all(axis.tickfont.color == TEXT and axis.gridcolor for axis in (scene.xaxis, scene.yaxis, scene.zaxis))


def test_a_name_of_several_words_has_two_lines_before_it_is_shortened() -> None:
    names = ["int8", "quantize weight bits 4 instead of 8", "x" * 30, "<b> " + "word " * 12]
    ticks = named_places(names, 26, lines=2)["ticktext"]
    assert ticks[:2] == ["int8", "quantize weight bits 4<br>instead of 8"]
    assert ticks[2] == "…" + "x" * 25
    first, last = ticks[3].split("<br>")
    assert first.startswith("&lt;b&gt; word")
    assert last == "… word word word word word"
    assert named_places(["channels −25 % · finetune 3"], 32, lines=2)["ticktext"] == ["channels −25 % · finetune 3"]
    assert named_places(names, 26)["ticktext"][1] == "…eight bits 4 instead of 8"


def test_names_that_end_alike_are_cut_in_the_middle_and_others_by_their_end() -> None:
    alike = [f"{name} (rounded to the nearest, 16 calibration images)" for name in ("int8", "w6a8", "4-bit weights")]
    cut = all_shortened(alike, 30)
    assert len(set(cut)) == 3
    assert all(len(name) == 30 for name in cut)
    assert cut[0].startswith("int8 (")
    assert (
        all_shortened(["layers.0.attention.query.weight", "layers.0.attention.keys.weight"], 14)[1] == "…n.keys.weight"
    )
    assert all_shortened(["short"], 30) == ["short"]
    between = [f"{'a' * 50}{i}{'b' * 40}" for i in range(3)]
    assert all_shortened(between, 20) == [f"…aaaaaa{i}{'b' * 11}…" for i in range(3)]
