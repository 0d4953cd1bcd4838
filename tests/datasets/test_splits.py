"""The test split is for reporting only: nothing that chooses or trains reads it, and it shares no images with what does."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.datasets.dataset import Dataset
from engine.datasets.fashion_mnist import load_fashion_mnist
from engine.datasets.items import item_hashes
from engine.datasets.load import load_dataset
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.errors import DatasetError
from engine.spec.sections import Data
from engine.spec.sweep import parse_sweep
from tests.helpers.places import ROOT
from tests.helpers.tiny import images

ENGINE = ROOT / "engine"
# Who reports, exports or describes: the worker's accuracy node, assembly and confirm (labels), bundle (its sample), and those that say how
# many samples there are, also of each slice, of which type and shape, what another CPU would answer, or where two networks begin to differ.
REPORTERS = {
    "run/measuring.py", "run/assemble.py", "run/confirm.py",
    "export/recorded.py", "export/opened.py", "export/report_broke.py", "interchange/mlflow_runs.py", "export/card.py",
    "cli/doctor.py", "check/report.py", "check/slices.py", "explain/portability.py",
    "explain/layers.py",
}  # fmt: skip


def readers(tree: ast.AST) -> list[ast.Attribute]:
    return [
        n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr == "test" and isinstance(n.ctx, ast.Load)
    ]


def test_only_what_reports_reads_the_test_split():
    found = {str(p.relative_to(ENGINE)) for p in ENGINE.rglob("*.py") if readers(ast.parse(p.read_text()))}
    assert found == REPORTERS
    assert not {p for p in found if p.startswith(("compress/", "measure/", "models/"))}


def test_in_the_worker_it_is_the_accuracy_node_alone():
    functions = [
        n for n in ast.parse((ENGINE / "run" / "measuring.py").read_text()).body if isinstance(n, ast.FunctionDef)
    ]
    assert [f.name for f in functions if readers(f)] == ["accuracy"]


class Sealed:
    """A split that nobody may look at."""

    def __getattribute__(self, name: str) -> object:
        raise AssertionError(f"the test split's {name} was read")

    def __len__(self) -> int:
        raise AssertionError("the test split was counted")


@pytest.fixture
def sealed() -> Dataset:
    def split(n: int, seed: int) -> Split:
        x, y = images(n, seed)
        return Split(x[:, None], y)

    plain = Preprocessing(1 / 255, (0.3,), (0.2,))
    data = Dataset(
        "tiny", "0" * 64, ("bar", "pillar", "blob"), plain, split(128, 0), split(64, 1), split(64, 2), split(1, 3)
    )
    return replace(data, test=Sealed())


def test_pruning_training_and_choosing_bits_leave_the_test_split_alone(sealed: Dataset, tmp_path: Path):
    torch = pytest.importorskip("torch")
    from engine.compress import finetune, prune, qat
    from engine.compress.quantization.sensitivity import measure_sensitivity
    from engine.compress.quantize import prepare
    from engine.models.export import export_onnx
    from engine.models.sources import load_network
    from engine.spec.sections import Model
    from engine.spec.steps import Finetune, Prune, Quantize

    torch.set_num_threads(1)
    (tmp_path / "net.py").write_text(BUILDER)
    network = load_network(Model(source=f"{tmp_path}/net.py:build"), sealed)
    for step in (
        Prune(method="channel", ratio=0.3, importance="taylor"),
        Prune(method="magnitude", ratio=0.5, allocation="sensitivity"),
    ):
        prune.apply(step, network, sealed, 0)
    trained = finetune.apply(Finetune(epochs=1), network.module, sealed, 0)
    graph = prepare(export_onnx(trained, sealed.input_shape))
    measure_sensitivity(Quantize(weight_bits=8, activation_bits=8, calibration_samples=16), graph, sealed)
    qat.train_quantized(
        Quantize(weight_bits=4, activation_bits=8, method="qat", epochs=1, samples=64, calibration_samples=16),
        graph,
        sealed,
        0,
    )


BUILDER = """
from torch import nn
def build(num_classes=3):
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )
"""


def test_the_shipped_splits_share_no_picture_but_the_few_that_the_collection_holds_twice():
    data = load_fashion_mnist()
    hashes = {name: item_hashes(getattr(data, name).inputs) for name in ("train", "calibration", "validation", "test")}
    everything = np.concatenate(list(hashes.values()))
    assert len(everything) == 70_000
    # By index the splits of the training file are a partition of it, so any repeat is the authors' own.
    original = np.concatenate([hashes[n] for n in ("train", "calibration", "validation")])
    assert len(original) == 60_000
    repeats = {a: int(np.isin(hashes["test"], hashes[a]).sum()) for a in ("train", "calibration", "validation")}
    assert sum(repeats.values()) <= 10, repeats


@pytest.fixture
def save(tmp_path: Path):
    def saved(**values: np.ndarray) -> Data:
        np.savez(tmp_path / "d.npz", **values)
        return Data(source=str(tmp_path / "d.npz"))

    return saved


def arrays() -> dict[str, np.ndarray]:
    (x, y), (x_test, y_test) = images(200, 0), images(50, 1)
    return {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test}


def test_splits_that_share_images_are_refused_and_a_stray_repeat_is_not(save):
    given = arrays()
    leaky = given | {"x_train": np.concatenate([given["x_train"], given["x_test"][:30]])}
    leaky["y_train"] = np.concatenate([given["y_train"], given["y_test"][:30]])
    with pytest.raises(DatasetError, match=r"30 of 50 items of x_test are also in x_train; splits must be disjoint"):
        load_dataset(save(**leaky))
    (x, y), (x_test, y_test) = images(200, 0), images(150, 1)
    x_test[7] = x[11]
    assert len(load_dataset(save(x_train=x, y_train=y, x_test=x_test, y_test=y_test)).test) == 150


def test_held_back_images_are_in_no_figure_and_all_others_are():
    x, y = images(101, 3)
    test = Split(x[:, None], y)
    shown, kept = test.reported(None, 0.2), test.held_back(0.2)
    assert (len(shown), len(kept)) == (81, 20)
    together = np.concatenate([shown.inputs, kept.inputs])
    assert sorted(item_hashes(together).tolist()) == sorted(item_hashes(test.inputs).tolist())
    assert not np.isin(item_hashes(kept.inputs), item_hashes(shown.inputs)).any()
    assert np.array_equal(test.reported(10, 0.2).inputs, shown.inputs[:10])
    assert test.reported(None) is test
    # Files may be sorted by class: what is held back is spread over them.
    assert len(np.unique(y[np.isin(item_hashes(test.inputs), item_hashes(kept.inputs))])) == 3


def test_a_share_that_leaves_nothing_is_refused():
    x, y = images(1, 0)
    with pytest.raises(DatasetError, match=r"held_back: 0.9 of 1 test images leaves none"):
        Split(x[:, None], y).reported(None, 0.9)
    with pytest.raises(Exception, match="held_back"):
        parse_sweep({"model": {"source": "resnet8"}, "measure": {"held_back": 1.0}})


def test_test_images_may_lack_labels_and_training_images_alone_may_not(save):
    given = arrays()
    del given["y_test"]
    data = load_dataset(save(**given))
    assert (data.test.labels == -1).all()
    assert data.classes == ("0", "1", "2")
    y_test = arrays()["y_test"]
    del given["y_train"]
    with pytest.raises(DatasetError, match="has no 'y_train'"):
        load_dataset(save(**given, y_test=y_test))
