"""Tools for agents, over the Model Context Protocol on standard input and output.

Every tool is a command of ours, run as a process of its own: its answer is what `--json` prints, its errors are that command's one line.
Without leave to run, no sweep is measured and no file is written but what a command keeps of its own answers (`why` times a file's
operators once). Specs lie in one folder, and so does all that they name; bundles are written to another, and replace none.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from engine import __version__
from engine.errors import AccessError, InputError, SetupError
from engine.paths import DATA, home
from engine.spec.read import read_sweep
from engine.uploads.folders import check_places

if TYPE_CHECKING:
    from mcp.server.mcpserver import MCPServer
    from mcp_types import CallToolResult

_BAD_INPUT, _NOT_DONE = 2, 1
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}\.zip", re.ASCII)
_LAST_WORDS_S = 30.0
_ABOUT = (
    "Paretoscope measures compressed versions of a model and finds the Pareto frontier of accuracy, size, latency and energy. Begin with "
    "`sweeps`; `front` says which trials are worth a look and how sure that is, `why` where one trial's time goes. Numbers are in base "
    "units: shares, bytes, milliseconds, millijoules. A difference between trials that `compare` does not tell apart may be chance."
)

Sweep = Annotated[str, Field(description="A sweep's id, name, start of its id, or `latest`.")]
Trial = Annotated[str, Field(description="A trial's id, as `trials` and `front` give it.")]
Spec = Annotated[str, Field(description="A spec's .yaml file, by its path within the server's folder.")]
Changes = Annotated[list[str], Field(description="Keys of the spec to change, each as KEY=VALUE.")]
Device = Annotated[str | None, Field(description="Whose latency and energy: a device profile; host if left out.")]


@dataclass(frozen=True)
class Leave:
    """What agents may do: read specs in `folder`; with `run`, run them; with `exports` too, write bundles there."""

    folder: Path
    run: bool = False
    exports: Path | None = None

    @classmethod
    def of(cls, folder: Path, run: bool, exports: Path | None) -> Leave:
        """With real paths; raises SetupError for what is no folder, and for a place for exports without leave to write any."""
        for option, path in (("--folder", folder), ("--exports", exports)):
            if path is not None and not path.is_dir():
                raise SetupError(f"{option} {path} is no folder; name one that is there")
        if exports is not None and not run:
            raise SetupError("--exports takes --allow-run, without which nothing is written")
        return cls(folder.resolve(), run, exports.resolve() if exports else None)

    def spec(self, name: str, changes: Sequence[str] = ()) -> Path:
        """The path of a spec that may be read, with all that it names; raises InputError."""
        path = (self.folder / name).resolve()
        if not path.is_relative_to(self.folder):
            raise AccessError(
                f"{name!r:.200} lies outside of {self.folder}, where this server reads specs; name one in it"
            )
        check_places(read_sweep(path, tuple(changes)), (self.folder,))
        return path

    def bundle(self, name: str) -> Path:
        """Where a bundle may be written; raises AccessError."""
        if self.exports is None:
            raise AccessError("this server writes no bundles; start it with --exports FOLDER")
        path = self.exports / name
        if not _NAME.fullmatch(name) or path.resolve().parent != self.exports:
            raise AccessError(
                f"{name!r:.200} is no name for a bundle; give one such as resnet8-int8.zip, without a folder"
            )
        if path.exists():
            raise AccessError(f"{name} is there already, and this server replaces none; give another name")
        return path


def serve(leave: Leave) -> None:
    """Answer on standard input and output until it is closed; raises SetupError where the protocol's package is missing."""
    try:
        import mcp.server.mcpserver  # noqa: F401
    except ImportError:
        raise SetupError("the server for agents takes the package mcp; run pip install 'paretoscope[mcp]'") from None
    # Commands run elsewhere than this process; a relative home would be another one there.
    os.environ["PARETOSCOPE_HOME"] = str(home().absolute())
    server_for(leave).run("stdio")


def server_for(leave: Leave) -> MCPServer[dict[str, object]]:
    """The server with the tools that there is leave for: others are not listed."""
    from mcp.server.mcpserver import MCPServer
    from mcp_types import ToolAnnotations

    server: MCPServer[dict[str, object]] = MCPServer(
        "paretoscope", instructions=_ABOUT, version=__version__, log_level="WARNING"
    )
    tools = _Tools(leave)
    for tool in (tools.sweeps, tools.trials, tools.front, tools.why, tools.compare, tools.plan):
        server.add_tool(tool, structured_output=False, annotations=ToolAnnotations(read_only_hint=True))
    if leave.run:
        server.add_tool(tools.run, structured_output=False, annotations=ToolAnnotations(destructive_hint=False))
    if leave.run and leave.exports:
        server.add_tool(tools.export, structured_output=False, annotations=ToolAnnotations(destructive_hint=False))
    return server


class _Tools:
    """The tools, which answer with a `CallToolResult`; their docstrings and the descriptions of their arguments are what agents read."""

    def __init__(self, leave: Leave) -> None:
        self.leave = leave

    async def sweeps(self) -> Any:
        """All sweeps that there are: id, name, state and how many recipes are measured."""
        return await _answer("sweeps")

    async def trials(self, sweep: Sweep, device: Device = None) -> Any:
        """Every recipe of a sweep with all that was measured of it, the baseline first."""
        return await _answer("trials", *_option("device", device), "--", sweep)

    async def front(
        self,
        sweep: Sweep,
        objectives: Annotated[
            str | None,
            Field(description="Metrics, divided by commas; accuracy,size_bytes,latency_ms if left out."),
        ] = None,
        device: Device = None,
        tied: Annotated[bool, Field(description="With the trials that are statistically tied with it.")] = False,
    ) -> Any:
        """The Pareto frontier of a sweep: the trials that no other beats in every objective, how sure that is, and the knee."""
        options = [*_option("objectives", objectives), *_option("device", device), *(["--tied"] if tied else [])]
        return await _answer("front", *options, "--", sweep)

    async def why(self, sweep: Sweep, trial: Trial) -> Any:
        """Why a trial is not faster: where its time goes by operator and layer, beside the baseline's, and what to try."""
        return await _answer("why", "--", sweep, trial)

    async def compare(
        self,
        sweep: Sweep,
        trials: Annotated[list[str], Field(description="Two to six trials, by their ids.")],
        device: Device = None,
    ) -> Any:
        """Trials side by side: numbers, options of their recipes, and which pairs the test samples tell apart."""
        return await _answer("compare", *_option("device", device), "--", sweep, *trials)

    async def plan(self, spec: Spec, changes: Changes = []) -> Any:  # noqa: B006
        """What a spec would run: how many recipes and nodes, and a forecast in seconds. Runs none of it."""
        try:
            path = self.leave.spec(spec, changes)
        except InputError as error:
            return _refused(str(error))
        return await _answer("plan", *(f"--set={c}" for c in changes), "--", str(path))

    async def run(self, spec: Spec, changes: Changes = []) -> Any:  # noqa: B006
        """Run what is missing of a spec and wait for its end, which may take hours (`plan` says). Cut short, it keeps what is finished."""
        try:
            path = self.leave.spec(spec, changes)
        except InputError as error:
            return _refused(str(error))
        return await _answer("run", *(f"--set={c}" for c in changes), "--", str(path))

    async def export(
        self,
        sweep: Sweep,
        trial: Trial,
        name: Annotated[str, Field(description="What the bundle is called, such as resnet8-int8.zip.")],
    ) -> Any:
        """Write a trial as a bundle, a zip with the ONNX file, its card, and programs that predict and verify."""
        try:
            path = self.leave.bundle(name)
        except InputError as error:
            return _refused(str(error))
        return await _answer("export", f"--output={path}", "--", sweep, trial)


def _option(name: str, value: str | None) -> list[str]:
    # In one word, so that no value is taken for another option.
    return [] if value is None else [f"--{name}={value}"]


def _refused(line: str) -> CallToolResult:
    """An error as agents are told it: one line."""
    from mcp_types import CallToolResult, TextContent

    return CallToolResult(content=[TextContent(type="text", text=" ".join(line.split()))], is_error=True)


async def _answer(command: str, *arguments: str) -> CallToolResult:
    """What `paretoscope COMMAND … --json` prints, and beside it what it warns of; its one line as an error."""
    from mcp_types import CallToolResult, TextContent

    code, said, told = await _ran([sys.executable, "-m", "engine.cli", command, "--json", *arguments])
    lines = told.strip().splitlines()
    if code != 0 and not (code == _NOT_DONE and said.strip()):
        last = lines[-1] if lines else f"{command} ended with {code}"
        return _refused(last.removeprefix("paretoscope: ") if code == _BAD_INPUT else f"{command} failed: {last}")
    texts = [said, *(["\n".join(lines)] if lines else [])]
    return CallToolResult(content=[TextContent(type="text", text=text) for text in texts])


async def _ran(command: Sequence[str]) -> tuple[int, str, str]:
    """A process's exit code and what it printed; one that is not waited for any more is asked to end in good order."""
    import anyio

    async with await anyio.open_process(
        command, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, cwd=DATA.parent, start_new_session=True
    ) as process:
        said, told = bytearray(), bytearray()

        async def read(stream: anyio.abc.ByteReceiveStream | None, into: bytearray) -> None:
            assert stream is not None
            async for part in stream:
                into.extend(part)

        try:
            async with anyio.create_task_group() as group:
                group.start_soon(read, process.stdout, said)
                group.start_soon(read, process.stderr, told)
            code = await process.wait()
        except BaseException:
            with anyio.CancelScope(shield=True), suppress(ProcessLookupError):
                process.send_signal(signal.SIGINT)
                with anyio.move_on_after(_LAST_WORDS_S):
                    await process.wait()
            raise
    return code, said.decode(errors="replace"), told.decode(errors="replace")
