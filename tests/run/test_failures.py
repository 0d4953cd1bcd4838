"""Why a node failed is one line that names what was worked on, and guesses nothing."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from distributed import KilledWorker, Nanny

from engine.errors import SetupError, StepError
from engine.run.failures import Pulse, WorkerDeaths, reason
from engine.run.plan import Node
from engine.run.run import execute
from engine.run.task import Task
from engine.run.worker import run_node
from engine.spec.read import read_sweep
from engine.store.artifacts import Artifacts
from engine.store.store import Store
from tests.helpers.tiny import write_problem

DISTILL = Node("k" * 64, "distill", (), {"student": "ds_cnn"}, 1.0, ".safetensors")
EXPORT = Node("k" * 64, "export", (), {}, 1.0, ".onnx")
KILLED = KilledWorker("key", SimpleNamespace(address="tcp://10.0.0.7:4000"), 3)  # type: ignore[arg-type]


def heard(*lines: str) -> WorkerDeaths:
    deaths = WorkerDeaths()
    with deaths:
        for line in lines:
            logging.getLogger("distributed.nanny").info(line)
    return deaths


@pytest.mark.parametrize(
    ("line", "last"),
    [
        ("Worker process 77 was killed by signal 6", "signal 6 (SIGABRT)"),
        ("Worker process 77 was killed by signal 9", "signal 9 (SIGKILL)"),
        ("Worker process 77 was killed by signal 250", "signal 250 (unknown here)"),
        ("Worker process 77 exited with status 3", "exit status 3"),
        ("Closing Nanny at 'tcp://127.0.0.1:1'", None),
    ],
)
def test_what_a_nanny_says_of_a_death_is_kept(line: str, last: str | None):
    assert heard(line).last == last


def test_the_last_death_counts_and_nothing_reaches_the_screen(capfd: pytest.CaptureFixture[str]):
    deaths = heard("Worker process 1 was killed by signal 11", "Worker process 2 was killed by signal 6")
    assert deaths.last == "signal 6 (SIGABRT)"
    assert capfd.readouterr() == ("", "")


def test_a_dead_worker_is_told_of_with_signal_step_recipe_and_network():
    deaths = heard("Worker process 2 was killed by signal 6")
    assert reason(KILLED, DISTILL, "distil ds_cnn", "/home/me/net.py:build", deaths) == (
        "distill: the worker process died 4 times by signal 6 (SIGABRT) at this step of 'distil ds_cnn' on the network ds_cnn, "
        "with no other step under way"
    )
    assert "on the network net.py:build" in reason(KILLED, EXPORT, "baseline", "/home/me/net.py:build", deaths)
    # Of another host's worker nothing is known but where it was.
    assert "died 4 times on tcp://10.0.0.7:4000, whose log says by what" in reason(
        KILLED, EXPORT, "int8", "resnet8", None
    )


def test_a_step_that_does_not_fit_speaks_for_itself_and_the_rest_is_our_fault():
    assert reason(StepError("prune: too few channels"), EXPORT, "x", "y", None) == "prune: too few channels"
    assert reason(ValueError("odd\nmore"), EXPORT, "x", "y", None) == "export: internal error, ValueError: odd"


def test_a_scheduler_that_is_gone_ends_the_run_and_fails_no_trial():
    """Its nodes are lost without an error of their own."""
    with pytest.raises(SetupError, match=r"the Dask scheduler is gone, .* `paretoscope resume` goes on"):
        reason(None, EXPORT, "int8", "resnet8", None)


def test_a_worker_killed_as_by_a_system_without_memory_and_a_step_without_any_say_so():
    deaths = heard("Worker process 2 was killed by signal 9")
    said = reason(KILLED, EXPORT, "int8", "resnet8", deaths)
    assert "by signal 9 (SIGKILL) (which is how a system without free memory ends a process) at this step" in said
    assert reason(MemoryError("Unable to allocate 4 GiB"), EXPORT, "int8", "y", None) == (
        "export: out of memory at this step of 'int8': Unable to allocate 4 GiB"
    )


def test_a_worker_that_is_killed_in_native_code_is_named_on_every_trial_that_needed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path / "home"))
    spec = write_problem(tmp_path)
    net = tmp_path / "net.py"
    # As a corrupted heap ends a process; the runner itself only plans.
    net.write_text(
        net.read_text().replace("def build(num_classes=3):", "def build(num_classes=3):\n    import os; os.abort()")
    )
    sweep = read_sweep(spec, ("measure.latency=null", "space={}"))
    outcome = execute(sweep, Store.open(), Artifacts.open())
    assert outcome.state == "failed"
    (trial,) = Store.open().trials(sweep.id)
    assert trial.error is not None
    assert "by signal 6 (SIGABRT) at this step of 'baseline' on the network net.py:build" in trial.error
    assert trial.error.startswith("source: ")
    assert "memory" not in trial.error


def test_what_ran_beside_a_killer_is_tried_again_alone_and_finishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path / "home"))
    spec = write_problem(tmp_path)

    def killing(task: Task, *_inputs: object) -> object:
        """A local function, so that it travels to the worker by value."""
        if task.node.kind == "prune" and task.node.options["ratio"] == 0.5:
            time.sleep(0.2)
            os.abort()
        if task.node.kind == "prune":
            time.sleep(1.5)  # so that Dask sees it on the worker that dies, and blames it
        return run_node(task)

    monkeypatch.setattr("engine.run.submission.run_node", killing)
    sweep = read_sweep(spec, ("measure.latency=null",))
    outcome = execute(sweep, Store.open(), Artifacts.open())
    assert outcome.state == "done"
    failed = {t.recipe.label: str(t.error) for t in Store.open().trials(sweep.id) if t.state == "failed"}
    assert len(failed) == 2, failed
    assert len(Store.open().trials(sweep.id)) == 6
    assert all("50" in label for label in failed)
    assert all("on the network net.py:build, with no other step under way" in error for error in failed.values())


def test_a_worker_that_takes_long_to_come_back_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Dask itself gives up the worker, and whoever starts it again, after 15 seconds: the run then waited for ever."""
    monkeypatch.setenv("PARETOSCOPE_HOME", str(tmp_path / "home"))
    spec, start = write_problem(tmp_path), Nanny.instantiate
    starts = []

    async def slow(nanny: Nanny) -> object:
        starts.append(nanny)
        if len(starts) == 2:
            await asyncio.sleep(17)
        return await start(nanny)

    def killing(task: Task, *_inputs: object) -> object:
        """A local function, so that it travels to the worker by value."""
        if task.node.kind == "prune" and not Path(f"{task.artifacts.local(task.inputs[0])}.once").exists():
            Path(f"{task.artifacts.local(task.inputs[0])}.once").touch()
            os.abort()
        return run_node(task)

    monkeypatch.setattr(Nanny, "instantiate", slow)
    monkeypatch.setattr("engine.run.submission.run_node", killing)
    sweep = read_sweep(spec, ("measure.latency=null", "space.quantize=null"))
    outcome = execute(sweep, Store.open(), Artifacts.open())
    assert len(starts) > 1
    assert (outcome.state, outcome.trials_failed) == ("done", 0)


def test_a_run_without_any_worker_ends_with_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Pulse, "LONGEST_S", 0.05)
    alive = [True, False, False]
    pulse = Pulse(lambda: alive.pop(0))
    pulse.check()
    pulse.check()
    time.sleep(0.1)
    with pytest.raises(SetupError, match="no worker process has started on this host"):
        pulse.check()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_named_as_that_and_not_as_a_fault_of_ours(number: int):
    node = Node("1", "export", (), {}, 1.0, ".onnx")
    error = OSError(number, os.strerror(number))
    said = reason(error, node, "int8", "net.onnx", None)
    assert said.startswith(
        f"export: no room for the file of this step of 'int8' ([Errno {number}] {os.strerror(number)})"
    )
    # As safetensors tells it.
    assert "no room" in reason(
        RuntimeError("I/O error: No space left on device (os error 28)"), node, "int8", "n", None
    )
    assert "internal error" in reason(OSError(errno.EIO, "I/O error"), node, "int8", "net.onnx", None)
