"""Which devices the rounds wait for: not one that does not report, nor one that always asks last and late. Pure.

A device that asks and does not report holds a round up until its deadline. Each time is a *hold-up*; it is forgiven
after FORGIVEN_AFTER deadlines, so that a device can take no more than that share of the site's time, however it mixes
reports with silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from broker.vocabulary import NodeId

MAX_MISSING = 2  # reports in a row
MAX_HOLD_UPS = 1.5  # not yet forgiven: two within half the time of forgiving
MAX_HOLD_UPS_TO_RETURN = 2.0  # so the first time one report is enough
MAX_REMEMBERED_HOLD_UPS = 4.0
FORGIVEN_AFTER = 60.0  # deadlines, for each hold-up
LATE_SHARE = 0.75  # of the window: who asks after that was late, if most had asked within PROMPT_SHARE of it
PROMPT_SHARE = 0.5
LATE_ROUNDS = 5  # in a row; it is waited for again after as many in which it was prompt


@dataclass(slots=True)
class _History:
    hold_ups: float = 0.0
    counted_s: float = float("-inf")
    in_a_row: int = 0
    alone: bool = False
    reported: bool = False


@dataclass(slots=True)
class _Lateness:
    late: bool = False
    rounds: int = 0  # in a row in which it was late; of one that is late: in which it was prompt


class AwaitedDevices:
    """Mutable. Times are monotonic seconds. `changed` is called with a device, and whether it is decided alone now."""

    def __init__(self, hold_up_s: float, changed: Callable[[NodeId, bool], None]) -> None:
        self.hold_up_s = hold_up_s
        self._changed = changed
        self._histories: dict[NodeId, _History] = {}
        self._lateness: dict[NodeId, _Lateness] = {}

    def decided_alone(self, device: NodeId, now_s: float) -> bool:
        """Whether a request that `device` makes now is decided outside the joint round."""
        known = self._histories.get(device)
        if known is None or not known.alone:
            return False
        if known.reported and self._hold_ups(known, now_s) <= MAX_HOLD_UPS_TO_RETURN:
            known.alone, known.in_a_row = False, 0
            self._changed(device, False)
        return known.alone

    def waits_for(self, device: NodeId) -> bool:
        """Whether a round waits for this device's request, and the next one for its report."""
        known, lateness = self._histories.get(device), self._lateness.get(device)
        return (known is None or not known.alone) and (lateness is None or not lateness.late)

    def on_report(self, device: NodeId) -> None:
        """The report of a request that was decided came in time."""
        known = self._histories.get(device)
        if known is not None:
            known.in_a_row, known.reported = 0, True

    def on_missing(self, device: NodeId, now_s: float) -> None:
        """An awaited report did not come in time. Several that are overdue together count once."""
        known = self._histories.setdefault(device, _History())
        if known.alone or now_s - known.counted_s < self.hold_up_s / 2:
            return
        known.in_a_row += 1
        known.hold_ups = min(MAX_REMEMBERED_HOLD_UPS, self._hold_ups(known, now_s) + 1.0)
        known.counted_s = now_s
        if known.in_a_row >= MAX_MISSING or known.hold_ups > MAX_HOLD_UPS:
            known.alone, known.reported = True, False
            self._changed(device, True)

    @property
    def any_late(self) -> bool:
        """Whether any device is late, or was in its last round."""
        return bool(self._lateness)

    def on_late(self, devices: Iterable[NodeId]) -> None:
        """They asked late what others had asked for early, or not at all."""
        for device in devices:
            known = self._lateness.setdefault(device, _Lateness())
            known.rounds = 0 if known.late else known.rounds + 1
            if known.rounds >= LATE_ROUNDS:
                known.late, known.rounds = True, 0

    def on_prompt(self, devices: Iterable[NodeId]) -> None:
        """They were among the first of several."""
        for device in devices:
            known = self._lateness.get(device)
            if known is not None:
                known.rounds += 1
                if not known.late or known.rounds >= LATE_ROUNDS:
                    del self._lateness[device]

    def _hold_ups(self, known: _History, now_s: float) -> float:
        return max(0.0, known.hold_ups - (now_s - known.counted_s) / (FORGIVEN_AFTER * self.hold_up_s))
