"""When a device asks. Pure: clocks are read by the caller.

PeriodicTicks       whole multiples of the period on the wall clock, the same for every device of a site
RoundGate           once for each open round, whenever ready where requests are decided at once, or after a silence
"""

from __future__ import annotations

import math


class PeriodicTicks:
    """The next whole multiple of `period_s`, each once, however the wall clock jumps."""

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._next: int | None = None
        self._last: int | None = None

    def reconfigure(self, period_s: float) -> None:
        """Count in another period; what was asked in the old one is no tick of the new."""
        if period_s != self._period_s:
            self._period_s, self._next, self._last = period_s, None, None

    def wait_s(self, wall_s: float) -> float:
        """Seconds until the next tick; 0 or less when it is due. Ask again after at most that long."""
        following = math.floor(wall_s / self._period_s) + 1
        # More than a period away, or missed by more than one: the clock was set, or the machine slept.
        if self._next is None or not following - 1 <= self._next <= following + 1:
            # A clock that is set back by less must not bring the last tick a second time.
            self._next = following + 1 if following == self._last else following
        return self._next * self._period_s - wall_s

    def take(self) -> None:
        """The tick that was due is used; those that a forward jump or a slow request skipped are gone."""
        self._last, self._next = self._next, None


class RoundGate:
    """One request each time a round opens; after `open_timeout_s` without a word about rounds, one anyway.

    An open round is announced again while nobody has asked. So what is heard while a request is under way may be its
    own round's echo, and the same number heard after it means that the orchestrator knows nothing of it (the request
    was lost, or the orchestrator started again): then it is asked again.

    Where requests are decided at once (`immediate`), the device asks again as soon as its own has ended, without
    another word: until `open_timeout_s` after the last such announcement, or until a request that got no decision.
    """

    def __init__(self, open_timeout_s: float, now_s: float) -> None:
        self._open_timeout_s = open_timeout_s
        self._heard_s = now_s
        self._open: int | None = None
        self._asked: int | None = None
        self._immediate_until_s = float("-inf")

    def reconfigure(self, open_timeout_s: float) -> None:
        """Wait so long from now on, also in a silence that has begun."""
        self._open_timeout_s = open_timeout_s

    def heard(self, round_number: int, is_open: bool, now_s: float, immediate: bool = False) -> None:
        """The orchestrator opened a round, or said how one ended."""
        self._heard_s = now_s
        if is_open:
            self._open = round_number
            self._immediate_until_s = now_s + self._open_timeout_s if immediate else float("-inf")
        elif self._open == round_number:
            self._open = None

    def wait_s(self, now_s: float) -> float:
        """Seconds until a request is due if nothing more is heard; 0 or less when it is due."""
        if self._open is not None or now_s < self._immediate_until_s:
            return 0.0
        return self._heard_s + self._open_timeout_s - now_s

    def take(self) -> None:
        """The request that was due begins."""
        self._asked = self._open

    def ended(self, now_s: float, decided: bool = True) -> None:
        """The request is over; `decided`: the orchestrator answered it."""
        if self._open == self._asked:
            self._open = None
        if not decided:
            self._immediate_until_s = float("-inf")
        self._heard_s = max(self._heard_s, now_s)
