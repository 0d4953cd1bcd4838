"""Slices in a spec: limits on the worst of them, and what a spec without any is."""

from __future__ import annotations

from typing import Any

import pytest

from engine.errors import SpecError
from engine.metrics import METRICS, limits_text, short_name
from engine.spec.sweep import parse_sweep

BASE: dict[str, Any] = {"model": {"source": "net.onnx"}, "data": {"source": "d.npz", "slices": ["site"]}}


def limits(**more: Any) -> dict[str, float]:
    sweep = parse_sweep(
        {**BASE, **more, "target": {"limits": {"worst_slice": 0.8, "worst_slice_drop": 0.02, "size_bytes": 1e6}}}
    )
    assert sweep.target is not None
    return dict(sweep.target.limits)


def test_the_worst_slice_is_of_what_the_sweep_is_judged_by() -> None:
    assert limits() == {"slice_worst:Accuracy:max:%": 0.8, "slice_drop:Accuracy:max:%": 0.02, "size_bytes": 1e6}
    assert list(limits(metric={"name": "mae", "unit": "K"}))[:2] == ["slice_worst:MAE:min:K", "slice_drop:MAE:min:K"]
    assert next(iter(limits(data={**BASE["data"], "task": "regression"}))) == "slice_worst:MAE:min:"
    assert next(iter(limits(data={**BASE["data"], "task": "fidelity"}))) == "slice_worst:Relative error:min:%"
    assert limits_text(limits()).startswith(
        "accuracy of the worst slice ≥ 80.00 %, accuracy: worst slice drop ≤ 2.00 points"
    )


def test_a_spec_with_such_limits_is_written_and_read_again() -> None:
    sweep = parse_sweep({**BASE, "target": {"limits": {"worst_slice": 0.8}}})
    assert parse_sweep(sweep.model_dump(mode="json")) == sweep


def test_a_limit_on_slices_needs_slices() -> None:
    with pytest.raises(SpecError, match=r"^target.limits names worst_slice, but data.slices names no array"):
        parse_sweep({"model": {"source": "resnet8"}, "target": {"limits": {"worst_slice": 0.8}}})
    with pytest.raises(SpecError, match=r"^data: input should be"):
        parse_sweep({**BASE, "data": "d.npz", "target": {"limits": {"worst_slice": 0.8}}})
    with pytest.raises(SpecError, match=r"data.source: input should be"):
        parse_sweep({**BASE, "data": {"source": 5, "slices": ["a"]}, "target": {"limits": {"worst_slice": 0.8}}})


def test_a_sweep_without_slices_is_the_one_that_it_was() -> None:
    plain = parse_sweep({**BASE, "data": {"source": "d.npz"}})
    assert parse_sweep({**BASE, "data": {"source": "d.npz", "slices": []}}).id == plain.id
    assert parse_sweep(BASE).id != plain.id
    assert "slices" not in plain.model_dump(mode="json")["data"]


def test_names_and_directions() -> None:
    for base, unit in (("Accuracy:max:%", "points"), ("MAE:min:K", "K"), ("R²:max:", "")):
        worst, drop = METRICS[f"slice_worst:{base}"], METRICS[f"slice_drop:{base}"]
        assert worst.maximise == (":max:" in base)
        assert (drop.maximise, drop.unit) == (False, unit)
        assert [short_name(m.key) for m in (worst, drop)] == ["worst_slice", "worst_slice_drop"]
