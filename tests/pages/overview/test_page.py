"""The first page: what there is, and what to do where there is nothing."""

import pytest

from engine.figures.thumbnail import summarise_sweep, summary_text
from engine.frontier.verdict import verdict
from engine.spec.sweep import parse_sweep
from engine.store.store import Store
from pages.overview.page import CARDS, MATCHES
from pages.shared.shell import plain
from tests.helpers.pages import enter, open_app, words
from tests.helpers.trial_factory import sweep_trials, trial

pytestmark = pytest.mark.usefixtures("home")


def many(count: int) -> None:
    """So many small sweeps, numbered in the order in which they were started."""
    store = Store.open()
    for number in range(count):
        sweep = parse_sweep({"name": f"sweep {number:03d}", "model": {"source": "resnet8"}, "recipes": []})
        store.begin(sweep, [trial()], 1, 1)
        store.end(sweep.id, "done")


def cards(app) -> list[str]:
    return [str(m.value) for m in app.markdown if str(m.value).startswith("**") and "weeps" not in str(m.value)]


def test_the_overview_is_what_a_new_user_sees_first():
    app = open_app(None)
    assert "Which compressed version of my model should I ship?" in words(app)
    assert "No sweep of your own yet" in words(app)
    assert {"New sweep", "Open the example", "Open the second example"} <= {b.label for b in app.button}
    assert [card.partition(" on ")[0] for card in cards(app)] == ["**Example · resnet8", "**Example · transformer"]


def test_a_card_says_state_count_and_best_numbers():
    enter("mine", failed=2, pending=3)
    app = open_app("overview")
    assert "No sweep of your own yet" not in words(app)
    assert "19 of 24 recipes, 2 failed" in words(app)
    assert summary_text(summarise_sweep(sweep_trials(failed=2, pending=3))) in words(app)
    assert any("done" in m.value for m in app.markdown)


def test_a_sweep_without_anything_measured_says_so_and_can_be_opened():
    enter("broken", state="failed", pending=24)
    app = open_app("overview")
    assert "Nothing was measured. the disk is full" in words(app)
    assert "Open it" in [link.proto.label for link in app.get("page_link")]


def test_a_running_sweep_can_be_followed():
    enter("at it", state="running", pending=24)
    app = open_app("overview")
    assert "The first point appears" in words(app)
    assert "Follow it" in [link.proto.label for link in app.get("page_link")]


def test_what_users_call_their_sweeps_is_text():
    enter("**bold** :red[x] [link](http://evil) <b>")
    assert r"**\*\*bold\*\* \:red\[x\] \[link\]\(http\://evil\) \<b\>**" in cards(open_app("overview"))


def test_of_many_sweeps_the_newest_are_cards_and_all_can_be_found():
    many(60)
    app = open_app("overview")
    assert len(cards(app)) == CARDS
    assert f"and {62 - MATCHES} more" in words(app)
    app.text_input(key="find sweep").set_value("SWEEP 04").run()
    links = [link.proto.label for link in app.get("page_link")]
    assert [name for name in links if name.startswith("sweep 04")] != []
    assert not any(name.startswith("sweep 05") for name in links[-10:])
    app.text_input(key="find sweep").set_value("no such name").run()
    assert "No sweep has this in its name or id" in words(app)


def test_the_example_opens_on_the_explore_page():
    app = open_app(None)
    next(b for b in app.button if b.label == "Open the example").click().run()
    assert "Example that ships with Paretoscope, really run" in words(app.run())
    assert app.selectbox(key="pick sweep").value.startswith("example-resnet8")


def test_the_second_example_opens_too():
    app = open_app(None)
    next(b for b in app.button if b.label == "Open the second example").click().run()
    assert app.run().selectbox(key="pick sweep").value.startswith("example-transformer")


def test_it_says_what_to_ship_of_the_newest_sweep():
    enter("mine")
    told = verdict(sweep_trials(), ("accuracy", "latency_ms"), {})
    app = open_app("overview")
    assert "What to ship from **mine**" in words(app)
    assert plain(told.sentence.split("; ")[0]) in words(app)
