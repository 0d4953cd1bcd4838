"""Every command and spec in README and docs/ is run, here or by the test that its mark names, or says why it is not."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from engine import access
from engine.cli.commands import app
from engine.errors import SpecError
from engine.spec.read import load_yaml
from engine.spec.sweep import Sweep, parse_sweep
from tests.helpers.command_line import paretoscope
from tests.helpers.documents import DOCUMENTS, Block, blocks, said_in_passing
from tests.helpers.places import ROOT

HERE = "tests/cli/test_documents.py"
BLOCKS = [block for page in DOCUMENTS for block in blocks(page)]
MARKED = ("sh", "bash", "console", "python", "yaml", "toml")
"""Languages of which every block has to say who runs it."""
SHELL = """\
set -eu
paretoscope() { "$PYTHON" -m engine.cli "$@"; }
python() { "$PYTHON" "$@"; }
"""


def test_every_block_is_run_or_says_why_not() -> None:
    unmarked = [str(b) for b in BLOCKS if b.language in MARKED and not (b.run_by or b.why_not)]
    assert not unmarked, "write <!-- run by tests/….py --> or <!-- not run: why --> on the line before each"
    assert len([b for b in BLOCKS if b.run_by]) > 15
    for block in (b for b in BLOCKS if b.run_by and b.run_by != HERE):
        test = ROOT / str(block.run_by)
        assert test.is_file(), block
        # It reads the page, so it runs what stands there now.
        assert block.page.name in test.read_text(), f"{block}: {block.run_by} does not read {block.page.name}"
    for block in (b for b in BLOCKS if b.run_by == HERE):
        assert block.language in ("sh", "yaml", "toml") or block.file, (
            f"{block}: nothing here runs a block of {block.language}"
        )


def commands(block: Block) -> list[str]:
    """The calls of `paretoscope` in a shell block, comments left out."""
    lines = block.text.replace("\\\n", " ").splitlines()
    calls = [call for line in lines for call in re.split(r"&&|\|\||;|\|(?= )", line.split("#")[0])]
    return [found[1] for call in calls if (found := re.search(r"\b(paretoscope .*)$", call.strip()))]


@cache
def command_line() -> Any:
    """All commands, as they are parsed."""
    return typer.main.get_command(app)


def complaint(command: str) -> str | None:
    """What of a command there is not: the command itself, or an option of it."""
    group = command_line()
    words = command.split()[1:]
    if words[0].startswith("-"):
        words = ["", *words]
    else:
        # In capitals it stands for any.
        if words[0].isupper():
            return None
        if words[0] not in group.commands:
            return f"there is no command {words[0]}"
    told: Any = group.commands[words[0]] if words[0] else group
    known = {name for p in told.params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
    unknown = [
        word
        for word in words[1:]
        if re.match(r"--?[a-z]", word.strip("[]")) and word.strip("[],…").split("=")[0] not in known
    ]
    return f"{', '.join(unknown)} is no option of {words[0] or 'paretoscope'}" if unknown else None


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda p: p.name)
def test_every_command_that_is_shown_exists(page: Path) -> None:
    shown = [c for b in blocks(page) if b.language in ("sh", "bash", "console", "yaml") for c in commands(b)]
    wrong = {command: said for command in (*shown, *said_in_passing(page)) if (said := complaint(command))}
    assert not wrong


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("paretoscope front SWEEP --device PROFILE", None),
        ("paretoscope frnt SWEEP", "there is no command frnt"),
        ("paretoscope front SWEEP --devices PROFILE", "--devices is no option of front"),
        ("paretoscope verify BUNDLE.zip [--max-drop POINTS] [--max-kB KB]", "[--max-kB is no option of verify"),
        ("paretoscope --show-completion", None),
    ],
)
def test_what_is_found_wrong_with_a_command(command: str, said: str | None) -> None:
    assert complaint(command) == said


SHELL_PAGES = sorted({b.page for b in BLOCKS if b.language == "sh" and b.run_by == HERE})


@pytest.mark.parametrize("page", SHELL_PAGES, ids=lambda p: p.name)
def test_the_commands_of_a_page_run_in_order(page: Path, tmp_path: Path) -> None:
    """As they are read, but for the id that stands for TRIAL, and without latencies, which take long and have tests of their own."""
    home = tmp_path / "home"
    (tmp_path / "data").symlink_to(ROOT / "data")
    environment = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "PARETOSCOPE_HOME": str(home)}
    for block in (b for b in blocks(page) if b.run_by == HERE):
        if block.file:
            path = tmp_path / block.file
            path.parent.mkdir(exist_ok=True)
            path.write_text(
                re.sub(r"latency: \{.*?\}", "latency: null", block.text) if block.language == "yaml" else block.text
            )
        elif block.language == "sh":
            script = SHELL + with_ids(block.text, home)
            done = subprocess.run(
                ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"


def with_ids(text: str, home: Path) -> str:
    """The int8 recipe's id of the sweep that a line names, where TRIAL stands."""
    if found := re.search(r"paretoscope \S+ (\S+) TRIAL", text):
        trials = json.loads(paretoscope("trials", found[1], "--json", home=home).stdout)
        text = text.replace("TRIAL", next(t["id"] for t in trials if t["label"] == "int8"))
    return text


def entries(text: str) -> list[dict[str, Any]]:
    """A spec, or, where keys are there again and again, each of its alternatives."""
    try:
        return [load_yaml(text, "a spec")]
    except SpecError:
        parts = re.split(r"^(?=\w)", text, flags=re.MULTILINE)
        return [yaml.safe_load(part) for part in parts if part.strip()]


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "yaml" and b.run_by == HERE], ids=str)
def test_a_spec_is_one(block: Block) -> None:
    found = entries(block.text)
    assert found
    for entry in found:
        # A part stands for itself, beside the least that a spec needs; a limit is of a metric that another line names.
        whole = {"model": {"source": "net.onnx"}, "data": {"source": "set.npz"}}
        sweep = parse_sweep({**whole, **({"metric": "mae"} if set(entry) == {"target"} else {}), **entry})
        assert isinstance(sweep, Sweep)
        assert len(sweep.all_recipes) >= 1


def test_the_files_of_a_team_are_read(tmp_path: Path) -> None:
    """With a secret of the length that the page says how to make."""
    texts = {found[1]: b.text for b in BLOCKS if b.language == "toml" and (found := re.match(r"# (\w+\.toml)", b.text))}
    assert set(texts) == {"access.toml", "secrets.toml"}
    (tmp_path / "access.toml").write_text(texts["access.toml"])
    policy = access.read_policy(tmp_path / "access.toml")
    signed_in = {"is_logged_in": True, "iat": 1000, "email_verified": True}
    for claims, role in (
        ({"email": "ana@example.org"}, "editor"),
        ({"email": "bo@example.org"}, "viewer"),
        ({"groups": ["ml-team"]}, "editor"),
        ({"email": "eve@example.com"}, "unknown"),
    ):
        assert access.standing(policy, {**signed_in, **claims}, now_s=1001) == role
    auth = tomllib.loads(texts["secrets.toml"])["auth"]
    access.check_login(policy, {**auth, "cookie_secret": secrets.token_hex(32)}, "secrets.toml")


def test_every_variable_of_the_environment_is_told() -> None:
    sources = [p.read_text() for room in ("engine", "pages") for p in (ROOT / room).rglob("*.py")]
    read = set(re.findall(r"\bPARETOSCOPE_[A-Z]+(?:_[A-Z]+)*\b", "\n".join(sources)))
    told = set(re.findall(r"^\| `(PARETOSCOPE_\w+)`", (ROOT / "docs" / "command-line.md").read_text(), re.MULTILINE))
    assert read == told
