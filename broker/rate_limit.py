"""How much one sender may say to one process: token buckets. Pure; the time is passed in."""

from __future__ import annotations

from dataclasses import dataclass

MINUTE_LINES = 3  # times as many as in a second
MOST_SENDERS = 50_000  # ids come from outside and must not fill the memory; who came last is kept


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled_s: float


class RateLimit:
    """Each sender may say `per_s` messages a second for ever, and `burst` at once after a silence. Mutable."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._buckets: dict[str, _Bucket] = {}

    def takes(self, sender: str, now_s: float) -> bool:
        """Whether one more message of `sender` is within its rate at `now_s` (monotonic seconds)."""
        bucket = self._buckets.get(sender)
        if bucket is None:
            if len(self._buckets) >= MOST_SENDERS:
                del self._buckets[next(iter(self._buckets))]
            bucket = self._buckets[sender] = _Bucket(self._burst, now_s)
        bucket.tokens = min(self._burst, bucket.tokens + (now_s - bucket.filled_s) * self._per_s)
        bucket.filled_s = now_s
        if bucket.tokens < 1.0:
            return False
        bucket.tokens -= 1.0
        return True


class RefusalLog:
    """Which refusals get a line in the log: so many in a second, and three times as many in a minute.

    A flood of them would cost more than its messages, and one that lasts would fill the disk.
    """

    def __init__(self, lines_per_s: int = 20) -> None:
        self._lines_per_s = lines_per_s
        self._second = 0
        self._lines = 0
        self._minute = 0
        self._lines_of_minute = 0
        self._unsaid = 0

    def says(self, now_s: float) -> tuple[bool, int]:
        """Whether one more is logged, and how many were not in an earlier second and have not been told of yet."""
        unsaid = 0
        if int(now_s) != self._second:
            self._second, self._lines = int(now_s), 0
            unsaid, self._unsaid = self._unsaid, 0
        if int(now_s) // 60 != self._minute:
            self._minute, self._lines_of_minute = int(now_s) // 60, 0
        self._lines += 1
        if self._lines > self._lines_per_s or self._lines_of_minute >= MINUTE_LINES * self._lines_per_s:
            self._unsaid += 1
            return False, unsaid
        self._lines_of_minute += 1
        return True, unsaid
