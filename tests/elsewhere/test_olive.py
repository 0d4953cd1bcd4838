"""Olive's footprint, as version 0.13 wrote it here, cut to what is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.elsewhere.olive import read_olive
from engine.errors import InputError


def metric(value: object, more: bool) -> dict[str, Any]:
    return {"value": value, "priority": 1, "higher_is_better": more}


def node(name: str, by: str | None, **metrics: object) -> dict[str, Any]:
    value = {k.replace("__", "-"): v for k, v in metrics.items()}
    return {
        "parent_model_id": None if by is None else "87909942",
        "model_id": name,
        "model_config_data": None,
        "from_pass": by,
        "is_pareto_frontier": False,
        "metrics": {"value": value, "cmp_direction": {}, "if_goals_met": True} if metrics else None,
    }


def written(folder: Path, *nodes: dict[str, Any]) -> Path:
    path = folder / "footprint.json"
    path.write_text(json.dumps({n["model_id"]: n for n in nodes}))
    return path


def test_what_olive_names_is_taken_and_the_rest_is_named(tmp_path: Path):
    first = node("87909942", None, accuracy__accuracy_score=metric(0.9533, True), latency__avg=metric(0.706, False))
    second = node(
        "4094158b", "onnxstaticquantization",
        accuracy__accuracy_score=metric(0.95, True), latency__avg=metric(0.82, False), latency__p50=metric(0.8, False),
        size__bytes=metric(10_000, False), throughput__avg=metric(900.0, True), mine__f1_score=metric(0.7, True),
    )  # fmt: skip
    found = read_olive(written(tmp_path, first, second, node("c0ffee00", "a pass that failed")))
    assert [r.name for r in found.rows] == ["input model 87909942", "onnxstaticquantization 4094158b"]
    assert found.rows[0].values == {"accuracy": 0.9533, "latency_ms": 0.706}
    assert "mean of its calls, not a median" in found.rows[0].notes[0]
    assert found.rows[1].values == {"accuracy": 0.95, "size_bytes": 10_000, "latency_ms": 0.8}
    assert found.rows[1].notes == ()
    assert found.left_out == ("throughput-avg", "mine-f1_score")


def test_what_is_no_footprint_is_refused_in_one_line(tmp_path: Path):
    unclear = node("a", "p", x__accuracy_score=metric(0.9, True), y__accuracy_score=metric(0.8, True))
    cases = [
        (json.dumps([1]), "no Olive footprint"),
        (json.dumps({"ok": True}), "no Olive footprint"),
        ("{", "not JSON"),
        (json.dumps({"a": node("a", "p", mine__x=metric(1.0, True))}), "no number that is known: it has mine-x"),
        (json.dumps({"a": node("a", "p", a__accuracy_score=metric(91.0, True))}), "no share between 0 and 1"),
        (json.dumps({"a": node("a", "p", latency__avg=metric(-1.0, False))}), "is -1"),
        (json.dumps({"a": unclear}), "two of a kind"),
    ]
    for text, words in cases:
        path = tmp_path / "f.json"
        path.write_text(text)
        with pytest.raises(InputError, match=words) as refused:
            read_olive(path)
        assert "\n" not in str(refused.value)
