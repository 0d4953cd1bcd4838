import json

import pytest
import torch
from torch import nn

from engine.errors import ModelError
from engine.models import catalog
from engine.models.catalog import DESCRIPTIONS, model_fingerprint, torchvision_names, zoo_index, zoo_names
from engine.models.zoo import BUILDERS, count_params
from engine.spec.sections import Model

torch.set_num_threads(1)


def test_catalog_names_are_the_builders():
    assert zoo_names() == tuple(DESCRIPTIONS)
    assert set(zoo_names()) == set(BUILDERS)
    assert all("\n" not in text and text.endswith(".") for text in DESCRIPTIONS.values())


@pytest.mark.parametrize("name", zoo_names())
@pytest.mark.parametrize("channels", [1, 3])
def test_every_builder_fits_classes_channels_and_width(name, channels):
    network = BUILDERS[name](num_classes=7, in_channels=channels).eval()
    narrow = BUILDERS[name](num_classes=7, in_channels=channels, width=0.25).eval()
    images = torch.zeros(2, channels, 32) if name == "series_transformer" else torch.zeros(2, channels, 32, 32)
    assert network(images).shape == narrow(images).shape == (2, 7)
    assert count_params(narrow) < count_params(network)


def conv_bn(inputs, outputs, kernel=3, groups=1):
    """Weights of a convolution without bias, and its batch norm's two vectors."""
    return inputs * outputs * kernel**2 // groups + 2 * outputs


def block(inputs, outputs, stride):
    """Two convolutions, and a 1×1 shortcut with bias where shapes differ."""
    shortcut = 0 if inputs == outputs and stride == 1 else inputs * outputs + outputs
    return conv_bn(inputs, outputs) + conv_bn(outputs, outputs) + shortcut


def resnet(blocks, channels, classes=10):
    stem, first, second, third = channels[0], *channels
    total = conv_bn(1, stem)
    for inputs, outputs, stride in ((stem, first, 1), (first, second, 2), (second, third, 2)):
        total += block(inputs, outputs, stride) + (blocks - 1) * block(outputs, outputs, 1)
    return total + third * classes + classes


def recursive(blocks, channels):
    stages = zip((1, *channels), channels, strict=False)
    return sum(conv_bn(i, o) + blocks * block(o, o, 1) for i, o in stages) + channels[-1] * 10 + 10


def ds_cnn(blocks, channels):
    layers = conv_bn(channels, channels, groups=channels) + conv_bn(channels, channels, kernel=1)
    return conv_bn(1, channels) + blocks * layers + channels * 10 + 10


@pytest.mark.parametrize(
    ("name", "options", "params"),
    [
        ("resnet20", {}, resnet(3, (16, 32, 64))),
        ("resnet20", {"width": 0.5}, resnet(3, (8, 16, 32))),
        ("resnet20", {"depth": 1 / 3}, resnet(1, (16, 32, 64))),
        ("resnet20", {"depth": 0.5}, resnet(2, (16, 32, 64))),
        ("resnet20", {"depth": 0.01}, resnet(1, (16, 32, 64))),
        ("resnet20", {"width": 0.75, "depth": 2}, resnet(6, (12, 24, 48))),
        ("resnet8", {"width": 0.1}, resnet(1, (4, 4, 6))),
        ("resnet8", {"depth": 2.4}, resnet(2, (16, 32, 64))),
        ("ds_cnn", {"width": 0.5}, ds_cnn(4, 32)),
        ("ds_cnn", {"depth": 0.5}, ds_cnn(2, 64)),
        ("recursive_resnet", {"repeats": 7}, recursive(1, (16, 32, 64))),
        ("recursive_resnet", {"depth": 2, "width": 0.5}, recursive(2, (8, 16, 32))),
    ],
)
def test_width_and_depth_give_the_parameters_counted_by_hand(name, options, params):
    network = BUILDERS[name](**options)
    assert count_params(network) == params
    assert network.eval()(torch.zeros(1, 1, 28, 28)).shape == (1, 10)


def test_mobilenet_is_scaled_in_width_and_depth():
    """Rounded by torchvision to multiples of 8; 1 + 2 + 3 + 4 + 3 + 3 + 1 blocks between the stem and the last convolution."""
    whole, narrow, shallow = (BUILDERS["mobilenet_v2"](**o) for o in ({}, {"width": 0.5}, {"depth": 0.5}))
    assert [len(n.features) for n in (whole, narrow, shallow)] == [19, 19, 13]
    assert [n.features[4].conv[-1].num_features for n in (whole, narrow)] == [16, 8]


@pytest.mark.parametrize(("repeats", "depth"), [(1, 1), (3, 1), (2, 2)])
def test_repeats_are_how_often_a_stage_runs_its_blocks(repeats, depth):
    network, calls = BUILDERS["recursive_resnet"](repeats=repeats, depth=depth), []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda *_: calls.append(1))
    network.eval()(torch.zeros(1, 1, 28, 28))
    assert len(calls) == 3 * (1 + repeats * depth * 2)


def test_index_describes_only_checkpoints_that_exist():
    index = zoo_index()
    assert "resnet8" in index
    for name, entry in index.items():
        assert entry.path.is_file()
        assert catalog.file_sha256(entry.path) == entry.sha256
        assert entry.params == count_params(BUILDERS[name]())


def test_damaged_index_is_one_line_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "CHECKPOINTS", tmp_path)
    with pytest.raises(ModelError, match=r"is missing; restore it"):
        zoo_index()
    for text in ("{", json.dumps({"resnet8": {"accuracy": 1}})):
        (tmp_path / "index.json").write_text(text)
        with pytest.raises(ModelError, match=r"is damaged \(.*\); restore it") as caught:
            zoo_index()
        assert "\n" not in str(caught.value)


def test_torchvision_names_are_those_that_torchvision_lists():
    import torchvision

    assert list(torchvision_names()) == sorted(torchvision.models.list_models(module=torchvision.models))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Model(source="resnet9"), r"'resnet9' is not known; did you mean 'resnet8'\?"),
        (Model(source="zzz"), "'zzz' is not known; known names: resnet8"),
        (Model(source="torchvision:resnet81"), r"did you mean 'resnet18'\?"),
        (
            Model(source="pkg.nets:build"),
            r"no module pkg.nets is found; .*torchvision:NAME, timm:NAME, path/to/file.py:function",
        ),
        (
            Model(source="hub/nets:build"),
            "write torchvision:NAME, timm:NAME, pkg.module:function or path/to/file.py:function",
        ),
        (Model(source="nowhere.pt2"), "nowhere.pt2 does not exist"),
        (Model(source="net.py"), "names no function; write net.py:FUNCTION"),
        (Model(source="net.pt"), "holds weights alone"),
        (Model(source="nowhere/net.py:build"), "nowhere/net.py does not exist"),
        (Model(source="nowhere.onnx"), "nowhere.onnx does not exist"),
        (Model(source="resnet8", weights="a.h5"), "weights a.h5 are of an unknown kind; give one of .safetensors"),
        (Model(source="resnet8", weights="nowhere.pt"), "weights nowhere.pt do not exist"),
    ],
)
def test_bad_sources_are_one_line_with_a_remedy(model, message):
    with pytest.raises(ModelError, match=message) as caught:
        catalog.check_model(model)
    assert "\n" not in str(caught.value)


def test_fingerprint_follows_names_weights_and_code(tmp_path):
    net, helper = tmp_path / "net.py", tmp_path / "layers.py"
    net.write_text("import layers\ndef build(): ...\ndef other(): ...\n")
    helper.write_text("A = 1\n")
    weights = tmp_path / "w.pt"
    weights.write_bytes(b"1")
    prints = [
        model_fingerprint(Model(source="resnet8")),
        model_fingerprint(Model(source="resnet8", weights=str(weights))),
        model_fingerprint(Model(source="torchvision:resnet18")),
        model_fingerprint(Model(source="torchvision:resnet34")),
        model_fingerprint(Model(source=f"{net}:build")),
        model_fingerprint(Model(source=f"{net}:other")),
        model_fingerprint(Model(source=f"{net}:build", weights=str(weights))),
    ]
    helper.write_text("A = 2\n")
    prints.append(model_fingerprint(Model(source=f"{net}:build")))
    weights.write_bytes(b"2")
    prints.append(model_fingerprint(Model(source=f"{net}:build", weights=str(weights))))
    assert len(set(prints)) == len(prints)
    assert prints[0] == model_fingerprint(Model(source="resnet8"))


def test_catalog_does_not_import_torch():
    import subprocess
    import sys

    code = (
        "import sys; from engine.models.catalog import *; from engine.spec.sections import Model; zoo_index(); "
        "model_fingerprint(Model(source='torchvision:resnet18')); print('torch' in sys.modules, 'torchvision' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "False False\n"
    )
