"""The link to the broker, from what the node sends anyway: round trips of small messages, throughput of uploads.

Pure: times are passed in. One hiccup does not make a link weak: the median of recent samples is compared, and a link
that is weak must be clearly better than the threshold to be regular again.
"""

from __future__ import annotations

from collections import deque
from statistics import median

from broker.vocabulary import Link

SAMPLES = 5  # of which the median is taken: two outliers do not matter
ENOUGH = 3  # samples to judge by: with fewer, the median may be the hiccup itself
SAMPLE_LIFE_S = 60.0  # what was measured longer ago says nothing about now
RECOVERY = 0.8  # share of the threshold below which a weak round trip counts as regular again


class LinkEstimator:
    """Bandwidth of one link: regular or weak (Table 3), by thresholds on round trip and throughput."""

    def __init__(self, weak_rtt_ms: float, weak_uplink_mbit_s: float) -> None:
        self._weak_rtt_ms = weak_rtt_ms
        self._weak_uplink_mbit_s = weak_uplink_mbit_s
        self._round_trips: deque[tuple[float, float]] = deque(maxlen=SAMPLES)
        self._uploads: deque[tuple[float, float]] = deque(maxlen=SAMPLES)
        self._weak = False

    def reconfigure(self, weak_rtt_ms: float, weak_uplink_mbit_s: float) -> None:
        """From the next judgement on, by these thresholds."""
        self._weak_rtt_ms = weak_rtt_ms
        self._weak_uplink_mbit_s = weak_uplink_mbit_s

    def round_trip(self, at_s: float, rtt_ms: float) -> None:
        """A small message was acknowledged after `rtt_ms`."""
        self._round_trips.append((at_s, rtt_ms))
        self._judge(at_s)

    def upload(self, at_s: float, size_bytes: int, took_s: float) -> None:
        """An image of `size_bytes` was acknowledged after `took_s`."""
        if took_s > 0:
            self._uploads.append((at_s, size_bytes * 8 / 1e6 / took_s))
            self._judge(at_s)

    def rtt_ms(self, now_s: float) -> float | None:
        """The median of recent round trips; None without one."""
        return _recent_median(self._round_trips, now_s)

    def uplink_mbit_s(self, now_s: float) -> float | None:
        """The median throughput of recent uploads; None without one."""
        return _recent_median(self._uploads, now_s)

    def settled(self, now_s: float) -> bool:
        """Whether there are recent round trips enough for a median that one hiccup cannot move."""
        return len(_recent(self._round_trips, now_s)) == SAMPLES

    def link(self, now_s: float) -> Link:
        """What the link counts as; without recent samples, as what it counted last."""
        self._judge(now_s)
        return Link.WEAK if self._weak else Link.REGULAR

    def _judge(self, now_s: float) -> None:
        round_trips, uploads = _recent(self._round_trips, now_s), _recent(self._uploads, now_s)
        if len(round_trips) < ENOUGH and len(uploads) < ENOUGH:
            return
        margin = RECOVERY if self._weak else 1.0
        slow = len(round_trips) >= ENOUGH and median(round_trips) >= self._weak_rtt_ms * margin
        narrow = len(uploads) >= ENOUGH and median(uploads) < self._weak_uplink_mbit_s / margin
        self._weak = slow or narrow


def _recent(samples: deque[tuple[float, float]], now_s: float) -> list[float]:
    return [value for at_s, value in samples if at_s >= now_s - SAMPLE_LIFE_S]


def _recent_median(samples: deque[tuple[float, float]], now_s: float) -> float | None:
    recent = _recent(samples, now_s)
    return median(recent) if recent else None
