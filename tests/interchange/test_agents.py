"""The server for agents, as the protocol's own client meets it: a process that is spoken to on its standard input and output."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine.errors import AccessError, SetupError
from engine.interchange.agents import Leave
from tests.helpers.command_line import paretoscope
from tests.helpers.places import ROOT
from tests.helpers.small_sweep import write_small_sweep

pytest.importorskip("mcp")
READING = ["sweeps", "trials", "front", "why", "compare", "plan"]
SWEEP = "example-resnet8"


@asynccontextmanager
async def session(home: Path, *options: object) -> AsyncIterator[Any]:
    from mcp import ClientSession
    from mcp.client.stdio import StdioServerParameters, stdio_client

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PARETOSCOPE_HOME": str(home)}
    command = ["-m", "engine.cli", "mcp", *map(str, options)]
    server = StdioServerParameters(command=sys.executable, args=command, env=environment)
    async with stdio_client(server) as (read, write), ClientSession(read, write) as client:
        await client.initialize()
        yield client


async def said(client: Any, tool: str, **arguments: object) -> str:
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, answer.content
    return str(answer.content[0].text)


async def told_off(client: Any, tool: str, *words: str, **arguments: object) -> None:
    answer = await client.call_tool(tool, arguments)
    assert answer.is_error, answer.content
    (part,) = answer.content
    assert len(part.text.splitlines()) == 1
    assert [w for w in words if w not in part.text] == [], part.text


def test_answers_are_those_of_the_commands(tmp_path: Path):
    home = tmp_path / "home"
    ids = ["4f53cda18c2b", "8f5382100237"]

    async def talk() -> dict[str, str]:
        async with session(home, "--folder", tmp_path) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert list(tools) == READING
            assert all(t.description and t.annotations.read_only_hint for t in tools.values())
            await told_off(client, "run", "run", spec="spec.yaml")
            await told_off(client, "export", "export", sweep=SWEEP, trial=ids[0], name="x.zip")
            # No value is taken for an option.
            await told_off(client, "front", "no sweep '--help'", sweep="--help")
            await told_off(client, "front", "--json", sweep=SWEEP, objectives="--json")
            await told_off(client, "plan", "outside of", str(tmp_path), spec="../other.yaml")
            await told_off(client, "plan", "none.yaml", spec="none.yaml")
            assert json.loads(await said(client, "why", sweep=SWEEP, trial=ids[1]))["trial"] == ids[1]
            return {
                "front": await said(client, "front", sweep=SWEEP, objectives="accuracy,size_bytes", tied=True),
                "compare": await said(client, "compare", sweep=SWEEP, trials=ids),
            }

    answers = anyio.run(talk)
    asked = {
        "front": (SWEEP, "--objectives", "accuracy,size_bytes", "--tied"),
        "compare": (SWEEP, *ids),
    }
    for command, arguments in asked.items():
        assert answers[command] == paretoscope(command, *arguments, "--json", home=home).stdout, command


def test_with_leave_to_run_a_spec_is_planned_run_and_exported(tmp_path: Path):
    home, specs, bundles = tmp_path / "home", tmp_path / "specs", tmp_path / "bundles"
    specs.mkdir()
    bundles.mkdir()
    write_small_sweep(specs)
    elsewhere = tmp_path / "net.onnx"
    (specs / "net.onnx").rename(elsewhere)

    async def talk() -> None:
        async with session(home, "--folder", specs, "--allow-run", "--exports", bundles) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert list(tools) == [*READING, "run", "export"]
            assert not tools["run"].annotations.read_only_hint
            # A spec may name nothing outside of the folder, nor may what is changed of it.
            away = f"model.source={elsewhere}"
            await told_off(client, "run", "model.source", "outside of", spec="spec.yaml", changes=[away])
            elsewhere.rename(specs / "net.onnx")
            assert json.loads(await said(client, "plan", spec="spec.yaml"))["recipes"] == 2
            outcome = json.loads(await said(client, "run", spec="spec.yaml"))
            assert (outcome["state"], outcome["trials_done"]) == ("done", 2)
            int8 = json.loads(await said(client, "trials", sweep="small"))[1]["id"]
            written = json.loads(await said(client, "export", sweep="small", trial=int8, name="int8.zip"))
            assert Path(written["bundle"]) == bundles / "int8.zip"
            await told_off(client, "export", "there already", sweep="small", trial=int8, name="int8.zip")
            for name in ("../int8.zip", "/tmp/int8.zip", "int8", ".zip", "-o.zip"):
                await told_off(client, "export", "no name for a bundle", sweep="small", trial=int8, name=name)

    anyio.run(talk)
    assert [p.name for p in bundles.iterdir()] == ["int8.zip"]


def test_how_the_server_is_started_is_told_in_one_line(tmp_path: Path):
    with pytest.raises(SetupError, match=r"--folder .* is no folder"):
        Leave.of(tmp_path / "none", False, None)
    with pytest.raises(SetupError, match="--exports takes --allow-run"):
        Leave.of(tmp_path, False, tmp_path)
    with pytest.raises(SetupError, match=r"--exports .* is no folder"):
        Leave.of(tmp_path, True, tmp_path / "none")


def test_a_link_out_of_a_folder_is_no_way_out(tmp_path: Path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "spec.yaml").write_text("name: x")
    (inside / "spec.yaml").symlink_to(outside / "spec.yaml")
    (inside / "kept.zip").symlink_to(outside / "other.zip")
    leave = Leave.of(inside, True, inside)
    with pytest.raises(AccessError, match="outside of"):
        leave.spec("spec.yaml")
    with pytest.raises(AccessError, match="no name for a bundle"):
        leave.bundle("kept.zip")
    with pytest.raises(AccessError, match="writes no bundles"):
        Leave.of(inside, True, None).bundle("x.zip")
