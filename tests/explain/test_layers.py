"""Where a trial's answers begin to differ: the command, what it is held against, and the words."""

from __future__ import annotations

import json

import pytest

from engine.cli import __main__ as cli
from engine.errors import InputError
from engine.explain.layers import kept_layers, layers, note, sentence
from engine.store.store import Store


def test_every_layer_of_an_int8_trial_is_held_against_the_baselines(example, monkeypatch, capsys):
    store, artifacts, sweep, ids = example
    monkeypatch.setattr("sys.argv", ["paretoscope", "layers", sweep, ids["int8"], "--samples", "20", "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert found["compared"] == found["all"] == len(found["layers"]) == 10
    assert found["reference"] == "baseline"
    assert found["samples"] == 20
    assert all(0.99 < layer["cosine"] <= 1 for layer in found["layers"])
    assert found["note"] is None
    assert found["sentence"].startswith("Answers begin to differ at ")
    monkeypatch.setattr("engine.explain.divergence.compare_layers", lambda *_: pytest.fail("known already"))
    assert layers(store, artifacts, sweep, ids["int8"], 20) == found
    row = store.sweep(sweep)
    trials = {t.id: t for t in store.trials(row.id)}
    # The page asks for as many samples as the command takes by itself.
    assert kept_layers(store, store.spec(row.id), trials[ids["int8"]], trials[ids["baseline"]]) is None


def test_students_and_pruned_networks_are_held_against_their_own_float_network_where_they_are_rounded(example):
    store, artifacts, sweep, ids = example
    student = layers(store, artifacts, sweep, ids["distil ds_cnn (2×25k)"], 5)
    assert student["layers"] == []
    assert "shares no layer with baseline" in student["note"]
    assert student["sentence"].startswith("No layer can be held against baseline. At the output ")
    rounded = layers(store, artifacts, sweep, ids["distil ds_cnn (2×25k) · int8"], 5)
    assert rounded["reference"] == "distil ds_cnn (2×25k)"
    assert rounded["compared"] == rounded["all"]
    pruned = layers(store, artifacts, sweep, ids["channels −25 % · finetune 1×20k"], 5)
    assert pruned["layers"] == []
    assert "10 read or give other shapes" in pruned["note"]


def test_ranges_that_were_moved_between_channels_are_no_error(home):
    from engine.store.artifacts import Artifacts

    store = Store.open()
    row = next(r for r in store.sweeps() if "transformer" in r.id)
    trial = next(t for t in store.trials(row.id) if any(text.startswith("smoothed") for text in t.chosen))
    found = layers(store, Artifacts.open(), row.id, trial.id, 5)
    assert found["compared"] == found["all"] == 18
    # What is divided on purpose would be some 10 dB away.
    assert all(layer["before_exact"] or layer["before_db"] > 30 for layer in found["layers"])


def test_the_baseline_itself_is_refused(example):
    store, artifacts, sweep, ids = example
    with pytest.raises(InputError, match="is the baseline itself"):
        layers(store, artifacts, sweep, ids["baseline"])


def made(**fields: object) -> dict[str, object]:
    layer = {"name": "/a/Conv", "before_db": 31.2, "before_exact": False, "sqnr_db": 18.4, "exact": False}
    return {
        "layers": [layer],
        "output": {"cosine": 0.98, "sqnr_db": 15.0, "exact": False},
        "reference": "baseline",
        "all": 1,
        "shared": 1,
        "compared": 1,
        "largest": "/a/Conv",
    } | fields


def test_it_is_said_in_words():
    said = "Answers begin to differ at a/Conv: 31 dB before it, 18 dB after. At the output 15 dB, cosine 0.9800."
    assert sentence(made()) == said
    assert "none loses a decibel" in sentence(made(largest=None))
    assert sentence(made(largest=None, output=None)).endswith("the lowest has 18 dB.")
    exact = [{"name": "a", "before_db": None, "before_exact": True, "sqnr_db": None, "exact": True}]
    assert "none is below 40 dB" in sentence(made(layers=exact, largest=None))
    assert note(made()) is None
    assert note(made(all=3)) == "2 of its 3 layers are none of baseline’s."
