"""How long one decision takes, and what the agent holds, by the number of devices: one process, one core, in turn."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Sequence

import numpy as np

from benchmarks.learning_study.play import Watched
from benchmarks.learning_study.runs import Run
from benchmarks.learning_study.tables import Row

SIZES = (5, 20, 100, 300, 1000, 2000)
ROUNDS = 410
WARM_UP = 10  # rounds in which imports and caches happen
GOAL_MS, GOAL_USERS, GOAL_GAP = 10.0, 1000, 0.001


def scale(tell: Callable[[str], None], sizes: Sequence[int] = SIZES) -> list[Row]:
    """A row per size: `act`, `learn`, the largest certified gap, memory.

    As on a live site each observation is a new object, which `act` has to read first; what would be best without
    exploring is worked out at the end of `learn`, between rounds.
    """
    rows = []
    for users in sizes:
        tell(f"{users} devices")
        watched = Watched(Run("learn", "everything", "exp-b", "89", users, 1), "still")
        gaps = []
        for _ in range(ROUNDS):
            watched.see_anew()
            watched.round()
            gaps.append(watched.agent.gap)
        act_ms, learn_ms = watched.act_ms[WARM_UP:], watched.learn_ms[WARM_UP:]
        rows.append({
            "users": users,
            "act_p50_ms": round(float(np.median(act_ms)), 3),
            "act_p99_ms": round(float(np.percentile(act_ms, 99)), 3),
            "learn_p50_ms": round(float(np.median(learn_ms)), 3),
            "largest_gap_percent": round(100 * max(gaps[WARM_UP:]), 4),
            "memory_mb": round(_memory_mb(users), 3),
        })  # fmt: skip
    return rows


def _memory_mb(users: int) -> float:
    """What a second agent of this size adds, as Python and NumPy count it."""
    gc.collect()
    tracemalloc.start()
    watched = Watched(Run("learn", "everything", "exp-b", "89", users, 2), "still")
    for _ in range(12):
        watched.round()
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    watched.agent = None  # type: ignore[assignment]
    gc.collect()
    held = before - tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return held / 1e6
