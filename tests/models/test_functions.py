"""Networks of a function in a module or a file, called with options: what is wrong with them is told before anything runs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.datasets.dataset import Dataset
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.errors import ModelError
from engine.models.catalog import check_model, model_fingerprint
from engine.models.sources import build_student, load_network, open_network, save_network
from engine.spec.sections import Model

torch.set_num_threads(1)

BLOCKS = """
from torch import nn
def dense(inputs, width, outputs, bias=True):
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, width, bias=bias), nn.ReLU(), nn.Linear(width, outputs))
"""
NETS = """
from torch import nn
from .blocks import dense
from .blocks import dense as build_dense
from . import other

def build(num_classes, in_channels, width=8, *, layers=1):
    return dense(in_channels, width * layers, num_classes)

def plain():
    return dense(20, 4, 3)

def needs(num_classes, depth):
    return build(num_classes, 20, depth)

def anything(**options):
    return build(**options)

class Net(nn.Module):
    def __init__(self, num_classes, width=4):
        super().__init__()
        self.body = dense(20, width, num_classes)
    def forward(self, x):
        return self.body(x)

def decorate(function):
    def inner(num_classes, in_channels, breadth=4):
        return function(num_classes, in_channels, breadth)
    return inner

@decorate
def decorated(num_classes, in_channels, width):
    return build(num_classes, in_channels, width)
"""


def vectors(size: int = 20, classes: int = 3) -> Dataset:
    split = Split(np.random.default_rng(0).random((20, size), np.float32), np.arange(20) % classes)
    names = tuple(map(str, range(classes)))
    return Dataset("toy.npz", "0" * 64, names, Preprocessing(1, (0.5,), (0.5,)), split, split, split, split)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in the working folder, of a name that no test before had."""
    folder = tmp_path / f"nets_{tmp_path.name}"
    folder.mkdir()
    for name, text in {"__init__": "", "blocks": BLOCKS, "nets": NETS, "other": "A = 1\n"}.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    return folder


def model(package: Path, function: str, **options: object) -> Model:
    return Model(source=f"{package.name}.nets:{function}", options=options)


def width(network: torch.nn.Module) -> int:
    return next(m for m in network.modules() if isinstance(m, torch.nn.Linear)).out_features


@pytest.mark.parametrize(
    ("function", "options", "expected"),
    [
        ("build", {}, 8),
        ("build", {"width": 32, "layers": 2}, 64),
        ("plain", {}, 4),
        ("needs", {"depth": 5}, 5),
        ("anything", {"width": 6}, 6),
        ("Net", {"width": 7}, 7),
        ("decorated", {"breadth": 9}, 9),
        ("build_dense", {"inputs": 20, "width": 11, "outputs": 3}, 11),
    ],
)
def test_a_function_of_a_module_is_called_with_options(
    package: Path, function: str, options: dict[str, int], expected: int, tmp_path: Path
) -> None:
    check_model(model(package, function, **options))
    before = list(sys.path)
    network = load_network(model(package, function, **options), vectors())
    assert sys.path == before
    assert width(network.module) == expected
    assert network.origin.arguments == options
    assert network.origin.input_shape == (20,)
    save_network(network, tmp_path / "n.safetensors")
    opened = open_network(tmp_path / "n.safetensors")
    x = torch.randn(2, 20, generator=torch.Generator().manual_seed(0))
    assert torch.equal(opened.module(x), network.module(x))


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (
            "build",
            {"widht": 8},
            "has no option 'widht'; it takes num_classes, in_channels, width, layers: correct model.options",
        ),
        ("Net", {"layers": 8}, "has no option 'layers'; it takes num_classes, width:"),
        (
            "build_dense",
            {"inputs": 20, "outputs": 3, "x": 1},
            "has no option 'x'; it takes inputs, width, outputs, bias:",
        ),
        ("needs", {}, "needs an argument 'depth'; give it a default value, or write it under model.options"),
        ("absent", {}, "has no function 'absent'; check the name"),
    ],
)
def test_what_the_text_tells_is_told_at_plan_time(
    package: Path, function: str, options: dict[str, int], message: str
) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        check_model(model(package, function, **options))
    assert "\n" not in str(caught.value)
    assert package.name not in sys.modules


def test_what_a_decorator_makes_of_a_function_is_told_when_it_is_built(package: Path) -> None:
    check_model(model(package, "decorated", width=9))
    with pytest.raises(ModelError, match="has no option 'width'; it takes num_classes, in_channels, breadth"):
        load_network(model(package, "decorated", width=9), vectors())


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "nowhere_at_all.nets:build",
            "no module nowhere_at_all.nets is found; install its package, run where it lies, or set PYTHONPATH",
        ),
        ("torch.nowhere:build", "no module torch.nowhere is found"),
        ("subprocess:getoutput", "subprocess is Python's own and builds no networks"),
        ("os.path:join", "os.path is Python's own"),
    ],
)
def test_modules_that_are_none_of_the_users_are_one_line(source: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        check_model(Model(source=source))


def test_files_of_python_itself_are_not_run() -> None:
    import subprocess

    with pytest.raises(ModelError, match="is Python's own"):
        check_model(Model(source=f"{subprocess.__file__}:getoutput", options={"cmd": "true"}))


def test_options_are_for_those_who_take_them() -> None:
    for source in ("resnet8", "torchvision:resnet18"):
        with pytest.raises(ModelError, match=r"takes no options; remove model.options \(width\)"):
            check_model(Model(source=source, options={"width": 2}))
    check_model(Model(source="torchvision.models:vit_b_16", options={"image_size": 32}))


def test_the_fingerprint_holds_options_and_the_code_of_the_package(package: Path, tmp_path: Path) -> None:
    (tmp_path / f"beside_{tmp_path.name}.py").write_text("B = 1\n")
    found = [model_fingerprint(model(package, "build")), model_fingerprint(model(package, "build", width=8))]
    found += [model_fingerprint(model(package, "build", width=9)), model_fingerprint(model(package, "plain"))]
    (package / "other.py").write_text("A = 2\n")
    found.append(model_fingerprint(model(package, "build")))
    (package / "blocks.py").write_text(BLOCKS + f"import beside_{tmp_path.name}\n")
    found.append(model_fingerprint(model(package, "build")))
    (tmp_path / f"beside_{tmp_path.name}.py").write_text("B = 2\n")
    found.append(model_fingerprint(model(package, "build")))
    assert len(set(found)) == len(found)
    assert found[-1] == model_fingerprint(model(package, "build"))


def test_the_fingerprint_of_an_installed_package_holds_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.models import functions

    source = Model(source="torchvision.models:resnet18")
    before = model_fingerprint(source)
    monkeypatch.setattr(functions, "package_version", lambda name: "0.0" if name == "torchvision" else "none")
    assert model_fingerprint(source) != before


def test_changed_code_is_imported_anew(package: Path) -> None:
    assert width(load_network(model(package, "plain"), vectors()).module) == 4
    (package / "nets.py").write_text(NETS.replace("dense(20, 4, 3)", "dense(20, 5, 3)"))
    assert width(load_network(model(package, "plain"), vectors()).module) == 5


def test_a_changed_file_beside_a_file_is_imported_anew(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        f"import layers_{tmp_path.name} as layers\ndef build():\n    return layers.dense(20, 4, 3)\n"
    )
    sibling = tmp_path / f"layers_{tmp_path.name}.py"
    sibling.write_text(BLOCKS)
    source = Model(source=f"{tmp_path / 'net.py'}:build")
    before = load_network(source, vectors())
    assert width(before.module) == 4
    sibling.write_text(
        BLOCKS.replace("nn.Linear(inputs, width", "nn.Linear(inputs, 2 * width").replace(
            "Linear(width", "Linear(2 * width"
        )
    )
    after = load_network(source, vectors())
    assert width(after.module) == 8
    assert after.origin.code_sha256 != before.origin.code_sha256
    assert "torch" in sys.modules


def test_a_package_without_init_and_a_lone_module_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = tmp_path.name
    (tmp_path / f"space_{name}" / "inner").mkdir(parents=True)
    (tmp_path / f"space_{name}" / "inner" / "nets.py").write_text(BLOCKS)
    (tmp_path / f"lone_{name}.py").write_text(BLOCKS)
    monkeypatch.syspath_prepend(str(tmp_path))
    options = {"inputs": 20, "width": 6, "outputs": 3}
    for source in (f"space_{name}.inner.nets:dense", f"lone_{name}:dense"):
        found = model_fingerprint(Model(source=source, options=options))
        assert width(load_network(Model(source=source, options=options), vectors()).module) == 6
        assert found == model_fingerprint(Model(source=source, options=options))


def test_options_of_a_file_and_of_its_students(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(BLOCKS + "def build(num_classes, in_channels, width=8, size=1.0):\n"
                                     "    return dense(in_channels, round(width * size), num_classes)\n")  # fmt: skip
    source = f"{tmp_path / 'net.py'}:build"
    network = load_network(Model(source=source, options={"width": 32}), vectors())
    assert width(network.module) == 32
    with pytest.raises(ModelError, match="has no option 'depth'; it takes num_classes, in_channels, width, size"):
        check_model(Model(source=source, options={"depth": 2}))
    with pytest.raises(ModelError, match=r"width is one of model.options \(32\), so it is no factor to set to 0.5"):
        build_student("self", vectors(), 0.5, 0, own=network.origin)
    student = build_student("self", vectors(), 1.0, 3, own=network.origin)
    assert student.origin.arguments == {"width": 32}
    assert width(student.module) == 32


def test_vectors_are_not_called_images() -> None:
    with pytest.raises(ModelError, match=r"resnet8's shipped checkpoint is for 1×28×28 images .*vectors of 20 numbers"):
        load_network(Model(source="resnet8"), vectors())
    with pytest.raises(ModelError, match="cannot read vectors of 20 numbers: ") as caught:
        build_student("ds_cnn", vectors(), 1.0, 0)
    assert "images" not in str(caught.value)


def test_channels_of_data_with_channels_last(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(
        "from torch import nn\nclass Net(nn.Module):\n    def __init__(self, num_classes, in_channels):\n        super().__init__()\n"
        "        self.conv, self.head = nn.Conv2d(in_channels, 4, 3), nn.Linear(4, num_classes)\n"
        "    def forward(self, x):\n        return self.head(self.conv(x.permute(0, 3, 1, 2)).mean((2, 3)))\n"
    )
    split = Split(np.zeros((20, 3, 8, 9), np.uint8), np.arange(20) % 3)
    preprocessing = Preprocessing(1 / 255, (0.5,), (0.5,), channels_last=True)
    data = Dataset("toy", "0" * 64, ("a", "b", "c"), preprocessing, split, split, split, split)
    network = load_network(Model(source=f"{tmp_path / 'net.py'}:Net"), data)
    assert network.origin.input_shape == (8, 9, 3)
    assert network.module.conv.in_channels == 3
    with pytest.raises(ModelError, match=r"reads channels first; leave data\.preprocess.layout out"):
        load_network(Model(source="torchvision:resnet18"), data)
