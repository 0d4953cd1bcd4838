"""Students of the network's own layers, how gradients are kept in size, and what is said of a training that led nowhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from engine.compress import distill
from engine.compress.finetune import largest_gradient
from engine.compress.teacher import teacher_outputs
from engine.datasets.dataset import Dataset
from engine.datasets.load import load_dataset
from engine.errors import SpecError, StepError
from engine.models.export import export_onnx
from engine.models.sources import Network, load_network
from engine.spec.sections import Data, Model
from engine.spec.steps import Distill
from engine.spec.validation import validated

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data() -> Dataset:
    whole = load_dataset(Data(source="pen_digits"))
    return replace(whole, train=whole.train.head(640))


@pytest.fixture(scope="module")
def teacher(data: Dataset) -> Network:
    return load_network(Model(source="series_transformer"), data)


@pytest.fixture(scope="module")
def said(data: Dataset, teacher: Network):
    model = export_onnx(teacher.module, data.input_shape)
    return teacher_outputs(model, data.train, data.preprocessing, False, False)


def right(module: nn.Module, data: Dataset) -> float:
    split = data.validation.head(300)
    with torch.no_grad():
        found = module(torch.from_numpy(data.preprocessing(split.inputs))).argmax(1).numpy()
    return float((found == split.labels).mean())


def test_one_epoch_of_its_own_layers_is_worth_more_than_of_new_ones(data, teacher, said):
    step = Distill(student="self", depth=0.5, epochs=1, start="taken")
    taken = distill.apply(step, data, 0, said, teacher)
    fresh = distill.apply(step.model_copy(update={"start": "fresh"}), data, 0, said, teacher)
    assert len(taken.module.blocks) == len(fresh.module.blocks) == 2
    assert right(taken.module, data) > right(fresh.module, data) + 0.3
    assert distill.far_off(step, taken, data, said) is None
    assert len(teacher.module.blocks) == 4


def test_a_narrower_one_begins_with_the_channels_that_matter_most(data, teacher, said):
    step = Distill(student="self", width=0.5, depth=0.5, epochs=1, samples=64, learning_rate=1e-6, start="taken")
    student = distill.apply(step, data, 0, said, teacher).module
    assert (student.embed.out_features, student.blocks[1].wide.out_features, len(student.blocks)) == (32, 64, 2)
    whole = teacher.module.embed.weight.detach()
    for row in student.embed.weight.detach():
        assert float((whole - row).abs().amax(1).min()) < 1e-3


def test_gradients_are_shortened_where_nothing_else_keeps_signals_in_size():
    with_norm = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    without = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4))
    assert largest_gradient(0.1, with_norm) is None
    assert largest_gradient(0.1, without) == 1.0
    assert largest_gradient(0.02, without) is None


def test_a_training_that_led_nowhere_says_so(data, teacher, said):
    step = Distill(student="self", depth=0.5, epochs=1, learning_rate=10)
    note = distill.far_off(step, distill.apply(step, data, 0, said, teacher), data, said)
    assert note is not None
    assert "training ended far from where it could: the student agrees with the teacher on" in note
    assert "use a learning_rate below 10" in note


def test_of_a_file_there_are_no_layers_to_take(data, said):
    with pytest.raises(StepError, match="start: taken needs the network's own layers"):
        distill.apply(Distill(student="self", start="taken"), data, 0, said, None)


@pytest.mark.parametrize("wrong", [{"student": "ds_cnn"}, {"student": "current"}, {"student": "self", "depth": 2.0}])
def test_only_self_can_be_taken_and_only_smaller(wrong):
    with pytest.raises(SpecError, match="start: taken is of student self"):
        validated(Distill, {"start": "taken", **wrong}, "space.distill")


def test_a_step_of_before_is_written_as_it_was():
    assert "start" not in Distill(student="self", depth=0.5).model_dump(mode="json")
    assert Distill(student="self", start="taken").model_dump(mode="json")["start"] == "taken"
