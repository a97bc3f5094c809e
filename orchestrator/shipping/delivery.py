"""One batch on its way: all of it, or all but the points that are at fault. Pure but for `send`.

A server that refuses a write may have stored its good points (InfluxDB 1.x: "partial write"); that they are sent again
overwrites them with themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.errors import InfluxUnavailable, PointsRefused

Send = Callable[[Sequence[str]], None]


@dataclass(frozen=True, slots=True)
class Waiting:
    """One row that is to leave."""

    row_id: int
    line: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """One row that the server will never take, and what it said."""

    waiting: Waiting
    status: int
    message: str


def deliver(batch: Sequence[Waiting], send: Send, known_good: str) -> list[Refusal]:
    """The points that are refused for good; all others are stored. Raises InfluxUnavailable: then nothing is settled.

    `send` raises PointsRefused for a write that holds at least one bad point. A refused batch is halved until each bad
    point is alone; but first `known_good` is sent, a point that nothing is wrong with: if that is refused too, the
    fault is the server's, and no row's.
    """
    if not batch:
        return []
    try:
        send([waiting.line for waiting in batch])
    except PointsRefused as refused:
        try:
            send([known_good])
        except PointsRefused as error:
            raise InfluxUnavailable(
                f"the server refuses even a plain test point ({error.status}): {error.message}", error.status
            ) from error
        return _halved(batch, send, refused)
    return []


def _halved(batch: Sequence[Waiting], send: Send, refused: PointsRefused) -> list[Refusal]:
    if len(batch) == 1:
        return [Refusal(batch[0], refused.status, refused.message)]
    middle = len(batch) // 2
    found: list[Refusal] = []
    for half in (batch[:middle], batch[middle:]):
        try:
            send([waiting.line for waiting in half])
        except PointsRefused as error:
            found += _halved(half, send, error)
    return found
