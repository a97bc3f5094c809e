"""Refusal over delay: when messages wait too long, requests are answered as cheaply as can be, or not at all.

An answer that comes too late is worth nothing, and costs the next one its time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum

from broker.events import event

log = logging.getLogger(__name__)

MANY_PER_S = 200  # requests; whoever is late with fewer is late for another reason, and cheap answers would not help
CHEAP_FROM_S, CAUGHT_UP_S = 0.03, 0.012  # answers are cheap from here on, and no more from there on
NONE_FROM_S = 0.1  # before the broker's queue for us is full, which drops reports too


class Answer(Enum):
    """How one request is answered."""

    DECIDED = "decided"
    CHEAP = "cheap"
    NONE = "none"  # its device runs it by itself when it has waited long enough


class Overload:
    """Mutable. `cheap` and `unanswered` count the requests that were answered so."""

    def __init__(self, late_s: Callable[[float], float]) -> None:
        """`late_s`: how long messages wait, at a monotonic time in seconds."""
        self.cheap = self.unanswered = 0
        self._late_s = late_s
        self._is_on = self._many = False
        self._second_s, self._in_second = 0.0, 0

    def answer(self, now_s: float) -> Answer:
        """How the request that has just come is to be answered."""
        if now_s - self._second_s >= 1.0:
            self._second_s, self._many, self._in_second = now_s, self._in_second >= MANY_PER_S, 0
        self._in_second += 1
        late_s = self._late_s(now_s) if self._many or self._in_second >= MANY_PER_S else 0.0
        is_on = late_s >= (CAUGHT_UP_S if self._is_on else CHEAP_FROM_S)
        if is_on != self._is_on:
            self._is_on = is_on
            name = "overloaded" if is_on else "caught_up"
            event(log, logging.WARNING, name, cheap=self.cheap, unanswered=self.unanswered)
        if not is_on:
            return Answer.DECIDED
        if late_s >= NONE_FROM_S:
            self.unanswered += 1
            return Answer.NONE
        self.cheap += 1
        return Answer.CHEAP
