"""What a board reports of a bundle: taken back where it is of this sweep's very file, refused in one line where it is not."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from engine.elsewhere.board_report import read_report, take_back
from engine.errors import InputError
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from engine.trials.boards import board_texts
from engine.trials.trial import Trial
from tests.helpers.board import report
from tests.helpers.pages import enter

NAME = "cd" * 32 + ".onnx"
CONTENT = b"a file"
SHA = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def swept(home: Path, tmp_path: Path) -> tuple[Store, Artifacts, str, Trial]:
    """A sweep of made-up trials, of which one has a file."""
    sweep, store, artifacts = enter(), Store.open(), Artifacts.open()
    (tmp_path / "file").write_bytes(CONTENT)
    artifacts.put(NAME, tmp_path / "file")
    trial = dataclasses.replace(store.trials(sweep.id)[1], artifact=NAME)
    store.save_trial(sweep.id, trial)
    return store, artifacts, sweep.id, trial


def test_it_is_kept_beside_the_profile_and_replaces_the_one_of_before(swept, tmp_path: Path):
    store, artifacts, sweep, trial = swept
    revision = store.revision(sweep)
    file = report(tmp_path / "r.json", trial.id, SHA)
    ((found, before),) = take_back(store, artifacts, sweep, file, None, "stm32h7a3-xcubeai").kept
    assert before is None
    assert store.revision(sweep) > revision
    assert store.boards.of(sweep) == [found.run]
    assert (found.run.board, found.run.latency_ms.value) == ("Raspberry Pi 4 Model B", 4.0)
    said = trial.projections["stm32h7a3-xcubeai"].latency_ms
    assert found.projected == said
    assert found.error_percent == pytest.approx((said.value / 4.0 - 1) * 100)
    assert found.inside is False
    assert f"{found.error_percent:.0f} % above" in " ".join(board_texts(found))
    slower = report(tmp_path / "s.json", trial.id, SHA, when="2026-11-28T06:00:00Z")
    ((again, before),) = take_back(store, artifacts, sweep, slower, None, None).kept
    assert before is not None
    assert before.when == "2026-11-27T06:00:00Z"
    assert [r.when for r in store.boards.of(sweep)] == ["2026-11-28T06:00:00Z"]
    assert (again.projected, again.error_percent) == (None, None)
    take_back(store, artifacts, sweep, slower, "another", None)
    assert {r.board for r in store.boards.of(sweep)} == {"Raspberry Pi 4 Model B", "another"}


def test_the_host_stands_beside_it_only_with_as_many_images_a_call(swept, tmp_path: Path):
    store, artifacts, sweep, trial = swept
    file = report(tmp_path / "r.json", trial.id, SHA)
    ((found, _),) = take_back(store, artifacts, sweep, file, "pi", "host").kept
    assert found.error_percent == pytest.approx((trial.latency_ms.p50 / 4.0 - 1) * 100)
    eight = {"p50": 9.0, "p95": 9.0, "p99": 9.0, "low": 8.0, "high": 9.5, "calls": 99, "batch": 8}
    many = report(tmp_path / "m.json", trial.id, SHA, latency_ms=eight)
    for profile in ("host", "stm32h7a3-xcubeai"):
        ((found, _),) = take_back(store, artifacts, sweep, many, "pi", profile).kept
        assert found.error_percent is None
        assert "8 images a call" in (found.reason or "")


def test_what_failed_there_is_kept_and_said(swept, tmp_path: Path):
    store, artifacts, sweep, trial = swept
    failed = [{"name": "predictions as recorded", "ok": False, "found": "300 of 500", "expected": "490 or more"}]
    file = report(tmp_path / "r.json", trial.id, SHA, checks=failed, ok=False)
    ((found, _),) = take_back(store, artifacts, sweep, file, None, None).kept
    assert found.run.failed == ("predictions as recorded: 300 of 500, expected 490 or more",)
    assert any("Check failed there" in text for text in board_texts(found))
    assert found.to_json()["ok"] is False


def test_what_is_not_of_this_sweep_is_refused_and_nothing_is_kept(swept, tmp_path: Path):
    store, artifacts, sweep, trial = swept
    good = report(tmp_path / "good.json", trial.id, SHA)
    edited = tmp_path / "edited.json"
    edited.write_text(good.read_text().replace("4.0", "1.0"))
    verified = tmp_path / "verified.json"
    verified.write_text(json.dumps({"ok": True, "checks": []}))
    (tmp_path / "text.json").write_text("passed: 5 checks")
    cases = [
        (edited, None, None, "was changed after it was written"),
        (verified, None, None, "has no latency in it.*verify.py --json"),
        (tmp_path / "text.json", None, None, "is not JSON"),
        (tmp_path / "none.json", None, None, "cannot be read"),
        (report(tmp_path / "v2.json", trial.id, SHA, measurement=2), None, None, "layout 2.*update"),
        (report(tmp_path / "other.json", "0" * 12, SHA), None, None, "trial 000000000000 .* does not have"),
        (report(tmp_path / "sha.json", trial.id, "0" * 64), None, None, "export the bundle anew"),
        (report(tmp_path / "zero.json", trial.id, SHA, latency_ms={"p50": 0}), None, None, "latency_ms"),
        (good, "stm32h7a3-xcubeai", None, "is a device profile"),
        (good, "<b>", None, "--name"),
        (good, None, "nothing", "--profile: 'nothing' is not a profile"),
    ]
    for path, name, profile, words in cases:
        with pytest.raises(InputError, match=words) as refused:
            take_back(store, artifacts, sweep, path, name, profile)
        assert "\n" not in str(refused.value)
    artifacts.local(NAME).unlink()
    with pytest.raises(InputError, match="is gone"):
        take_back(store, artifacts, sweep, good, None, None)
    assert store.boards.of(sweep) == []


def test_a_shell_may_have_written_it_as_utf_16(swept, tmp_path: Path):
    *_, trial = swept
    file = report(tmp_path / "r.json", trial.id, SHA)
    file.write_text(file.read_text(), encoding="utf-16")
    assert [one.trial for one in read_report(file).models] == [trial.id]
