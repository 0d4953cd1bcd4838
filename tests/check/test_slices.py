"""What a check says of slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.check.report import check
from engine.check.slices import slice_counts, slice_findings
from engine.datasets.load import load_dataset
from engine.spec.sections import Data, Measure
from engine.spec.sweep import parse_sweep
from tests.helpers.command_line import paretoscope
from tests.helpers.regression import NET


def saved(folder: Path) -> Data:
    """100 training items, of which none is at sea, and 60 of the test."""
    x = np.random.default_rng(0).normal(0, 1, (160, 6)).astype(np.float32)
    site = np.array(["land"] * 100 + ["land"] * 20 + ["sea"] * 40)
    np.savez(
        folder / "d.npz",
        x_train=x[:100], y_train=x[:100, 0], x_test=x[100:], y_test=x[100:, 0], site_train=site[:100], site_test=site[100:],
    )  # fmt: skip
    return Data(source=str(folder / "d.npz"), slices=("site",))


def test_slices_are_counted_and_small_or_absent_ones_told(tmp_path: Path) -> None:
    data = load_dataset(saved(tmp_path))
    assert slice_counts(data) == {
        "site": {
            "land": {"train": 80, "calibration": 10, "validation": 10, "test": 20},
            "sea": {"train": 0, "calibration": 0, "validation": 0, "test": 40},
        }
    }
    told = [f.what for f in slice_findings(data, Measure())]
    assert "train has no item of 1 of 2 slices by site (sea)" in told
    assert "1 of 2 slices by site have fewer than 30 test samples (land: 20)" in told
    # Those that are held back are no samples that figures are of.
    told = [f.what for f in slice_findings(data, Measure(held_back=0.5))]
    assert any(what.startswith("2 of 2 slices by site have fewer than 30 test samples") for what in told)


def test_a_slice_that_the_test_lacks(tmp_path: Path) -> None:
    data = saved(tmp_path)
    arrays = dict(np.load(tmp_path / "d.npz"))
    arrays["site_train"][:] = "hill"
    np.savez(tmp_path / "d.npz", **arrays)
    found = {f.what: f.remedy for f in slice_findings(load_dataset(data), Measure())}
    assert found["test has no item of 1 of 3 slices by site (hill)"].startswith("figures say nothing of them")


def test_the_command_says_it_and_refuses_in_a_line(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    spec = "model: {source: net.py:build}\ndata: {source: d.npz, slices: [%s]}\nspace: {finetune: [{epochs: 1}]}\n"
    (tmp_path / "spec.yaml").write_text(spec % "site")
    (tmp_path / "wrong.yaml").write_text(spec % "where")
    done = paretoscope("check", str(tmp_path / "spec.yaml"), home=tmp_path)
    assert "slices by site: land: 80 train, 10 calibration, 10 validation, 20 test; sea: " in " ".join(
        done.stdout.split()
    )
    for command in ("check", "plan", "run"):
        done = paretoscope(command, str(tmp_path / "wrong.yaml"), home=tmp_path)
        said = " ".join((done.stdout + done.stderr).split())
        assert "has no 'where_test', which data.slices asks for" in said
        assert done.returncode in (1, 2)


def test_a_built_in_network_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("model: {source: resnet8}\ndata: {source: fashion_mnist, slices: [site]}\n")
    done = paretoscope("plan", str(tmp_path / "x.yaml"), home=tmp_path)
    assert "fashion_mnist holds inputs and labels alone" in " ".join(done.stderr.split())
    assert done.returncode == 2


def test_the_report_has_the_counts(tmp_path: Path) -> None:
    data = saved(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    report = check(
        parse_sweep(
            {
                "model": {"source": f"{tmp_path / 'net.py'}:build"},
                "data": data.model_dump(),
                "space": {"finetune": [{"epochs": 1}]},
                "target": {"limits": {"worst_slice": 0.5}},
            }
        )
    )
    assert report.to_json()["slices"]["site"]["sea"]["test"] == 40
    # What the task is judged by is known now, and so is what the limit is on.
    assert report.sweep is not None
    assert report.sweep.target is not None
    assert report.sweep.target.limits == {"slice_worst:MAE:min:": 0.5}
