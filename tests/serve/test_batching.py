"""Requests that wait share a run, within limits; one that is to blame fails alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import numpy as np
import pytest

from engine.serve.batching import Batcher
from engine.serve.errors import Busy, Malformed, Refused


class Doubling:
    """Doubles rows, one run at a time, each when `go` lets it; refuses negative ones. `runs`: rows of each run."""

    def __init__(self, held: bool = False) -> None:
        self.runs: list[int] = []
        self.go = threading.Event()
        if not held:
            self.go.set()

    def __call__(self, inputs: Mapping[str, Any]) -> list[Any]:
        assert self.go.wait(20)
        self.runs.append(len(inputs["x"]))
        if (inputs["x"] < 0).any():
            raise Malformed("below zero")
        return [inputs["x"] * 2]


def asked(
    model: Doubling, ask: Callable[[Batcher], Awaitable[Any]], largest: int | None = 8, waiting: int = 100
) -> Any:
    async def run() -> Any:
        batcher = Batcher(model, largest, waiting)
        try:
            return await ask(batcher)
        finally:
            model.go.set()
            await batcher.close()

    return asyncio.run(run())


def rows(*values: float, width: int = 1) -> dict[str, Any]:
    return {"x": np.repeat(np.float32(values)[:, None], width, axis=1)}


async def _queued(batcher: Batcher, count: int) -> None:
    while batcher.rows < count:
        await asyncio.sleep(0.001)


def test_those_that_wait_while_the_model_runs_go_through_together() -> None:
    model = Doubling(held=True)

    async def ask(batcher: Batcher) -> list[Any]:
        first = asyncio.create_task(batcher(rows(0)))
        await asyncio.sleep(0.05)  # it is being run
        others = [asyncio.create_task(batcher(rows(i, i + 0.5))) for i in range(1, 6)]
        await _queued(batcher, 10)
        model.go.set()
        return await asyncio.gather(first, *others)

    found = asked(model, ask)
    assert [one[0][:, 0].tolist() for one in found] == [[0.0], *([2.0 * i, 2 * i + 1] for i in range(1, 6))]
    assert model.runs == [1, 8, 2]


def test_unlike_shapes_never_share_a_run() -> None:
    model = Doubling(held=True)

    async def ask(batcher: Batcher) -> list[Any]:
        tasks = [asyncio.create_task(batcher(rows(i, width=1 + i % 2))) for i in range(5)]
        await asyncio.sleep(0.05)
        model.go.set()
        return await asyncio.gather(*tasks)

    found = asked(model, ask)
    assert [one[0].tolist() for one in found] == [[[2.0 * i] * (1 + i % 2)] for i in range(5)]
    assert sum(model.runs) == 5
    assert len(model.runs) < 5


def test_a_request_of_many_rows_runs_in_parts() -> None:
    model = Doubling()
    found = asked(model, lambda batcher: batcher(rows(*range(20))))
    assert found[0][:, 0].tolist() == [2.0 * i for i in range(20)]
    assert model.runs == [8, 8, 4]


def test_without_a_largest_batch_every_request_is_a_run() -> None:
    model = Doubling(held=True)

    async def ask(batcher: Batcher) -> None:
        tasks = [asyncio.create_task(batcher(rows(*range(n)))) for n in (1, 2, 20)]
        await asyncio.sleep(0.05)
        model.go.set()
        await asyncio.gather(*tasks)

    asked(model, ask, largest=None)
    assert model.runs == [1, 2, 20]


def test_one_that_is_to_blame_fails_alone() -> None:
    model = Doubling(held=True)

    async def ask(batcher: Batcher) -> list[Any]:
        tasks = [asyncio.create_task(batcher(rows(value))) for value in (0, 1, -1, 2)]
        await asyncio.sleep(0.05)
        model.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = asked(model, ask)
    assert isinstance(found[2], Refused)
    assert [found[i][0].item() for i in (0, 1, 3)] == [0, 2, 4]


def test_a_full_queue_says_so_and_those_who_have_gone_make_room() -> None:
    model = Doubling(held=True)

    async def ask(batcher: Batcher) -> list[Any]:
        tasks = [asyncio.create_task(batcher(rows(0)))]
        await asyncio.sleep(0.05)  # it is being run
        tasks += [asyncio.create_task(batcher(rows(i))) for i in (1, 2)]
        await _queued(batcher, 2)
        with pytest.raises(Busy):
            await batcher(rows(9))
        tasks[2].cancel()
        await asyncio.gather(tasks[2], return_exceptions=True)
        model.go.set()
        return await asyncio.gather(*tasks[:2])

    found = asked(model, ask, waiting=2)
    assert [one[0].item() for one in found] == [0, 2]
    assert sum(model.runs) == 2


def test_inputs_of_unlike_many_rows_are_refused_before_they_could_meet_those_of_another() -> None:
    """Two that are short of opposite inputs would have fitted together, and the one between them been given their rows."""

    async def run() -> Any:
        batcher = Batcher(lambda inputs: [inputs["a"] + inputs["b"]], 32, 100)
        asked = [{"a": np.ones((n, 1)), "b": np.ones((m, 1))} for n, m in ((2, 3), (1, 1), (3, 2))]
        found = await asyncio.gather(*(batcher(inputs) for inputs in asked), return_exceptions=True)
        await batcher.close()
        return found

    first, fair, last = asyncio.run(run())
    assert fair[0].tolist() == [[2.0]]
    assert [str(error) for error in (first, last)] == [
        "each input needs the same number of rows; a has 2, b has 3",
        "each input needs the same number of rows; a has 3, b has 2",
    ]
