"""What recipes cost, in node seconds: the forecast's seconds of those of their nodes that are not there yet."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING

import numpy as np

from engine.run.forecast import node_s
from engine.run.plan import Plan
from engine.search.prices import Prices
from engine.store.rows import NodeRow

if TYPE_CHECKING:
    from scipy import sparse


class NodeCosts:
    """Seconds of a plan's nodes: of each kind what its finished nodes took for a unit of work, or else the forecast's `rates`.

    The sweep's own nodes are what is forecast from, all of them, so that it does not matter in which run they were made.
    """

    def __init__(self, plan: Plan, rates: Mapping[str, float], finished: Iterable[NodeRow] = ()) -> None:
        self.plan, self.rates = plan, dict(rates)
        self.spent_s = 0.0
        self._seconds: Counter[str] = Counter()
        self._work: Counter[str] = Counter()
        for row in finished:
            self._count(row.kind, row.work, row.seconds)

    def ended(self, key: str, seconds: float) -> None:
        """A node of this run has ended, after so many seconds."""
        node = self.plan.nodes[key]
        self.spent_s += seconds
        self._count(node.kind, node.work, seconds)

    def _count(self, kind: str, work: float, seconds: float) -> None:
        if work > 0:
            self._seconds[kind] += seconds  # type: ignore[assignment]
            self._work[kind] += work  # type: ignore[assignment]
            self.rates[kind] = self._seconds[kind] / self._work[kind]

    def of(self, keys: Collection[str]) -> float:
        """Seconds of some nodes, each counted once."""
        return sum(node_s(self.plan.nodes[key], self.rates) for key in keys)

    def prices(
        self,
        needs: Sequence[frozenset[str]],
        short_needs: Sequence[frozenset[str]],
        there: Set[str],
        left_s: float = math.inf,
    ) -> Prices:
        """What recipes cost in full and in short: of each the nodes that are not `there`. `short_needs` is empty where nothing is screened;
        `left_s`: node seconds that may still be spent.
        """
        nodes: dict[str, int] = {}
        full = _missing(needs, there, nodes)
        short = _missing(short_needs, there, nodes) if short_needs else None
        seconds = np.array([node_s(self.plan.nodes[key], self.rates) for key in nodes])
        return Prices(_matrix(full, len(nodes)), short and _matrix(short, len(nodes)), seconds, left_s)


def _missing(needs: Sequence[frozenset[str]], there: Set[str], nodes: dict[str, int]) -> list[list[int]]:
    """Of each recipe the numbers of its missing nodes, which are given to those that come up for the first time."""
    return [[nodes.setdefault(key, len(nodes)) for key in sorted(keys - there)] for keys in needs]


def _matrix(rows: Sequence[Sequence[int]], nodes: int) -> sparse.csr_array:
    from scipy import sparse

    ends = np.cumsum([0, *map(len, rows)])
    columns = np.array([node for row in rows for node in row], np.int64)
    return sparse.csr_array((np.ones(len(columns)), columns, ends), shape=(len(rows), nodes))
