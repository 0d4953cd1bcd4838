"""Models of a server: whose rows may share a run, room in memory, canaries, and bundles that are none."""

from __future__ import annotations

import dataclasses
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from engine.compress import quantize
from engine.errors import InputError
from engine.serve.canary import Canary, canary_of
from engine.serve.model import Model
from engine.serve.repository import Options
from engine.serve.server import named
from engine.spec.steps import Quantize
from tests.helpers.bundles import World, linear_model, measured_accuracy, replace_part
from tests.helpers.serving import with_server
from tests.serve.test_predict import classes_of, npy


def neighbourly(path: Path) -> Path:
    """Scores less the mean of the whole batch's."""
    model = onnx.load(linear_model(path))
    model.graph.node[-1].output[0] = "raw"
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["raw"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["raw", "mean"], ["scores"]),
        ]
    )
    onnx.save(model, path)
    return path


def test_rows_share_a_run_where_that_changes_no_answer(world: World) -> None:
    assert Model(world.write()).shares_runs
    world.model = linear_model(world.folder / "fixed.onnx", batch=64)
    assert not Model(world.write("fixed.zip")).shares_runs


def test_rows_that_look_at_their_neighbours_run_apart(world: World) -> None:
    plain = world.write()
    changed = neighbourly(world.folder / "n.onnx")
    model = Model(_resealed(plain, world.folder / "n.zip", changed.read_bytes()), checked=False)
    assert not model.shares_runs


def test_a_file_that_rounds_as_it_runs_answers_one_by_one(world: World) -> None:
    float_model, images = onnx.load(world.model), world.data.preprocessing(world.data.test.inputs)
    world.model = world.folder / "dynamic.onnx"
    onnx.save(
        quantize.apply(Quantize(method="dynamic", weight_bits=3, weight_range="safe"), float_model, images), world.model
    )
    bundle, x = world.write(), world.data.test.inputs[:40]
    model = Model(bundle)
    assert not model.shares_runs
    alone = [model.run(model.fed({"": x[i : i + 1]}))[0][0] for i in range(40)]

    async def ask(client: Any) -> Any:
        return await client.post("/predict", content=npy(x))

    told = [one["class"] for one in with_server({"net": bundle}, ask).json()["predictions"]]
    assert told == [world.data.classes[int(np.argmax(row))] for row in alone]


def test_a_fixed_batch_is_filled_and_cut(world: World) -> None:
    world.model = linear_model(world.folder / "fixed.onnx", batch=64)
    bundle = world.write()

    async def ask(client: Any) -> Any:
        return await client.post("/predict", content=npy(world.data.test.inputs[:70]))

    told = with_server({"net": bundle}, ask).json()["predictions"]
    assert [one["class"] for one in told] == classes_of(world, 70)


def _resealed(source: Path, target: Path, model: bytes) -> Path:
    """The bundle with another model, its checksums made to fit."""
    import hashlib
    import json

    with zipfile.ZipFile(source) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    manifest["files"]["model.onnx"] = hashlib.sha256(model).hexdigest()
    return replace_part(source, target, model_onnx=model, manifest_json=json.dumps(manifest).encode())


def test_what_was_altered_is_not_served(world: World) -> None:
    bundle = world.write()
    flipped = linear_model(world.folder / "f.onnx", flip=True).read_bytes()
    with pytest.raises(InputError, match=r"model.onnx SHA-256.*altered"):
        Model(replace_part(bundle, world.folder / "other.zip", model_onnx=flipped))


def test_a_model_that_answers_otherwise_here_than_recorded_is_not_served(world: World) -> None:
    """As int8 does where sums saturate; a file whose checksum fits, with two classes swapped, stands for it."""
    flipped = linear_model(world.folder / "f.onnx", flip=True).read_bytes()
    with pytest.raises(InputError, match=r"answers otherwise on this machine than recorded \(predictions as recorded"):
        Model(_resealed(world.write(), world.folder / "other.zip", flipped))


def sized(size: int) -> Any:
    """Opens models that say that they take so many bytes."""

    def opened(*arguments: Any) -> Model:
        model = Model(*arguments)
        model.bytes = size
        return model

    return opened


def test_the_model_used_longest_ago_makes_room_and_comes_back(world: World, bundle: Path) -> None:
    body = npy(world.data.test.inputs[:1])

    async def ask(client: Any) -> tuple[list[int], str]:
        statuses = [(await client.post(f"/predict/{name}", content=body)).status_code for name in "abcab"]
        return statuses, (await client.get("/metrics")).text

    models = dict.fromkeys("abc", bundle)
    statuses, text = with_server(models, ask, options=Options(memory=250), opened=sized(100))
    assert statuses == [200] * 5
    in_memory = re.findall(r'paretoscope_model_bytes\{model="(.)"\} 100', text)
    assert sorted(in_memory) == ["a", "b"]
    # Opening all three put a out; then a put b out, b put c out and so on.
    assert sum(float(n) for n in re.findall(r"paretoscope_evictions_total\{[^}]*\} (\S+)", text)) == 6


def test_a_model_too_large_for_all_memory_is_told_before_anything_is_served(bundle: Path) -> None:
    async def ask(client: Any) -> None:
        raise AssertionError

    with pytest.raises(InputError, match="--memory"):
        with_server({"a": bundle}, ask, options=Options(memory=50), opened=sized(100))


def test_a_canary_answers_its_share_and_is_compared(world: World) -> None:
    right = world.write("right.zip")
    world.model = linear_model(world.folder / "f.onnx", flip=True)
    flipped = dataclasses.replace(world.trial.accuracy, value=measured_accuracy(world.model, world.data))
    world.trial = dataclasses.replace(world.trial, accuracy=flipped)
    wrong = world.write("wrong.zip")
    x = world.data.test.inputs[:64]

    async def ask(client: Any) -> tuple[Any, str]:
        answer = await client.post("/predict/a", content=npy(x))
        return answer.json()["predictions"], (await client.get("/metrics")).text

    told, text = with_server({"a": right, "b": wrong}, ask, canaries=[Canary("a", "b", 1.0)])
    ours, theirs = classes_of(world, 64), [one["class"] for one in told]
    turned = dict(zip(world.data.classes, reversed(world.data.classes), strict=True))
    assert theirs == [turned[name] for name in ours]
    counts = dict(re.findall(r"paretoscope_canary_(compared|agreed)_total\{[^}]*\} (\S+)", text))
    assert float(counts["compared"]) == 64
    assert float(counts["agreed"]) == sum(a == b for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("unlike", ["classes", "preprocessing"])
def test_a_canary_of_another_kind_is_refused(world: World, unlike: str) -> None:
    """Its classes would be told by the other's names, and its inputs prepared as the other's."""
    ours = world.write("ours.zip")
    bright = dataclasses.replace(world.data.preprocessing, scale=2 * world.data.preprocessing.scale)
    changed = {"classes": {"classes": ("x", "y", "z", "q")}, "preprocessing": {"preprocessing": bright}}[unlike]
    other = dataclasses.replace(world, data=dataclasses.replace(world.data, **changed)).write("other.zip")
    x = npy(world.data.test.inputs[:1])
    answer = with_server(
        {"a": ours, "b": other}, lambda c: c.post("/predict/a", content=x), canaries=[Canary("a", "b", 1.0)]
    )
    assert answer.status_code == 500
    assert answer.json()["error"] == f"b has other {unlike} than a; it cannot be its canary"


@pytest.mark.parametrize("text", ["a", "a=b", "a=c:10%", "a=a:10%", "a=b:0", "a=b:101%", "a=b:1.5"])
def test_canaries_that_cannot_be(text: str) -> None:
    with pytest.raises(InputError, match="--canary"):
        canary_of(text, ("a", "b"))
    assert canary_of("a=b:25%", ("a", "b")) == Canary("a", "b", 0.25)


def test_names_of_models(bundle: Path, tmp_path: Path) -> None:
    assert named([str(bundle), f"other={bundle}"]) == {"bundle": bundle, "other": bundle}
    for wrong in ([str(bundle), str(bundle)], [f"a b={bundle}"], [str(tmp_path / "none.zip")]):
        with pytest.raises(InputError):
            named(wrong)
