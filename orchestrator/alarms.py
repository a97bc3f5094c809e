"""The conditions of a site that a person should look at, one place for all of them. The clock is passed in.

An alarm is identified by its code and the node that it is about (None: the site or the orchestrator itself). It is
raised when the condition begins, again as often as it is found, and cleared when it is over. The `summary` message
lists what is raised.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

from broker.clock import Clock
from broker.events import event
from broker.messages import cut
from broker.rate_limit import RefusalLog
from broker.vocabulary import NodeId

log = logging.getLogger(__name__)

MAX_ALARMS = 1000  # node ids come from outside and must not fill the memory
MAX_LINES_PER_S = 5
MIN_LOG_INTERVAL_S = 60.0  # of one alarm that comes and goes
MAX_REMEMBERED = 2 * MAX_ALARMS  # alarms of which the last log line is remembered


@dataclass(frozen=True, slots=True)
class Alarm:
    """One condition. `since_s`: wall clock, seconds since 1970. `detail`: what is wrong; `hint`: what mends it."""

    code: str
    node: NodeId | None
    since_s: float
    detail: str
    hint: str = ""


class Alarms:
    """All raised alarms of one site. Mutable; used by the loop's thread alone.

    At most MAX_ALARMS are kept: of more, the oldest stay and the new ones are counted in `discarded`.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._raised: dict[tuple[str, NodeId | None], Alarm] = {}
        self._announced: set[tuple[str, NodeId | None]] = set()  # of the raised ones: those that were logged
        self._logged_s: dict[tuple[str, NodeId | None], float] = {}
        self._lines = RefusalLog(MAX_LINES_PER_S)
        self.discarded = 0
        self.version = 0  # changes with every change of the list

    def __len__(self) -> int:
        return len(self._raised)

    def current(self) -> list[Alarm]:
        """What is raised, the oldest first."""
        return list(self._raised.values())

    def is_raised(self, code: str, node: NodeId | None = None) -> bool:
        """Whether this alarm is raised."""
        return (code, node) in self._raised

    def raise_(self, code: str, node: NodeId | None, detail: str, hint: str = "", *, quiet: bool = False) -> bool:
        """Raise an alarm, or update the texts of a raised one. True: it was not raised before.

        `code` is one word with underscores, `detail` and `hint` a sentence each, cut to 300 characters.
        A new alarm is logged as `alarm_raised`, but one that comes and goes at most once a minute, and a `quiet` one,
        whose beginning and end have events of their own, not at all.
        """
        key, detail, hint = (code, node), cut(detail), cut(hint)
        known = self._raised.get(key)
        if known is not None:
            changed = replace(known, detail=detail, hint=hint)
            if changed != known:
                self._raised[key] = changed
                self.version += 1
            return False
        if len(self._raised) >= MAX_ALARMS:
            self.discarded += 1
            self._log(key, "alarm_discarded", detail=detail, alarms=len(self._raised))
            return False
        self._raised[key] = Alarm(code, node, self._clock.wall(), detail, hint)
        self.version += 1
        if not quiet and self._log(key, "alarm_raised", detail=detail, hint=hint):
            self._announced.add(key)
        return True

    def clear(self, code: str, node: NodeId | None = None) -> bool:
        """End an alarm. True: it was raised. Logged as `alarm_cleared` if its beginning was."""
        key = (code, node)
        alarm = self._raised.pop(key, None)
        if alarm is None:
            return False
        self.version += 1
        if key in self._announced:
            self._announced.discard(key)
            where = {} if node is None else {"node": node}
            lasted_s = max(0.0, self._clock.wall() - alarm.since_s)
            event(log, logging.INFO, "alarm_cleared", code=code, **where, lasted_s=lasted_s)
        return True

    def _log(self, key: tuple[str, NodeId | None], name: str, **told: object) -> bool:
        """Log unless this alarm, or too many others, were logged lately. Returns whether it was logged."""
        now_s = self._clock.monotonic()
        last_s = self._logged_s.get(key)
        if last_s is not None and now_s - last_s < MIN_LOG_INTERVAL_S:
            return False
        allowed, suppressed = self._lines.says(now_s)
        if not allowed:
            return False
        self._logged_s.pop(key, None)
        if len(self._logged_s) >= MAX_REMEMBERED:
            del self._logged_s[next(iter(self._logged_s))]
        self._logged_s[key] = now_s
        where = {} if key[1] is None else {"node": key[1]}
        more = {"more_before": suppressed} if suppressed else {}
        event(log, logging.WARNING, name, code=key[0], **where, **told, **more)
        return True
