"""Branch and bound over the numbers of sharers, for what is too large to be solved exactly in milliseconds.

A node is an interval of numbers for the edge and one for the cloud. Its bound takes sharing as convex within them; so
where sharing is not, smaller intervals prove more. Most problems need one node.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import numpy as np

from orchestrator.solver import ascent, core, lagrangian, repair
from orchestrator.solver.implied import implied
from orchestrator.solver.lagrangian import Bound, Prices, Relaxation
from orchestrator.solver.neighbours import MANY, improve
from orchestrator.solver.problem import Floats, Ints

NODES = 6  # that may be looked at; more would seldom prove more
OPTIONS = 24  # that a core has to begin with, beside what its devices do already
# Cells that a core may have, that one may have which proves, and all together: about one, four and eight milliseconds.
CORE_CELLS, PROOF_CELLS, MOST_CELLS = 2 * 10**5, 10**6, 2 * 10**6
EXCHANGES = 3
WORTH = 0.001  # by so much the best joint action must seem to be off, for neighbours to be tried
TURNS = 3  # of a joint action implying prices, and these a better one
REFINED = 3  # the first nodes only
FEW = 4  # devices; where what a joint action takes above the bound is more than so many take, it is not refined
# Where numbers that may still be better are a smaller share than this of a node's, it is looked at again, uncut.
MUCH_TIGHTER = 0.15

Interval = tuple[int, int]
Box = tuple[Interval, Interval]


@dataclass(order=True)
class _Node:
    """Numbers of sharers on edge and cloud, and what is proven of them; the least proven comes first."""

    bound_ms: float
    age: int
    box: Box = field(compare=False)
    prices: Prices | None = field(compare=False)


class Search:
    """Mutable: the best joint action so far (`rows`, None before the first), its sum, its prices; `bound_ms` at the
    end."""

    def __init__(self, relaxation: Relaxation, gap: float, prices: Prices | None, nodes: int = NODES) -> None:
        self.relaxation = relaxation
        self.rows: Ints | None = None
        self.total_ms = np.inf
        self.prices = prices or Prices(0.0, 0.0, 0.0)
        self.bound_ms = 0.0
        self._gap = gap * (1 - 1e-9)  # rounding shall not put it above what was asked for
        self._settled_ms = np.inf  # the least bound of the nodes that are done
        edge, cloud = (np.flatnonzero(np.isfinite(sums_ms)).tolist() for sums_ms in relaxation.sums_ms)
        self._open = [_Node(-np.inf, 0, ((edge[0], edge[-1]), (cloud[0], cloud[-1])), prices)]
        self._nodes = self._left = min(nodes, NODES)
        self._cells = MOST_CELLS

    @property
    def target_ms(self) -> float:
        """What proves the best joint action good enough."""
        return self.total_ms / (1 + self._gap)

    def run(self) -> None:
        """Until the gap is reached, or the nodes are used up."""
        while self._open and self._left and self._open[0].bound_ms < self.target_ms:
            self._left -= 1
            self._look(heapq.heappop(self._open))
        proven_ms = min([self._settled_ms] + [node.bound_ms for node in self._open])
        hurried = self._nodes == 1 and self.relaxation.own_ms.shape[1] >= MANY
        if self.rows is not None and not hurried and proven_ms < min(self.target_ms, self.total_ms / (1 + WORTH)):
            improve(self.relaxation, self.rows, self.offer, lambda: self.rows)
        self.bound_ms = max(0.0, min(proven_ms, self.total_ms))

    def offer(self, rows: Ints, prices: Prices) -> bool:
        """Take a joint action if it is the best so far. Whether it is feasible at all."""
        total_ms = repair.total_ms(self.relaxation, rows)
        if total_ms < self.total_ms:
            self.rows, self.total_ms, self.prices = rows, total_ms, prices
        return total_ms < np.inf

    def _look(self, node: _Node) -> None:
        """Settle a node, or put its parts in its place."""
        sums_ms = lagrangian.within(self.relaxation, node.box)
        prices, numbers = ascent.climb(self.relaxation, sums_ms, node.prices)
        proven = lagrangian.bound(self.relaxation, sums_ms, prices)
        bound_ms = max(node.bound_ms, proven.total_ms)
        excess_ms = _excess(sums_ms, prices)
        rows = self._assign(sums_ms, prices, numbers, bound_ms) if bound_ms < self.target_ms else None
        on = None
        if rows is not None:
            rows, prices, proven = self._implied(rows, sums_ms, prices, proven)
            bound_ms, excess_ms = max(bound_ms, proven.total_ms), _excess(sums_ms, prices)
            on = repair.on_tiers(self.relaxation, rows)
            # Exchanges win what a few devices take, not more, and seldom what they did not win before.
            few_ms = FEW * self.target_ms / len(rows)
            if 0 < self.target_ms - bound_ms < few_ms and self._left >= NODES - REFINED:
                self._refine(rows, sums_ms, prices, proven)
        if bound_ms < self.target_ms:
            bound_ms = max(bound_ms, self._prove(sums_ms, prices, proven))
        parts = [] if bound_ms >= self.target_ms else self._parts(node.box, proven, excess_ms, on)
        if not parts:
            self._settled_ms = min(self._settled_ms, bound_ms)
        for place, part in enumerate(parts):
            heapq.heappush(self._open, _Node(bound_ms, 2 * (NODES - self._left) + place, part, prices))

    def _implied(self, rows: Ints, sums_ms: Floats, prices: Prices, proven: Bound) -> tuple[Ints, Prices, Bound]:
        """What the joint action's own prices prove, where that is more; and the joint action with the numbers of
        sharers that look best at them, where that is better."""
        filled = repair.fill(self.relaxation, sums_ms, rows)
        if self.offer(filled, prices) and self.rows is filled:
            rows = filled
        for _ in range(TURNS):
            before = proven
            for candidate in implied(self.relaxation, sums_ms, rows):
                found = lagrangian.bound(self.relaxation, sums_ms, candidate)
                if found.total_ms > proven.total_ms:
                    prices, proven = candidate, found
            if proven is before or proven.total_ms >= self.target_ms:
                break
            edge, cloud = proven.by_number_ms.argmin(axis=1).tolist()
            better = repair.assign(self.relaxation, sums_ms, prices, (edge, cloud), False)
            if better is None or not self.offer(better, prices) or self.rows is not better:
                break
            rows = better
        self.prices = prices
        return rows, prices, proven

    def _assign(self, sums_ms: Floats, prices: Prices, numbers: tuple[int, int], bound_ms: float) -> Ints | None:
        """A feasible joint action with these numbers of sharers, or with better ones where that is not good enough."""
        found: list[tuple[float, Ints]] = []
        for shift in (False, True):
            rows = repair.assign(self.relaxation, sums_ms, prices, numbers, shift)
            if rows is not None and self.offer(rows, prices):
                found.append((repair.total_ms(self.relaxation, rows), rows))
            if bound_ms >= self.target_ms:
                break
        return min(found, key=lambda one: one[0])[1] if found else None

    def _refine(self, rows: Ints, sums_ms: Floats, prices: Prices, proven: Bound) -> None:
        """Better joint actions near these prices."""
        reduced_ms = core.reduced_ms(self.relaxation, prices)
        for options in (OPTIONS, OPTIONS // 2, OPTIONS // 4):
            few = core.core(self.relaxation, sums_ms, rows, core.cheapest(reduced_ms, rows, options))
            if few is not None and self._afford(few.cells, CORE_CELLS):
                found = core.solve(self.relaxation, sums_ms, few)
                rows = rows if found is None else found
                break
        self.offer(rows, prices)
        if proven.total_ms < self.target_ms:
            self.offer(repair.exchange(self.relaxation, rows, EXCHANGES), prices)

    def _afford(self, cells: int, most: int) -> bool:
        """Whether so many cells may be computed; if so, they are counted."""
        if cells > min(most, self._cells):
            return False
        self._cells -= cells
        return True

    def _prove(self, sums_ms: Floats, prices: Prices, proven: Bound) -> float:
        """The bound that the core proves, if it is small enough to be solved: all that beats the target is in it."""
        target_ms = self.target_ms
        if proven.total_ms >= target_ms:
            return proven.total_ms
        reduced_ms = core.reduced_ms(self.relaxation, prices)
        open_ = (reduced_ms <= target_ms - proven.hard_ms) & (reduced_ms < np.inf)
        few = core.core(self.relaxation, sums_ms, reduced_ms.argmin(axis=0), open_)
        if few is None or not self._afford(few.cells, PROOF_CELLS):
            return proven.total_ms
        found = core.solve(self.relaxation, sums_ms, few)
        if found is None:
            return target_ms
        self.offer(found, prices)
        return max(proven.total_ms, min(target_ms, repair.total_ms(self.relaxation, found)))

    def _parts(self, box: Box, proven: Bound, excess_ms: Floats, on: tuple[int, int] | None) -> list[Box]:
        """The box without numbers that cannot be better; where that is most of it, cut in two as well. None: no cut
        would prove more."""
        may = proven.by_number_ms < self.target_ms
        # What is cut off is proven to be this much, and no more.
        self._settled_ms = min(self._settled_ms, float(proven.by_number_ms[~may].min(initial=np.inf)))
        edge, cloud = (np.flatnonzero(of_tier).tolist() for of_tier in may)
        if not edge or not cloud:
            return []
        tight: Box = ((edge[0], edge[-1]), (cloud[0], cloud[-1]))
        kept = [(new[1] - new[0] + 1) / (old[1] - old[0] + 1) for new, old in zip(tight, box, strict=True)]
        if kept[0] * kept[1] < MUCH_TIGHTER:
            return [tight]
        cuts = [
            self._cut(tight[tier], proven.by_number_ms[tier], excess_ms[tier], None if on is None else on[tier])
            for tier in (0, 1)
        ]
        tier = int(cuts[1][1] > cuts[0][1])
        (low, high), (at, lacks_ms) = tight[tier], cuts[tier]
        if lacks_ms <= 0:
            return []
        halves = ((low, at), (at + 1, high))
        return [(half, tight[1]) if tier == 0 else (tight[0], half) for half in halves]

    def _cut(self, interval: Interval, by_number_ms: Floats, excess_ms: Floats, on: int | None) -> tuple[int, float]:
        """The last number of the lower half, and about how many ms the bound lacks for taking the tier as convex.

        At the joint action's number, if the bound has it far too cheap; else beside the number of the least bound.
        """
        low, high = interval
        if low == high:
            return low, 0.0
        best = low + int(by_number_ms[low : high + 1].argmin())
        if on is not None:
            number = min(max(on, low), high)
            if excess_ms[number] > 0.1 * (self.target_ms - by_number_ms[best]):
                return min(number, high - 1), float(excess_ms[number])
        up = best < high and (best == low or by_number_ms[best + 1] < by_number_ms[best - 1])
        at = best if up else best - 1
        return at, float(max(excess_ms[best], (excess_ms[at] + excess_ms[at + 1]) / 2)) + 1e-9


def _excess(sums_ms: Floats, prices: Prices) -> Floats:
    """(2, N + 1): by how many ms a number of sharers is dearer, at these prices, than the tier's best."""
    left_ms = sums_ms - np.array([[prices.edge], [prices.cloud]]) * np.arange(sums_ms.shape[1])
    excess_ms: Floats = left_ms - left_ms.min(axis=1, keepdims=True)
    return excess_ms
