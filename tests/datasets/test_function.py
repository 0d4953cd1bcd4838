"""Functions that return data: what they may return, what their checksum sees, and where they are never run."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.datasets.function import forbid_functions
from engine.datasets.load import dataset_checksum, is_available, load_dataset
from engine.errors import DatasetError
from engine.spec.sections import Data
from tests.helpers.places import ROOT

SPLITS = ("train", "calibration", "validation", "test")
ARRAYS = """
import numpy as np
random = np.random.default_rng(0)
def build():
    return {"x": random.normal(size=(60, 5)), "y": np.array(["b", "a", "c"])[np.arange(60) % 3]}
"""
TENSORS = """
import torch
from torch.utils.data import TensorDataset
def build():
    torch.manual_seed(0)
    def part(n):
        return TensorDataset(torch.randn(n, 2, 9), torch.arange(n) % 3)
    return part(50), part(12)
"""
LISTS = """
import numpy as np
from PIL import Image
random = np.random.default_rng(0)
def build():
    def part(n):
        return [(Image.fromarray(random.integers(0, 256, (6, 7, 3), dtype=np.uint8)), "ab"[i % 2]) for i in range(n)]
    return [part(50), part(12)]
"""


@pytest.fixture
def write(tmp_path: Path):
    def written(text: str, function: str = "build", name: str = "own.py") -> str:
        (tmp_path / name).write_text(text)
        return f"{tmp_path}/{name}:{function}"

    return written


def test_a_mapping_of_arrays_is_read_as_a_file_of_them(write):
    data = load_dataset(Data(source=write(ARRAYS)))
    assert data.name == "own.py:build"
    assert data.classes == ("a", "b", "c")
    assert data.input_shape == (5,)
    assert [len(getattr(data, s)) for s in SPLITS] == [40, 4, 4, 12]
    assert any("own.py:build reads from files is not in the data's checksum" in n for n in data.notes)


def test_a_pair_of_torch_datasets(write):
    pytest.importorskip("torch")
    data = load_dataset(Data(source=write(TENSORS), kind="series"))
    assert data.input_shape == (2, 9)
    assert [len(getattr(data, s)) for s in SPLITS] == [40, 5, 5, 12]
    assert data.test.labels.tolist() == [0, 1, 2] * 4


def test_a_pair_of_lists_of_pictures(write):
    data = load_dataset(Data(source=write(LISTS)))
    assert data.input_shape == (3, 6, 7)
    assert data.classes == ("a", "b")
    assert data.train.inputs.dtype == np.uint8


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise KeyError('x.npy')", r"failed: KeyError: 'x.npy' \(own.py, line \d+\); fix the function"),
        ("raise SystemExit(3)", r"failed: SystemExit: 3 \(own.py, line \d+\); fix the function"),
        ("return 7", r"own.py:build returned a int; return \{\"x_train\""),
        ("return np.zeros(3), np.zeros(3)", r"returned a tuple of 2 \(ndarray, ndarray\)"),
        ("return iter(()), iter(())", "of which neither length nor items are known"),
        ("return [(1, 2, 3)], []", r"item 0 is a tuple of 3 \(int, int, int\), not a pair"),
        ("return [(np.zeros(3), 0), (np.zeros(4), 1)], []", r"input 1 is float64 \(4,\) but input 0 is float64 \(3,\)"),
        ("return [(np.zeros(3), 0)], []", "own.py:build: test is empty"),
        ("return {'x': [object()], 'y': [0]}", "own.py:build: x is an array of object; return numbers"),
        ("return {'x': [[1, 2], [3]], 'y': [0]}", "x is no array"),
        ("return {'a': np.zeros((50, 3))}", r"own.py:build has no 'x_train' \(it holds a\); return x_train"),
        ("return {'x': np.zeros((50, 3)), 'y': np.zeros(49, int)}", "x has 50 items but y 49 labels"),
    ],
)
def test_what_a_function_must_not_do_is_one_line(write, body, message):
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset(Data(source=write(f"import numpy as np\ndef build():\n    {body}\n")))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_none_is_one_line(write):
    for text, function, message in (
        ("def build(:", "build", "cannot be loaded: SyntaxError"),
        ("x = 1", "build", "has no function 'build'; check the name"),
        ("x = 1", "1 + 1", "'1 \\+ 1' is not a function's name"),
    ):
        with pytest.raises(DatasetError, match=message):
            load_dataset(Data(source=write(text, function)))


def test_the_checksum_follows_code_and_named_files_and_runs_nothing(write, tmp_path):
    text = "import beside\nDATA_FILES = ['x.npy', 'pictures']\nraise SystemExit('it was run')\ndef build(): ...\n"
    (tmp_path / "pictures").mkdir()

    def checksum(function: str = "build") -> str:
        return dataset_checksum(Data(source=write(text, function)))

    def change(name: str, content: str) -> str:
        (tmp_path / name).write_text(content)
        return checksum()

    (tmp_path / "x.npy").write_text("1")
    (tmp_path / "beside.py").write_text("a = 1")
    sums = [
        checksum(),
        checksum("other"),
        change("x.npy", "2"),
        change("beside.py", "a = 2"),
        change("pictures/1.png", "3"),
    ]
    assert change("unnamed.npy", "4") == sums[-1]
    assert len(set(sums)) == 5
    assert is_available(write(text))
    (tmp_path / "x.npy").unlink()
    assert not is_available(write(text))
    with pytest.raises(DatasetError, match=r"DATA_FILES: .*x.npy does not exist; correct the list"):
        checksum()
    text = "DATA_FILES = [open('x').read()]\n"
    with pytest.raises(DatasetError, match="DATA_FILES is not a list of plain text"):
        checksum()


def test_a_process_that_forbids_functions_runs_none(write, tmp_path):
    source = write(f"open({str(tmp_path / 'ran')!r}, 'w')\n{ARRAYS}")
    forbid_functions()
    with pytest.raises(DatasetError, match=r"own\.py:build is a Python function, which the dashboard does not run"):
        load_dataset(Data(source=source))
    assert not (tmp_path / "ran").exists()


def test_the_dashboard_forbids_them_before_anything_else_is_done():
    body = ast.parse((ROOT / "app.py").read_text()).body
    done = [ast.unparse(n) for n in body if not isinstance(n, ast.Import | ast.ImportFrom)][1:]
    assert done[0] == "forbid_functions()"
    code = "import app; from engine.datasets.function import Permission; print(Permission.given)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_a_file_beside_it_that_has_changed_is_read_anew(tmp_path: Path) -> None:
    """The checksum is of the code as it lies there, and so must the items be, in a process that lives on."""
    (tmp_path / "own.py").write_text("from numbers_of_mine import made\n\ndef build():\n    return made()\n")
    text = (
        "import numpy as np\n\ndef made():\n    rows = np.arange(1, 41)[:, None]\n"
        "    return {'x': np.full((40, 3), %s, np.float32) * rows, 'y': np.arange(40) % 2}\n"
    )
    found = []
    for value in (1, 2):
        (tmp_path / "numbers_of_mine.py").write_text(text.replace("%s", str(value)))
        data = load_dataset(Data(source=f"{tmp_path / 'own.py'}:build"))
        found.append(
            (
                data.checksum,
                float(max(s.inputs.max() for s in (data.train, data.test, data.calibration, data.validation))),
            )
        )
    assert found[0][0] != found[1][0]
    assert [largest for _, largest in found] == [40.0, 80.0]
