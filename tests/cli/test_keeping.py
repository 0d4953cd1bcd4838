"""`du`, `gc`, `backup` and `restore` on the command line."""

import json
import os
from pathlib import Path

from tests.helpers.command_line import paretoscope, refused


def test_what_is_held_freed_backed_up_and_restored(tmp_path: Path):
    home, stray = tmp_path / "home", "f" * 64 + ".onnx"
    path = home / "artifacts" / "ff" / stray
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * 1_000_000)
    os.utime(path, (0, 0))
    held = json.loads(paretoscope("du", "--json", home=home).stdout)
    assert held["unneeded"] == {"files": 1, "n_bytes": 1_000_000, "young_files": 0}
    assert [s["problem"] for s in held["sweeps"]] == [None, None]
    assert "1 file, 1.0 MB, is needed by no sweep" in paretoscope("gc", home=home).stdout
    assert path.exists()

    refused(paretoscope("backup", tmp_path, home=home), str(tmp_path), "is a folder")
    done = json.loads(paretoscope("backup", tmp_path / "home.zip", "--json", home=home).stdout)
    assert (done["files"], done["artifacts_elsewhere"]) == (1, False)
    assert "1 file removed, 1.0 MB of 1.0" in paretoscope("gc", "--remove", home=home).stdout
    assert not path.exists()

    refused(paretoscope("restore", tmp_path / "home.zip", home=home), str(home), "holds something already")
    back = paretoscope("restore", tmp_path / "home.zip", "--home", tmp_path / "other", home=home)
    assert "the database and 1 file," in back.stdout
    assert (tmp_path / "other" / "artifacts" / "ff" / stray).stat().st_size == 1_000_000
