"""The `model` section of a spec: options, relative paths, and what was written before there were options."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from engine.errors import SpecError
from engine.spec.read import to_yaml
from engine.spec.sections import Model
from engine.spec.sweep import Sweep, parse_sweep


def sweep(base: Path | None = None, **model: object) -> Sweep:
    return parse_sweep({"name": "a", "model": model}, base)


def test_options_are_part_of_a_sweep_and_a_spec_without_them_is_what_it_was() -> None:
    plain, narrow = sweep(source="pkg.nets:build"), sweep(source="pkg.nets:build", options={"width": 8})
    assert plain.model.model_dump() == {"source": "pkg.nets:build", "weights": None}
    assert len({plain.id, narrow.id, sweep(source="pkg.nets:build", options={"width": 9}).id}) == 3
    assert sweep(source="pkg.nets:build", options={}).id == plain.id
    assert parse_sweep(yaml.safe_load(to_yaml(narrow))) == narrow
    assert Sweep.model_validate_json(narrow.model_dump_json()) == narrow


def test_a_model_is_a_key_whatever_its_options_hold() -> None:
    deep = {"widths": [8, 16], "stem": {"kernel": 3, "bias": False}, "name": "x", "drop": 0.1, "head": None}
    one, same = Model(source="a.b:c", options=deep), Model(source="a.b:c", options=dict(reversed(deep.items())))
    assert {one: 1}[same] == 1
    assert Model(source="a.b:c", options=deep | {"drop": 0.2}) not in {one: 1}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kernel size": 3}, "'kernel size' is not the name of an option"),
        ([3], "model.options"),
        ({"a": {1, 2}}, "model.options"),
    ],
)
def test_wrong_options_are_one_line(options: object, words: str) -> None:
    with pytest.raises(SpecError, match=words) as caught:
        sweep(source="pkg.nets:build", options=options)
    assert "\n" not in str(caught.value)


def test_files_are_looked_for_beside_the_spec_and_modules_are_not(tmp_path: Path) -> None:
    for source in ("net.onnx", "net.pt2", "net.py:build"):
        assert sweep(tmp_path, source=source).model.source == f"{tmp_path}/{source}"
    for source in ("pkg.nets:build", "timm:resnet18", "torchvision:resnet18", "resnet8"):
        assert sweep(tmp_path, source=source).model.source == source
    for name in ("w.ckpt", "w.safetensors", "runs/w.pth.tar", "w.bin", "w.th"):
        assert sweep(tmp_path, source="pkg.nets:build", weights=name).model.weights == f"{tmp_path}/{name}"
