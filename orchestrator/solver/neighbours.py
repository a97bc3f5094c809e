"""A joint action improved by other numbers of sharers, near to its own, at the prices that it implies.

Prices alone do not tell numbers apart where many devices are alike: all of them prefer the same thing at any price but
one. So the numbers nearby are simply tried, as long as that helps.
"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.solver import repair
from orchestrator.solver.implied import implied
from orchestrator.solver.lagrangian import Prices, Relaxation
from orchestrator.solver.problem import Floats, Ints

STEPS = (1, 2, 4)
TURNS = 6
# Devices from which on only the smallest step is tried: a try takes about half a millisecond there.
MANY = 300

Offer = Callable[[Ints, Prices], bool]


def improve(relaxation: Relaxation, rows: Ints, offer: Offer, best: Callable[[], Ints | None]) -> None:
    """Offer the joint actions with numbers of sharers near to those of `rows`, and so on from the best of them.

    `best()`: the best that was offered so far.
    """
    sums_ms = relaxation.sums_ms
    tried: set[tuple[int, int]] = set()
    for _ in range(TURNS):
        edge, cloud = repair.on_tiers(relaxation, rows)
        prices = implied(relaxation, sums_ms, rows)
        for numbers in _near(edge, cloud, len(rows)):
            if numbers in tried or not _possible(numbers, sums_ms):
                continue
            tried.add(numbers)
            for candidate in prices:
                found = repair.assign(relaxation, sums_ms, candidate, numbers, False)
                if found is not None:
                    offer(repair.fill(relaxation, sums_ms, found), candidate)
        better = best()
        if better is None or better is rows:
            return
        rows = better


def _near(edge: int, cloud: int, devices: int) -> list[tuple[int, int]]:
    near = [(edge, cloud)]
    for step in STEPS if devices < MANY else STEPS[:1]:
        for more_edge, more_cloud in ((step, 0), (-step, 0), (0, step), (0, -step), (step, -step), (-step, step)):
            near.append((edge + more_edge, cloud + more_cloud))
    return near


def _possible(numbers: tuple[int, int], sums_ms: Floats) -> bool:
    most = sums_ms.shape[1] - 1
    return all(0 <= number <= most and sums_ms[tier, number] < float("inf") for tier, number in enumerate(numbers))
