"""Networks of timm: an optional package, whose names are checked without importing it; what is not installed is said with the remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engine.compress import prune
from engine.datasets.dataset import Dataset
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.errors import ModelError
from engine.graph.graph import open_session
from engine.models import catalog
from engine.models.agreement import check_agreement
from engine.models.catalog import check_model, model_fingerprint, timm_names
from engine.models.export import export_onnx
from engine.models.sources import Network, build_student, load_network, open_network, save_network
from engine.spec.sections import Model
from engine.spec.steps import Prune

torch.set_num_threads(1)


def data(channels: int = 1, size: int = 32, classes: int = 4) -> Dataset:
    split = Split(
        np.random.default_rng(0).integers(0, 256, (20, channels, size, size), np.uint8), np.arange(20) % classes
    )
    names = tuple(map(str, range(classes)))
    return Dataset("toy", "0" * 64, names, Preprocessing(1 / 255, (0.5,), (0.5,)), split, split, split, split)


def test_without_the_package_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "timm_names", lambda: ())
    with pytest.raises(
        ModelError, match=r"'timm:resnet18' needs timm, which is not installed; run pip install 'paretoscope\[timm\]'"
    ):
        check_model(Model(source="timm:resnet18"))


def test_a_package_that_is_not_there_has_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "find_spec", lambda name: None)
    timm_names.cache_clear()
    try:
        assert timm_names() == ()
    finally:
        timm_names.cache_clear()


def test_names_are_those_that_timm_lists() -> None:
    timm = pytest.importorskip("timm")
    assert set(timm.list_models()) == {name for name in timm_names() if "." not in name}
    assert "resnet18.a1_in1k" in timm_names()


@pytest.mark.parametrize(
    ("source", "message"),
    [("timm:resnet81", "is not known to timm .*; did you mean"), ("timm:resnet18.nowhere", "is not known to timm")],
)
def test_unknown_names_are_one_line(source: str, message: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(ModelError, match=message):
        check_model(Model(source=source))


def test_a_network_is_built_for_the_data_saved_pruned_and_exported(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    network = load_network(Model(source="timm:resnet10t"), data())
    assert network.origin.weights == "random, seed 0"
    assert network.module(torch.zeros(2, 1, 32, 32)).shape == (2, 4)
    state = {
        name: tensor + 0.01 if tensor.is_floating_point() else tensor
        for name, tensor in network.module.state_dict().items()
    }
    torch.save(state, tmp_path / "w.pt")
    trained = load_network(Model(source="timm:resnet10t.c3_in1k", weights=str(tmp_path / "w.pt")), data())
    assert torch.equal(trained.module.conv1[0].weight, state["conv1.0.weight"])
    module, _ = prune.apply(Prune(method="channel", ratio=0.3), trained, data(), seed=0)
    save_network(Network(module, trained.origin), tmp_path / "p.safetensors")
    opened = open_network(tmp_path / "p.safetensors")
    images = data().preprocessing(data().test.inputs)
    assert torch.equal(opened.module(torch.from_numpy(images)), module(torch.from_numpy(images)))
    model = export_onnx(opened.module, (1, 32, 32))
    assert check_agreement(model, opened.module, images) is None
    assert open_session(model).run(None, {"input": images})[0].shape == (20, 4)


def test_options_go_to_the_constructor_and_into_the_fingerprint() -> None:
    pytest.importorskip("timm")
    options = {"img_size": 32, "patch_size": 8, "depth": 2}
    small = Model(source="timm:vit_tiny_patch16_224", options=options)
    network = load_network(small, data(channels=3))
    assert len(network.module.blocks) == 2
    assert model_fingerprint(small) != model_fingerprint(Model(source=small.source, options=options | {"depth": 3}))
    wrong = Model(source="timm:resnet10t", options={"nonsense": 1})
    with pytest.raises(
        ModelError, match=r"cannot be built for 1×32×32 images \(.*nonsense.*\); correct model.options \(nonsense\)"
    ):
        load_network(wrong, data())
    with pytest.raises(ModelError, match=r"has no width to set to 0\.5; choose recursive_resnet"):
        build_student("timm:resnet10t", data(), 0.5, 0)
    assert build_student("timm:resnet10t", data(), 1.0, 2).origin.weights == "random, seed 2"
