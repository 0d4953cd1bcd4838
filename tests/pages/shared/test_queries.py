"""Pages of a sweep with many recipes: none reads them all as whole trials, and no picker sends them all to the browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from engine.devices.published import reference_demands
from engine.figures.heat_map import MOST_ROWS
from engine.frontier.columns import Trials
from engine.graph.demand import in_integers
from engine.spec.recipe import Recipe
from engine.spec.steps import Imported, Prune, Quantize
from engine.spec.sweep import Sweep, parse_sweep
from engine.store import store as stored
from engine.store.store import Store
from engine.trials.trial import Trial
from pages.shared.pickers import MOST_OFFERED, offered
from tests.helpers.pages import address, open_app, words
from tests.helpers.trial_factory import trial

pytestmark = pytest.mark.usefixtures("home")
COUNT = MOST_OFFERED + 100
PAGES = ["trial", "what_broke", "compare", "playground", "devices", "explore"]
SMALL = in_integers(reference_demands()["resnet8"])


def made_up() -> list[Trial]:
    """The baseline, and recipes of which each next one is smaller and less accurate; those at the end as bad as can be."""
    made = [trial(accuracy=0.93, size_bytes=313_000, demand=reference_demands()["resnet8"])]
    for number in range(1, COUNT):
        recipe = Recipe(steps=(Prune(method="magnitude", ratio=round(number / 1000, 3)),))
        worse = number > COUNT - 50
        size = 320_000 if worse else 313_000 - 400 * number
        made.append(trial(recipe, accuracy=0.5 if worse else 0.93 - number / 10_000, size_bytes=size, demand=SMALL))
    return made


TRIALS = made_up()


@pytest.fixture
def many() -> Sweep:
    store, sweep = Store.open(), parse_sweep({"name": "many", "model": {"source": "resnet8"}})
    store.begin(sweep, TRIALS, nodes_total=1, nodes_done=1)
    store.end(sweep.id, "done")
    return sweep


@contextmanager
def parsed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The whole trials that are read from the store meanwhile."""
    texts: list[str] = []
    parse = stored.read_trial
    with monkeypatch.context() as patch:
        patch.setattr(stored, "read_trial", lambda text: texts.append(text) or parse(text))
        yield texts


@pytest.mark.parametrize("page", PAGES)
def test_a_page_reads_only_the_trials_that_it_looks_at(page, many, monkeypatch) -> None:
    with parsed(monkeypatch) as texts:
        app = open_app(page, sweep=many.id)
    assert not app.error
    assert address(app)["sweep"] == many.id
    # Explore has nothing selected; every other page looks at some, so what counts them does count.
    assert (page != "explore") <= len(texts) <= MOST_ROWS + 10


def test_a_device_that_the_sweep_did_not_ask_for_reads_none_of_them(many, monkeypatch) -> None:
    with parsed(monkeypatch) as texts:
        app = open_app(sweep=many.id, device="gap9-ne16")
    assert address(app)["device"] == "gap9-ne16"
    assert f"all {COUNT} recipes remain" in words(app)
    assert len(texts) <= 2


@pytest.mark.parametrize("page", PAGES)
def test_pickers_stay_bounded_and_say_so(page, many) -> None:
    app = open_app(page, sweep=many.id)
    assert all(len(box.options) <= MOST_OFFERED + 6 for box in [*app.selectbox, *app.multiselect])
    if page not in {"devices", "explore"}:
        assert f"({MOST_OFFERED} of {COUNT - (page == 'what_broke')} offered)" in " ".join(
            b.label for b in [*app.selectbox, *app.multiselect]
        )


def test_what_is_not_offered_is_found_by_its_words_and_chosen(many) -> None:
    last = TRIALS[-1]
    app = open_app("trial", sweep=many.id)
    assert app.selectbox(key="trial trial").value == TRIALS[0].id
    assert last.label not in app.selectbox(key="trial trial").options
    app.text_input(key="trial trial find").set_value(f"  {last.label.upper()} ").run()
    assert "of 600 offered" not in app.selectbox(key="trial trial").label
    assert last.label in app.selectbox(key="trial trial").options
    app.selectbox(key="trial trial").select(last.label).run()
    assert address(app)["trial"] == last.id
    app.text_input(key="trial trial find").set_value("").run()
    assert address(app)["trial"] == last.id
    app.text_input(key="trial trial find").set_value(TRIALS[-2].id).run()
    assert app.selectbox(key="trial trial").label == "Recipe (1 of 1 found)"
    app.text_input(key="trial trial find").set_value("no such thing").run()
    assert app.selectbox(key="trial trial").label.startswith("Recipe (nothing found, 500 of ")
    # Nor with nothing chosen, as when the words were written for another sweep.
    ids, said = offered(Trials.of(TRIALS), "no such words", [])
    assert len(ids) == MOST_OFFERED
    assert "nothing found" in said
    assert address(app)["trial"] == last.id


def test_recipes_of_one_name_are_told_apart() -> None:
    # A file that was made elsewhere is called as its owner likes.
    own = Recipe(steps=(Quantize(weight_bits=8, activation_bits=8),))
    twins = [own, Recipe(steps=(Imported(name=own.label, sha256="a" * 64),))]
    made = [trial(), *(trial(r) for r in twins)]
    assert made[1].label == made[2].label
    store, sweep = Store.open(), parse_sweep({"name": "twins", "model": {"source": "resnet8"}})
    store.begin(sweep, made, nodes_total=1, nodes_done=1)
    store.end(sweep.id, "done")
    app = open_app("trial", sweep=sweep.id)
    name = f"{made[2].label} ({made[2].id})"
    assert app.selectbox(key="trial trial").options == ["baseline", f"{made[1].label} ({made[1].id})", name]
    app.selectbox(key="trial trial").select(name).run()
    assert address(app)["trial"] == made[2].id
    app = open_app("compare", sweep=sweep.id, trials=made[0].id)
    app.multiselect[0].select(name).run()
    assert address(app)["trials"].split(",") == [made[0].id, made[2].id]


@pytest.mark.parametrize("page", ["trial", "what_broke"])
def test_a_link_to_a_recipe_that_is_not_offered_shows_it(page, many) -> None:
    app = open_app(page, sweep=many.id, trial=TRIALS[-1].id)
    assert address(app)["trial"] == TRIALS[-1].id
    assert app.selectbox(key=f"{page.removeprefix('what_')} trial").value == TRIALS[-1].id


def test_chosen_recipes_stay_when_others_are_searched(many) -> None:
    ends = [TRIALS[0].id, TRIALS[-1].id]
    app = open_app("compare", sweep=many.id, trials=",".join(ends))
    name = f"compare trials {many.id}"
    app.text_input(key=f"{name} find").set_value(TRIALS[-2].label).run()
    app.multiselect(key=name).select(TRIALS[-2].label).run()
    assert address(app)["trials"].split(",") == [*ends, TRIALS[-2].id]


def test_devices_say_what_their_heat_map_leaves_out_and_the_fleets_picker_is_bounded(many) -> None:
    app = open_app("devices", sweep=many.id, scenario="medical-imager")
    assert f"{COUNT - MOST_ROWS} more recipes are not drawn; those on some device’s frontier are." in words(app)
    assert f"({MOST_OFFERED} of {COUNT - 1} offered)" in app.selectbox(key="devices fleet").label
