"""A wheel: one name at the top of the user's environment; it runs from an empty folder, without the checkout, data and all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.helpers.places import ROOT

CODE = """\
import paretoscope as ps
front = ps.front("example-resnet8")
print(ps.__version__, len(ps.trials("example-resnet8")), front.knee.any())
import engine
print(engine.__file__)
"""


def ran(command: list[str], folder: Path, site: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment |= {"PYTHONPATH": str(site), "PARETOSCOPE_HOME": str(folder / "home")}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pip makes of the wheel that is built of this checkout, without what it depends on."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    quick = ["--no-deps", "--no-build-isolation"]
    # Built from a copy: setuptools leaves folders of its own beside what it builds.
    copy = folder / "copy"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, names.split("\0")):
        if not name.startswith(("tests/", "docs/")) and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, copy / name)
    subprocess.run([*pip, "wheel", str(copy), *quick, "-w", str(folder / "made")], check=True, capture_output=True)
    (wheel,) = (folder / "made").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_one_name_at_the_top(site: Path) -> None:
    assert sorted(p.name.split("-")[0] for p in site.iterdir()) == ["paretoscope", "paretoscope"]


def test_it_runs_from_an_empty_folder(site: Path, tmp_path: Path) -> None:
    first, where = ran([sys.executable, "-c", CODE], tmp_path, site).splitlines()
    assert first.split()[1:] == ["24", "True"]
    assert Path(where).is_relative_to(site / "paretoscope")
    program = "from paretoscope.command import main; import sys; sys.argv = ['paretoscope', 'sweeps']; main()"
    assert "example-resnet8" in ran([sys.executable, "-c", program], tmp_path, site)
