"""What a bundle says of itself: metadata behind the measured bytes, a card to look at, numbers by program, a container's recipe."""

from __future__ import annotations

import dataclasses
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from engine.export.bundle_parts import card_html, with_metadata
from engine.export.verify_template import measured_bytes
from tests.helpers.bundles import RECIPE, World, linear_model, run_verify, unzip


def test_metadata_follow_the_measured_bytes_and_change_no_answer(world: World) -> None:
    folder = unzip(world.write(), world.folder / "out")
    bare, whole = world.model.read_bytes(), (folder / "model.onnx").read_bytes()
    assert whole[: len(bare)] == bare
    assert json.loads((folder / "manifest.json").read_text())["bare"] == len(bare)
    onnx.checker.check_model(onnx.load(folder / "model.onnx"))
    x = world.data.preprocessing(world.data.test.inputs[:20])
    sessions = [onnxruntime.InferenceSession(str(path)) for path in (world.model, folder / "model.onnx")]
    np.testing.assert_array_equal(*(session.run(None, {"pixels": x})[0] for session in sessions))
    said = sessions[1].get_modelmeta().custom_metadata_map
    assert json.loads(said["paretoscope.recipe"]) == RECIPE.to_json()
    assert said["paretoscope.classes"].split("\n") == [*world.data.classes]
    assert json.loads(said["paretoscope.preprocessing"])["mean"] == [*world.data.preprocessing.mean]
    assert said["paretoscope.data_sha256"] == world.data.checksum


def test_a_limit_of_size_counts_all_that_is_no_metadata(world: World) -> None:
    bare = world.model.read_bytes()
    whole = with_metadata(bare, {"label": "int8", "preprocessing": "x" * 300, "classes": ""})
    assert measured_bytes(whole, len(bare)) == len(bare) < len(whole)
    # A manifest that says less than there is hides nothing.
    for stated in (0, 10, len(bare) - 1, len(bare) + 1, len(whole) - 1, len(whole) + 5):
        assert measured_bytes(whole, stated) == len(whole)
    assert measured_bytes(bare, len(bare)) == len(bare)


def test_metadata_of_the_file_itself_stay(tmp_path: Path) -> None:
    model = onnx.load(linear_model(tmp_path / "m.onnx"))
    model.metadata_props.add(key="author", value="somebody")
    found = onnx.ModelProto.FromString(with_metadata(model.SerializeToString(), {"label": "int8"}))
    assert {p.key: p.value for p in found.metadata_props} == {"author": "somebody", "paretoscope.label": "int8"}


class Tags(HTMLParser):
    """The tags and addresses of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [v or "" for k, v in attrs if k in {"src", "href", "onerror"}]


def test_the_card_to_look_at_is_the_card_and_loads_nothing(world: World) -> None:
    evil = "<img src=x onerror=alert(1)> [a](javascript:alert(1)) ![b](http://c/d.png)"
    world.trial = dataclasses.replace(world.trial, notes=(evil,))
    folder = unzip(world.write(), world.folder / "out")
    found = Tags((folder / "card.html").read_text())
    assert found.loads == []
    assert "img" not in found.tags
    assert found.tags.count("h2") == (folder / "card.md").read_text().count("\n## ")
    assert "table" in found.tags
    assert "&lt;img" in card_html(f"# t\n\n{evil}")


def test_numbers_by_program_are_the_trials(world: World) -> None:
    folder = unzip(world.write(), world.folder / "out")
    found = json.loads((folder / "metrics.json").read_text())
    for name, trial in (("trial", world.trial), ("baseline", world.baseline)):
        row = found[name]["host"]
        assert (row["accuracy"], row["size_bytes"]) == (trial.accuracy.value, trial.size_bytes)
        assert (row["accuracy_low"], row["accuracy_high"]) == (trial.accuracy.low, trial.accuracy.high)


def test_the_container_has_what_the_programs_need_and_checks_itself(world: World) -> None:
    folder = unzip(world.write(), world.folder / "out")
    lines = (folder / "Dockerfile").read_text().splitlines()
    assert "RUN pip install --no-cache-dir numpy onnxruntime==1.32.0 pillow" in lines
    assert lines.index("COPY . .") < lines.index("RUN python verify.py")
    assert run_verify(folder).returncode == 0
    assert lines[-1] == 'ENTRYPOINT ["python", "predict.py"]'
