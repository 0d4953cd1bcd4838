import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from engine.compress import prune
from engine.datasets.dataset import Dataset
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.errors import ModelError
from engine.models import catalog
from engine.models.builders import Origin
from engine.models.catalog import zoo_index
from engine.models.sources import Network, build_student, load_network, open_network, read_origin, save_network
from engine.spec.sections import Model
from engine.spec.steps import Prune
from tests.helpers.nets import IMAGE_NETS

torch.set_num_threads(1)

NET = """
import torch
from torch import nn
def build(num_classes, in_channels=1):
    stem = nn.Sequential(nn.Conv2d(in_channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU())
    return nn.Sequential(stem, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, num_classes))
def fixed():
    return build(3)
def anything(**options):
    return build(**options)
def needs(depth):
    return build(3)
def wrong():
    return 3
def fails():
    raise RuntimeError("two\\nlines")
def leaves():
    raise SystemExit(1)
def too_many():
    return build(5)
def wide(num_classes, width=1.0):
    stem = nn.Sequential(nn.Conv2d(1, round(8 * width), 3), nn.BatchNorm2d(round(8 * width)), nn.ReLU())
    return nn.Sequential(stem, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(round(8 * width), num_classes))
"""


def dataset(classes=10, channels=1, size=28, n=40) -> Dataset:
    rng = np.random.default_rng(0)
    inputs = rng.integers(0, 256, (n, channels, size, size), dtype=np.uint8)
    split = Split(inputs, rng.integers(0, classes, n))
    preprocessing = Preprocessing(1 / 255, (0.5,) * channels, (0.5,) * channels)
    return Dataset("toy.npz", "0" * 64, tuple(map(str, range(classes))), preprocessing, split, split, split, split)


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(NET)
    return path


def one_line_error(match, call, *arguments):
    with pytest.raises(ModelError, match=match) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)


def test_zoo_network_brings_its_trained_weights():
    network = load_network(Model(source="resnet8"), dataset())
    stored = load_file(zoo_index()["resnet8"].path)
    assert all(torch.equal(network.module.state_dict()[name], tensor) for name, tensor in stored.items())
    assert not network.module.training
    assert "fashion_mnist" in network.origin.weights


@pytest.mark.parametrize("other", [{"classes": 4}, {"channels": 3}, {"size": 32}])
def test_zoo_checkpoint_that_does_not_fit_the_dataset_is_refused(other):
    one_line_error(
        r"shipped checkpoint is for 1×28×28 .* under `weights`", load_network, Model(source="resnet8"), dataset(**other)
    )


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[: len(raw) // 2], lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), lambda raw: b""]
)
def test_damaged_checkpoint_is_named_with_a_remedy(damage, tmp_path, monkeypatch):
    raw = zoo_index()["resnet8"].path.read_bytes()
    (tmp_path / "index.json").write_text((catalog.CHECKPOINTS / "index.json").read_text())
    monkeypatch.setattr(catalog, "CHECKPOINTS", tmp_path)
    one_line_error("resnet8.safetensors is missing; restore", load_network, Model(source="resnet8"), dataset())
    (tmp_path / "resnet8.safetensors").write_bytes(damage(raw))
    one_line_error(
        r"resnet8.safetensors is damaged \(SHA-256 .*\); restore", load_network, Model(source="resnet8"), dataset()
    )


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_torchvision_network_is_fitted_to_the_dataset(channels):
    network = load_network(Model(source="torchvision:squeezenet1_1"), dataset(classes=6, channels=channels))
    assert network.module(torch.zeros(1, channels, 28, 28)).shape == (1, 6)
    assert network.origin.weights == "random, seed 0"


def test_torchvision_network_too_deep_for_the_images_is_refused():
    one_line_error(
        "cannot read 1×28×28 images.*choose a network", load_network, Model(source="torchvision:alexnet"), dataset()
    )


def test_random_initialisation_depends_on_the_seed_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build_student("ds_cnn", dataset(), 1.0, seed=3).module.state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    second = build_student("ds_cnn", dataset(), 1.0, seed=3).module.state_dict()
    other = build_student("ds_cnn", dataset(), 1.0, seed=4).module.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["0.0.weight"], other["0.0.weight"])


@pytest.mark.parametrize("function", ["build", "anything"])
@pytest.mark.parametrize("channels", [1, 3])
def test_python_function_is_told_classes_and_channels(net, function, channels):
    network = load_network(Model(source=f"{net}:{function}"), dataset(classes=4, channels=channels))
    assert network.module(torch.zeros(1, channels, 28, 28)).shape == (1, 4)


def test_python_function_without_arguments_and_with_siblings(net):
    (net.parent / "paretoscope_sibling.py").write_text("WIDTH = 3\n")
    net.write_text(NET + "import paretoscope_sibling\ndef sized():\n    return build(paretoscope_sibling.WIDTH)\n")
    for function in ("fixed", "sized"):
        assert load_network(Model(source=f"{net}:{function}"), dataset(classes=3)).origin.num_classes == 3


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("needs", "needs an argument 'depth'; give it a default"),
        ("wrong", "returned int; return a torch.nn.Module"),
        ("fails", "failed: RuntimeError: two lines; fix the function"),
        ("leaves", "failed: SystemExit"),
        ("absent", "has no function 'absent'"),
        ("too_many", r"returns \(2, 5\) for two images, but the dataset has 3 classes"),
    ],
)
def test_bad_python_functions_are_one_line(net, function, message):
    one_line_error(message, load_network, Model(source=f"{net}:{function}"), dataset(classes=3))


def test_python_file_with_a_syntax_error_is_one_line(net):
    net.write_text("def build(:\n")
    one_line_error("failed: SyntaxError", load_network, Model(source=f"{net}:build"), dataset())


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_weights_are_loaded_from_each_kind_of_file(net, suffix):
    state = {
        k: v + 1 for k, v in load_network(Model(source=f"{net}:fixed"), dataset(classes=3)).module.state_dict().items()
    }
    path = net.with_name(f"weights{suffix}")
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    network = load_network(Model(source=f"{net}:fixed", weights=str(path)), dataset(classes=3))
    assert all(torch.equal(network.module.state_dict()[k], v) for k, v in state.items())


def test_weights_that_do_not_belong_are_one_line(net):
    data, state = dataset(classes=3), load_network(Model(source=f"{net}:fixed"), dataset(classes=3)).module.state_dict()
    path = net.with_name("weights.safetensors")
    cases = [
        ({k: v for k, v in state.items() if k != "3.bias"}, r"1 missing \(3.bias\) tensors"),
        ({**state, "x": torch.zeros(1)}, r"1 unknown \(x\) tensors"),
        ({**state, "3.bias": torch.zeros(4)}, "3.bias is 4, not 3; train them for this dataset"),
        ({**state, "3.bias": torch.full((3,), torch.nan)}, "3.bias has values that are not finite"),
    ]
    for wrong, message in cases:
        save_file(wrong, path)
        one_line_error(message, load_network, Model(source=f"{net}:fixed", weights=str(path)), data)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_truncated_weights_are_one_line(net, name):
    path, network = net.with_name(name), nn.Linear(2, 2)
    if name.endswith("pt"):
        torch.save(network.state_dict(), path)
    else:
        save_file(network.state_dict(), path)
    path.write_bytes(path.read_bytes()[:-40])
    one_line_error(
        r"w\.\w+ (cannot be read|are damaged)", load_network, Model(source=f"{net}:fixed", weights=str(path)), dataset()
    )


def test_pickled_objects_are_never_unpickled(net):
    path = net.with_name("w.pt")
    torch.save(nn.Linear(2, 2), path)
    one_line_error(
        "hold Python objects.*state_dict", load_network, Model(source=f"{net}:fixed", weights=str(path)), dataset()
    )
    torch.save([1, 2], path)
    one_line_error("are not a state dict", load_network, Model(source=f"{net}:fixed", weights=str(path)), dataset())


@pytest.mark.parametrize("name", [*IMAGE_NETS, "torchvision:mobilenet_v2", "torchvision:squeezenet1_1"])
def test_pruned_networks_come_back_the_same(name, tmp_path):
    network = build_student(name, dataset(), 1.0, seed=0)
    module, _ = prune.apply(Prune(method="channel", ratio=0.5), network, dataset(), seed=0)
    path, again = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_network(Network(module, network.origin), path)
    opened = open_network(path)
    images = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    assert opened.origin == network.origin
    assert torch.equal(opened.module(images), module(images))
    save_network(opened, again)
    assert again.read_bytes() == path.read_bytes()
    assert {p.name for p in tmp_path.iterdir()} == {path.name, again.name}


HALF = {"width": 0.5}
SHALLOW = {"depth": 0.5}


def params(network: Network) -> int:
    return sum(p.numel() for p in network.module.parameters())


@pytest.mark.parametrize(
    ("name", "knobs", "share"),
    [
        ("ds_cnn", HALF, 0.35),
        ("mobilenet_v2", HALF, 0.4),
        ("mobilenet_v2", SHALLOW, 0.8),
        ("recursive_resnet", {"depth": 2.0, "repeats": 2}, 2.0),
        ("torchvision:mobilenet_v2", HALF, 0.35),
        ("torchvision:mobilenet_v3_small", HALF, 0.35),
        ("torchvision:shufflenet_v2_x0_5", HALF | SHALLOW, 0.3),
    ],
)
def test_scaled_students_are_smaller_and_come_back_the_same(name, knobs, share, tmp_path):
    whole = build_student(name, dataset(), 1.0, seed=0)
    student = build_student(name, dataset(), knobs.get("width", 1.0), 0, knobs.get("depth", 1.0), knobs.get("repeats"))
    assert student.origin.options == knobs
    assert params(student) < share * params(whole)
    save_network(student, tmp_path / "s.safetensors")
    images = torch.ones(1, 1, 28, 28)
    opened = open_network(tmp_path / "s.safetensors")
    assert opened.origin == student.origin == read_origin(tmp_path / "s.safetensors")
    assert torch.equal(opened.module(images), student.module(images))


def basic_blocks(inputs, outputs, count):
    """torchvision's ResNet stage: 3×3 convolutions and batch norms, and a 1×1 shortcut where the channels change."""
    first = 9 * inputs * outputs + 9 * outputs**2 + 4 * outputs
    shortcut = 0 if inputs == outputs else inputs * outputs + 2 * outputs
    return first + shortcut + (count - 1) * (18 * outputs**2 + 4 * outputs)


def test_torchvision_depth_and_width_are_those_counted_by_hand():
    data = dataset(size=32, n=20)
    stages = [(64, 64), (64, 128), (128, 256), (256, 512)]
    expected = 49 * 64 + 128 + sum(basic_blocks(*stage, 1) for stage in stages) + 5130
    assert params(build_student("torchvision:resnet18", data, 1.0, 0, 0.5)) == expected
    dense = build_student("torchvision:densenet121", data, 0.25, 0, depth=0.25).module
    assert [len(b) for n, b in dense.features.named_children() if n.startswith("denseblock")] == [2, 3, 6, 4]
    assert (dense.features.conv0.out_channels, dense.features.denseblock1.denselayer1.conv2.out_channels) == (16, 8)
    mnas = build_student("torchvision:mnasnet0_5", data, 0.5, 0).module
    assert mnas.layers[0].out_channels == 8  # a quarter of 32
    convnext = build_student("torchvision:convnext_tiny", data, 0.25, 0, depth=1 / 3).module
    assert [len(stage) for stage in convnext.features[1::2]] == [1, 1, 3, 1]
    assert [stage[0].block[0].in_channels for stage in convnext.features[1::2]] == [24, 48, 96, 192]


def test_unknown_students_and_knobs_are_one_line(net):
    one_line_error("did you mean 'ds_cnn'", build_student, "ds_cn", dataset(), 1.0, 0)
    one_line_error("is not a built-in network", build_student, f"{net}:build", dataset(), 1.0, 0)
    width = r"torchvision:resnet18 has no width .*0.5\); use width 1, or a network of ConvNeXt, DenseNet"
    one_line_error(width, build_student, "torchvision:resnet18", dataset(), 0.5, 0)
    depth = "torchvision:squeezenet1_1 has no depth .* use depth 1, or a network of .* ResNet"
    one_line_error(depth, build_student, "torchvision:squeezenet1_1", dataset(), 1.0, 0, 0.5)
    one_line_error(
        "'resnet8' has no repeats to set to 3; choose recursive", build_student, "resnet8", dataset(), 1.0, 0, 1.0, 3
    )
    one_line_error("'self': the sweep's network is an ONNX file", build_student, "self", dataset(), 0.5, 0)


def test_self_is_the_sweeps_network_built_anew(net, tmp_path):
    data = dataset(classes=3)
    own = load_network(Model(source=f"{net}:wide"), data).origin
    student = build_student("self", data, 0.5, 1, own=own)
    assert student.origin == dataclasses.replace(own, weights="random, seed 1", options=HALF)
    assert next(tuple(p.shape) for p in student.module.parameters()) == (4, 1, 3, 3)
    save_network(student, tmp_path / "s.safetensors")
    images = torch.ones(1, 1, 28, 28)
    assert torch.equal(open_network(tmp_path / "s.safetensors").module(images), student.module(images))
    one_line_error(
        "wide' has no depth to set to 0.5; give wide a parameter of this name, or leave depth out",
        build_student, "self", data, 1.0, 1, 0.5, None, own,
    )  # fmt: skip
    zoo = Origin("resnet20", 3, (1, 28, 28), "trained")
    assert params(build_student("self", data, 1.0, 0, 1 / 3, own=zoo)) == params(build_student("resnet8", data, 1.0, 0))


def test_shared_layers_stay_shared(tmp_path):
    path = tmp_path / "net.py"
    path.write_text(
        "from torch import nn\ndef build():\n    block = nn.Conv2d(1, 1, 3, padding=1)\n"
        "    return nn.Sequential(block, nn.ReLU(), block, nn.Flatten(), nn.Linear(784, 3))\n"
    )
    network = load_network(Model(source=f"{path}:build"), dataset(classes=3))
    save_network(network, tmp_path / "n.safetensors")
    opened = open_network(tmp_path / "n.safetensors").module
    assert opened[0] is opened[2]
    assert torch.equal(opened[0].weight, network.module[0].weight)
    weights = tmp_path / "w.pt"
    torch.save(network.module.state_dict(), weights)
    load_network(Model(source=f"{path}:build", weights=str(weights)), dataset(classes=3))


def test_artifact_of_changed_code_is_refused(net, tmp_path):
    network = load_network(Model(source=f"{net}:fixed"), dataset(classes=3))
    save_network(network, tmp_path / "n.safetensors")
    open_network(tmp_path / "n.safetensors")
    net.write_text(NET + "\n# changed")
    one_line_error("has changed since; run the sweep again", open_network, tmp_path / "n.safetensors")


def test_damaged_artifacts_are_one_line(tmp_path):
    path = tmp_path / "n.safetensors"
    save_network(build_student("ds_cnn", dataset(), 1.0, seed=0), path)
    path.write_bytes(path.read_bytes()[:-10])
    one_line_error("cannot be read .* delete it and run again", open_network, path)
    one_line_error("cannot be read", open_network, tmp_path / "absent.safetensors")
    save_file({"a": torch.zeros(1)}, path)
    one_line_error("is not a Paretoscope artifact", open_network, path)
    save_file({"a": torch.zeros(1)}, path, {"paretoscope": "{}"})
    one_line_error("unreadable metadata", open_network, path)


def test_origin_is_plain_json():
    import json

    origin = build_student("ds_cnn", dataset(), 0.5, seed=0).origin
    assert type(origin).from_json(json.loads(json.dumps(origin.to_json()))) == origin
    assert dataclasses.asdict(origin)["options"] == {"width": 0.5}
