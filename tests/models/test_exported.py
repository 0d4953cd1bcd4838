"""Programs of torch.export become ONNX graphs that answer as they do; what cannot is one line, most of it before torch is loaded."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engine.datasets.dataset import Dataset
from engine.datasets.preprocessing import Preprocessing
from engine.datasets.splits import Split
from engine.errors import ModelError, SpecError
from engine.graph.graph import fixed_batch, open_session
from engine.graph.inputs import NamedArrays
from engine.models.catalog import check_model, model_fingerprint
from engine.models.files import batch_of, check_fits, load_file
from engine.spec.sections import Model
from engine.spec.sweep import parse_sweep

torch.set_num_threads(1)


class Net(nn.Module):
    """Asks a tensor for its batch, normalises and drops."""

    def __init__(self, inputs: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(inputs, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2))
        self.body[1].running_mean.uniform_(-1, 1)
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.drop(self.body(x).view(x.shape[0], -1)))


class TwoOutputs(Net):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(x), x


def data(shape: tuple[int, ...] = (1, 8, 8), classes: int = 3) -> Dataset:
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (40, *shape), np.uint8), np.arange(40) % classes)
    names = tuple(map(str, range(classes)))
    return Dataset("toy", "0" * 64, names, Preprocessing(1 / 255, (0.5,), (0.5,)), split, split, split, split)


def program(path: Path, network: nn.Module, batch: int | None = None, shape: tuple[int, ...] = (1, 8, 8)) -> Path:
    free = None if batch else ({0: torch.export.Dim("n")},)
    torch.export.save(torch.export.export(network, (torch.zeros(batch or 2, *shape),), dynamic_shapes=free), path)
    return path


@pytest.mark.parametrize("batch", [None, 1, 4])
def test_a_program_becomes_a_graph_that_answers_as_its_network(batch: int | None, tmp_path: Path) -> None:
    network = Net().eval()
    path = program(tmp_path / "net.pt2", network, batch)
    check_model(Model(source=str(path)))
    check_fits(str(path), data())
    assert batch_of(path) == batch
    model, note = load_file(path, data())
    assert note is None
    assert fixed_batch(model) == batch
    images = data().preprocessing(data().test.inputs[: batch or 7])
    with torch.no_grad():
        expected = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(open_session(model).run(None, {"input": images})[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda p: program(p, Net().train()),
            r"was exported while it trained \(aten\..*\); call network.eval\(\) before",
        ),
        (lambda p: program(p, TwoOutputs().eval()), "has 1 inputs and 2 outputs; only networks that make one tensor"),
        (lambda p: program(p, Net(3).eval(), shape=(3, 8, 8)), "takes images of 3×8×8, but those of toy are 1×8×8"),
        (lambda p: program(p, nn.Flatten().eval()), "gives 64 scores for an image, but the dataset has 3 classes"),
        (lambda p: program(p, nn.ReLU().eval()), r"a network that makes \(N, classes\) of \(N, …\) is needed"),
        (lambda p: program(p, Net().eval()).write_bytes(b"no zip"), "is no program of torch.export, or is cut short"),
    ],
)
def test_what_is_no_such_program_is_one_line(make, message: str, tmp_path: Path) -> None:
    make(tmp_path / "net.pt2")
    with pytest.raises(ModelError, match=message) as caught:
        load_file(tmp_path / "net.pt2", data())
    assert "\n" not in str(caught.value)


class Reader(nn.Module):
    """Tokens, of which 0 is none, and an age."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.head = nn.Embedding(20, 8), nn.Linear(9, 3)

    def forward(self, ids: Tensor, age: Tensor) -> Tensor:
        there = (ids > 0).float().unsqueeze(-1)
        mean = (self.table(ids) * there).sum(1) / there.sum(1).clamp(min=1)
        return self.head(torch.cat([mean, age], 1))


def reading() -> Dataset:
    rng = np.random.default_rng(0)
    arrays = {"age": rng.random((40, 1), np.float32), "ids": rng.integers(0, 20, (40, 6))}
    split = Split(NamedArrays(arrays), np.arange(40) % 3)
    return Dataset("notes", "0" * 64, ("a", "b", "c"), Preprocessing(1, (0.0,), (1.0,)), split, split, split, split)


@pytest.mark.parametrize("by_name", [False, True])
def test_a_program_of_several_inputs_answers_as_it_does_whatever_their_order(by_name: bool, tmp_path: Path) -> None:
    network, n = Reader().eval(), torch.export.Dim("n")
    ids, age = torch.ones(2, 6, dtype=torch.int64), torch.ones(2, 1)
    args, kwargs = ((ids,), {"age": age}) if by_name else ((ids, age), {})
    saved = torch.export.export(network, args, kwargs, dynamic_shapes={"ids": {0: n}, "age": {0: n}})
    torch.export.save(saved, tmp_path / "net.pt2")
    check_model(Model(source=str(tmp_path / "net.pt2")))
    graph, note = load_file(tmp_path / "net.pt2", reading())
    assert note is None
    arrays = {name: array[:7] for name, array in reading().test.inputs.arrays.items()}
    expected = network(*(torch.from_numpy(arrays[name]) for name in ("ids", "age"))).detach().numpy()
    np.testing.assert_allclose(open_session(graph).run(None, arrays)[0], expected, rtol=1e-4, atol=1e-5)


def test_several_inputs_that_do_not_fit_are_one_line_before_anything_runs(tmp_path: Path) -> None:
    ids, age = torch.ones(2, 6, dtype=torch.int64), torch.ones(2, 1)
    torch.export.save(torch.export.export(Reader().eval(), (ids, age)), tmp_path / "net.pt2")
    with pytest.raises(ModelError, match=r"net\.pt2 takes"):
        load_file(tmp_path / "net.pt2", data())
    half = torch.export.export(nn.Linear(3, 3).half().eval(), (torch.zeros(2, 3, dtype=torch.float16),))
    torch.export.save(half, tmp_path / "half.pt2")
    with pytest.raises(ModelError, match="its input input is of a type that is not fed here; export it with one of"):
        check_model(Model(source=str(tmp_path / "half.pt2")))


@pytest.mark.parametrize("stated", [{"state": ["h"]}, {"axes": {"t": 4}}])
def test_states_and_axes_are_of_no_program(stated: dict[str, object], tmp_path: Path) -> None:
    path = program(tmp_path / "net.pt2", Net().eval())
    with pytest.raises(ModelError, match=r"model\.output, outputs, state and axes change nothing; leave them out"):
        check_model(Model.model_validate({"source": str(path), **stated}))
    with pytest.raises(ModelError, match=f"has one input and one output; leave model.{next(iter(stated))} out"):
        check_model(Model.model_validate({"source": "resnet8", **stated}))


def test_pickled_weights_are_never_unpickled(tmp_path: Path) -> None:
    path, other = program(tmp_path / "net.pt2", Net().eval()), tmp_path / "other.pt2"
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(other, "w") as changed:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith("model_weights_config.json"):
                content = content.replace(b'"use_pickle": false', b'"use_pickle": true', 1)
                assert content != archive.read(name)
            changed.writestr(name, content)
    with pytest.raises(ModelError, match="holds Python objects beside tensors"):
        check_model(Model(source=str(other)))


def test_only_steps_on_the_graph_are_planned_and_paths_are_absolute(tmp_path: Path) -> None:
    program(tmp_path / "net.pt2", Net().eval())
    spec = {"model": {"source": "net.pt2"}, "space": {"quantize": {"weight_bits": 8, "activation_bits": 8}}}
    assert parse_sweep(spec, tmp_path).model.source == str(tmp_path / "net.pt2")
    spec["space"] = {"prune": {"method": "channel", "ratio": 0.5}}
    with pytest.raises(
        SpecError, match=r"net\.pt2 is an exported program, which has no layers left to train; use quantize"
    ):
        parse_sweep(spec, tmp_path)


def test_a_plan_reads_a_program_without_torch(tmp_path: Path) -> None:
    path = program(tmp_path / "net.pt2", Net().eval())
    code = (
        "import sys; from engine.models.files import batch_of; from engine.models.catalog import model_fingerprint; "
        f"from engine.spec.sections import Model; model_fingerprint(Model(source={str(path)!r})); print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "False\n"
    before = model_fingerprint(Model(source=str(path)))
    program(path, Net().eval(), batch=4)
    assert model_fingerprint(Model(source=str(path))) != before
