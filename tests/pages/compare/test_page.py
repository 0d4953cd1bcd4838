"""Compare: trials from the address, from the session or by default; only what differs; hostile addresses."""

import numpy as np
import pytest

from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.explain.compare import metric_rows
from engine.export.tables import flat_rows
from engine.quality.predictions import Predictions
from engine.spec.sweep import parse_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from pages.shared.comparison import default_trials, parse, to_params
from tests.helpers.pages import address, enter, open_app, words
from tests.helpers.trial_factory import SPACE, sweep_trials, trial

pytestmark = pytest.mark.usefixtures("home")
TRIALS = sweep_trials()


def open_compare(*trials, **params):
    return open_app("compare", **params, **({"trials": ",".join(t.id for t in trials)} if trials else {}))


def test_addresses_survive_the_round_trip():
    ids = [t.id for t in TRIALS[:4]]
    assert parse(to_params("sweep-1", ids)).trials == tuple(ids)
    assert parse(to_params("sweep-1", ids)).sweep == "sweep-1"
    assert to_params("sweep-1", []) == {"sweep": "sweep-1"}


@pytest.mark.parametrize(
    ("params", "trials"),
    [
        ({}, ()),
        ({"trials": "<script>,../../etc,abc,abc"}, ("abc",)),
        ({"trials": ",".join("abcdef012")}, tuple("abcdef")),
        ({"trials": "a" * 10_000}, ()),
        ({"sweep": "x" * 500, "trials": "ABC,g1"}, ()),
    ],
)
def test_what_cannot_be_an_id_is_left_out(params, trials):
    assert parse(params).trials == trials
    assert parse(params).sweep is None


def test_trials_from_the_address_stand_side_by_side():
    enter()
    app = open_compare(TRIALS[0], TRIALS[4])
    numbers = app.table[1].value
    assert list(numbers.columns) == ["A", "B"]
    differing = [r for r in metric_rows([TRIALS[0], TRIALS[4]]) if r.differs]
    assert list(numbers.index) == [r.name for r in differing]
    assert numbers.loc["File size"].tolist() == list(next(r for r in differing if r.name == "File size").values)
    assert "Measured on" not in numbers.index
    assert "rows are the same for all and not shown" in words(app)


def test_the_toggle_shows_all_rows():
    enter()
    app = open_compare(TRIALS[0], TRIALS[4])
    app.toggle(key="compare all rows").set_value(True).run()
    assert "Measured on" in app.table[1].value.index


def test_without_an_address_it_begins_with_baseline_and_frontier():
    sweep = enter()
    app = open_compare()
    assert address(app) == to_params(sweep.id, default_trials(TRIALS))
    assert default_trials(TRIALS)[0] == TRIALS[0].id


def test_choosing_another_recipe_writes_the_address():
    enter()
    app = open_compare(TRIALS[0], TRIALS[4])
    app.multiselect[0].select(TRIALS[7].id).run()
    assert address(app)["trials"].split(",") == [TRIALS[i].id for i in (0, 4, 7)]


def test_one_recipe_alone_says_what_to_do():
    enter()
    assert "Choose at least 2 recipes" in words(open_compare(TRIALS[0]))


@pytest.mark.parametrize("params", [{"sweep": "../../etc/passwd"}, {"sweep": "<b>"}, {"trials": "ffff,0000"}])
def test_a_hostile_address_gives_a_page_that_works(params):
    enter()
    app = open_app("compare", **params)
    assert not app.error
    assert len(app.multiselect[0].value) >= 2


def test_nothing_measured_says_what_to_do(monkeypatch):
    monkeypatch.setattr("pages.shared.queries.sweeps", list)
    assert "Nothing has been measured yet" in words(open_app("compare"))


def test_pairs_without_stored_answers_have_the_records_test_and_say_what_is_missing():
    enter()
    app = open_compare(TRIALS[0], TRIALS[4], TRIALS[5])
    pairs = app.table[0].value
    assert pairs["Pair"].tolist() == ["A and B", "A and C", "B and C"]
    assert pairs["Verdict"].tolist() == ["not told apart", "not told apart", "not known"]
    assert "Run the sweep again to test every pair" in words(app)


def test_stored_answers_are_tested_pair_by_pair(tmp_path):
    labels = load_fashion_mnist().test.labels
    artifacts, store, made = Artifacts.open(), Store.open(), []
    for number, wrong in enumerate((100, 150, 400)):
        predicted = labels.copy()
        predicted[:wrong] = (predicted[:wrong] + 1) % 10
        name, source = f"{number:064x}.npz", tmp_path / "new.npz"
        Predictions(predicted.astype(np.uint16), right=predicted == labels).save(source)
        artifacts.put(name, source)
        made.append(trial(TRIALS[number].recipe, accuracy=1 - wrong / 10_000, predictions=name))
    sweep = parse_sweep({"name": "answers", "model": {"source": "resnet8"}, "space": SPACE})
    store.begin(sweep, made, 1, 1)
    store.end(sweep.id, "done")
    pairs = open_compare(*made, sweep=sweep.id).table[0].value
    assert pairs["Right in one alone"].tolist() == ["50 and 0 of 10,000", "300 and 0 of 10,000", "250 and 0 of 10,000"]
    assert set(pairs["Verdict"]) == {"told apart"}
    assert pairs["Difference"].tolist()[0] == "+0.50 points"


def test_layers_are_read_from_the_files_of_the_example():
    store = Store.open()
    example = next(r for r in store.sweeps() if r.example)
    baseline, int8 = store.trials(example.id)[:2]
    app = open_compare(baseline, int8, sweep=example.id)
    app.toggle(key="compare layers").set_value(True).run()
    layers = app.table[-1].value
    assert layers.iloc[0].tolist() == ["32", "8"]
    assert len(layers) >= 8


def test_a_recipe_is_put_aside_on_explore_and_found_here():
    sweep = enter()
    app = open_app(trial=TRIALS[4].id)
    app.button(key=f"collect {sweep.id} {TRIALS[4].id}").click().run()
    assert "Add one more to compare" in words(app)
    app.query_params["trial"] = TRIALS[5].id
    app.run()
    app.button(key=f"collect {sweep.id} {TRIALS[5].id}").click().run()
    assert "Compare 2 recipes" in [link.proto.label for link in app.get("page_link")]
    app.query_params.clear()
    app.switch_page("pages/compare/page.py").run()
    assert app.multiselect[0].value == [TRIALS[4].id, TRIALS[5].id]


def test_explore_offers_its_table_and_the_report():
    enter()
    app = open_app()
    assert {"CSV", "JSON", "Parquet", "HTML report"} <= {b.label for b in app.get("download_button")}


def test_the_report_of_a_page_has_the_axes_of_its_view(home):
    from engine.frontier.recommendation import View, choose
    from pages.shared import share

    choice = choose(TRIALS, View(x="macs"))
    assert share.objectives(TRIALS, choice) == ("accuracy", "macs", "size_bytes", "latency_ms")
    unmeasured = [trial(latency_ms=None), trial(TRIALS[4].recipe, latency_ms=None)]
    assert share.objectives(unmeasured, choose(unmeasured, View())) == ("accuracy", "size_bytes")
    assert len(flat_rows(TRIALS, choice)) == 24
