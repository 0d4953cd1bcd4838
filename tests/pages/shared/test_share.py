"""Every page with tables gives them away in three formats, and its charts as the kind of picture that was chosen."""

from __future__ import annotations

import io
import json

import pandas as pd
import pytest

from pages.shared import share
from tests.helpers.pages import open_app

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def offered(monkeypatch):
    """File name -> what makes its content: AppTest shows the buttons, not what they give."""
    found, draw = {}, share._download

    def download(label, file, ending, mime, rows, write):
        found[f"{file}.{ending}"] = lambda: write(rows())
        draw(label, file, ending, mime, rows, write)

    monkeypatch.setattr(share, "_download", download)
    return found


def content(offered, end):
    """The content of the one file whose name ends so."""
    made = [make for name, make in offered.items() if name.endswith(end)]
    assert len(made) == 1, list(offered)
    return made[0]()


@pytest.fixture(params=["trial", "what_broke", "compare", "devices", "explore"])
def opened(request, example, offered):
    row, trials = example
    asked = {"sweep": row.id}
    if request.param in {"trial", "what_broke"}:
        asked["trial"] = trials["int8"].id
    if request.param == "compare":
        asked["trials"] = ",".join(trials[name].id for name in ("baseline", "int8", "4-bit weights"))
    app = open_app(request.param, **asked)
    assert {"CSV", "JSON", "Parquet"} <= {b.label for b in app.get("download_button")}
    return request.param, offered


def test_every_table_of_a_page_comes_in_three_formats_with_the_same_rows(opened):
    page, files = opened
    titles = {
        "trial": ["numbers", "bytes-by-layer", "latency-samples"],
        "what_broke": ["by-class", "flipped-images"],
        "compare": ["numbers", "pairs"],
        "devices": ["recipes-on-devices", "errors-of-the-profiles"],
        "explore": ["all-recipes"],
    }[page]
    for title in titles:
        rows = json.loads(content(files, f"{title}.json"))
        assert rows
        assert len(pd.read_csv(io.BytesIO(content(files, f"{title}.csv")))) == len(rows)
        assert len(pd.read_parquet(io.BytesIO(content(files, f"{title}.parquet")))) == len(rows)


def test_what_is_given_away_are_the_sweeps_own_numbers(example, offered):
    row, trials = example
    made = trials["int8"]
    open_app("trial", sweep=row.id, trial=made.id)
    numbers = json.loads(content(offered, "numbers.json"))
    assert [r["device"] for r in numbers] == ["host", *(d for d in made.projections if d != "host")]
    assert numbers[0]["accuracy"] == made.accuracy.value
    assert numbers[0]["latency_ms"] == made.latency_ms.p50
    layers = json.loads(content(offered, "layer.json"))
    assert {r["layer"]: r["bytes"] for r in layers} == made.size_layers

    open_app("what_broke", sweep=row.id, trial=made.id)
    flips = json.loads(content(offered, "images.json"))
    assert len(flips) == round(made.quality.flip_rate.value * made.accuracy.n)
    classes = json.loads(content(offered, "class.json"))
    right = sum(r["after"] * r["images"] for r in classes)
    assert right == pytest.approx(made.accuracy.value * made.accuracy.n)

    chosen = ",".join(trials[name].id for name in ("baseline", "int8", "4-bit weights"))
    open_app("compare", sweep=row.id, trials=chosen)
    pairs = json.loads(content(offered, "pairs.json"))
    assert len(pairs) == 3

    open_app("devices", sweep=row.id, devices="stm32h7a3-xcubeai")
    seen = {r["id"]: r for r in json.loads(content(offered, "devices.json"))}
    assert len(seen) == len(trials)
    assert seen[made.id]["latency_ms"] == pytest.approx(made.projections["stm32h7a3-xcubeai"].latency_ms.value)
    assert seen[trials["baseline"].id]["latency_ms"] is None


def test_the_kind_of_picture_is_chosen_once_for_all_pages(example):
    row, _ = example
    app = open_app("explore", sweep=row.id)

    def kinds():
        charts = [json.loads(c.proto.config)["toImageButtonOptions"]["format"] for c in app.get("plotly_chart")]
        assert charts
        return set(charts)

    assert kinds() == {"svg"}
    next(g for g in app.get("button_group") if g.label == "Charts as").set_value("png").run()
    assert kinds() == {"png"}
    app.switch_page("pages/what_broke/page.py").run()
    assert kinds() == {"png"}
