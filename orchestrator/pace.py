"""When devices in closed loop are told to ask, and which completed rounds are announced. Pure; the time is passed in.

Synchronous: a round is opened when none is under way, and again while nobody asks. Immediate: "ask whenever you are
ready" is said each `open_period_s`; of the completed rounds, one per request, at most so many a second are announced,
since every device in closed loop hears them all.
"""

from __future__ import annotations

from broker.messages import Round
from configs.orchestrator import RoundsMode, RoundsSection

MOST_ENDS_PER_S = 20  # 1000 devices would otherwise hear a million announcements a second


class Pace:
    """What `round` says, and when. Times are monotonic seconds. Mutable: it remembers what it said last."""

    def __init__(self, settings: RoundsSection) -> None:
        self._period_s = settings.open_period_s
        self._immediate = settings.mode is RoundsMode.IMMEDIATE
        self._opened: tuple[int, float] = (0, float("-inf"))
        self._second_s = float("-inf")
        self._ends_in_second = 0

    def reconfigure(self, settings: RoundsSection) -> None:
        """Announce so often; the mode stays."""
        self._period_s = settings.open_period_s

    def opening(self, number: int, idle: bool, now_s: float) -> Round | None:
        """What to announce now of the round `number` that the next request begins; `idle`: no other is under way."""
        opened, opened_s = self._opened
        said_lately = now_s - opened_s < self._period_s
        if said_lately if self._immediate else not idle or (number == opened and said_lately):
            return None
        self._opened = (number, now_s)
        return Round(round=number, open=True, immediate=self._immediate)

    def tells_end(self, now_s: float) -> bool:
        """Whether the end of one more round is announced."""
        if not self._immediate:
            return True
        if now_s - self._second_s >= 1.0:
            self._second_s, self._ends_in_second = now_s, 0
        self._ends_in_second += 1
        return self._ends_in_second <= MOST_ENDS_PER_S
