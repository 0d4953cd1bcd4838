"""Optuna's studies, read by Optuna and left as they are."""

from __future__ import annotations

import warnings
from pathlib import Path

import optuna
import pytest

from engine.elsewhere.optuna_study import is_study, read_study
from engine.errors import InputError


def stored(storage: object, name: str, metrics: list[str] | None, directions: tuple[str, ...]) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(storage=storage, study_name=name, directions=list(directions))  # type: ignore[arg-type]
        if metrics:
            study.set_metric_names(metrics)

        def objective(trial: optuna.Trial) -> tuple[float, ...]:
            bits = trial.suggest_int("bits", 2, 8)
            if trial.number == 1:
                raise optuna.TrialPruned
            return (0.9 + bits / 1000, 1000.0 * bits)[: len(directions)]

        study.optimize(objective, n_trials=3, catch=())


@pytest.fixture
def sqlite(tmp_path: Path) -> Path:
    path = tmp_path / "study.db"
    stored(f"sqlite:///{path}", "search", ["accuracy", "size_bytes"], ("maximize", "minimize"))
    return path


def test_complete_trials_are_points_and_the_storage_stays_as_it_was(sqlite: Path):
    before = sqlite.read_bytes()
    for source in (str(sqlite), f"sqlite:///{sqlite}"):
        assert is_study(source)
        found = read_study(source, None, None)
        assert found.source == "search"
        assert [r.name for r in found.rows] == ["search trial 0", "search trial 2"]
        assert all(r.values["size_bytes"] / 1e6 == pytest.approx(r.values["accuracy"] - 0.9) for r in found.rows)
        assert found.rows[0].notes[0].startswith("parameters: bits ")
    assert sqlite.read_bytes() == before
    assert {p.name for p in sqlite.parent.iterdir()} == {"study.db"}


def test_a_journal(tmp_path: Path):
    path = tmp_path / "study.log"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        backend = optuna.storages.journal.JournalFileBackend(str(path))
        stored(optuna.storages.JournalStorage(backend), "one", None, ("minimize",))
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"does not say what its 1 objectives are.*--values"):
        read_study(str(path), None, None)
    with pytest.raises(InputError, match="minimized 'accuracy', but more of it is better"):
        read_study(str(path), None, "accuracy")
    with pytest.raises(InputError, match="--values names 2, but study 'one' has 1"):
        read_study(str(path), None, "nll,size_bytes")
    assert [r.values["nll"] > 0.9 for r in read_study(str(path), None, "nll").rows] == [True, True]
    assert path.read_bytes() == before


def test_which_study_is_never_guessed(sqlite: Path):
    stored(f"sqlite:///{sqlite}", "second", None, ("maximize", "minimize"))
    with pytest.raises(InputError, match=r"has 2 studies, not one.*'search'.*--study"):
        read_study(str(sqlite), None, None)
    with pytest.raises(InputError, match="no study 'third'"):
        read_study(str(sqlite), "third", None)
    assert len(read_study(str(sqlite), "second", "accuracy,size_bytes").rows) == 2


def test_what_is_no_storage_is_refused_and_none_is_made(tmp_path: Path):
    (tmp_path / "text.log").write_text("hello\n")
    (tmp_path / "text.db").write_text("hello\n")
    cases = [
        (str(tmp_path / "none.db"), "does not exist"),
        ("mysql://host/db", "mysql:// is not read"),
        (str(tmp_path / "text.db"), "cannot be read as an Optuna storage"),
        (str(tmp_path / "text.log"), "holds no Optuna study"),
    ]
    for source, words in cases:
        with pytest.raises(InputError, match=words) as refused:
            read_study(source, None, None)
        assert "\n" not in str(refused.value)
    assert {p.name for p in tmp_path.iterdir()} == {"text.log", "text.db"}
