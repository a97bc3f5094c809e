"""Rules about logs: that of Mosquitto, and those of agents and orchestrators."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from broker.client import TAKEOVER_WINDOW_S
from tierwise.doctor.finding import Rules, Told

MAX_READ_BYTES = 5_000_000  # from the end of a log
# Mosquitto stamps lines as we configure it, or with seconds since 1970; a journal puts its own stamp before ours.
TAKEN_OVER = (
    re.compile(r"^(?P<when>[0-9T:-]{19}|[0-9]{10}): Client (?P<who>\S+) already connected, closing old connection"),
    re.compile(r"(?P<when>[0-9-]{10} [0-9:]{8}),[0-9]{3} .*\bsession_taken_over node=(?P<who>\S+)"),
)


@dataclass(frozen=True, slots=True)
class LogFile:
    """The end of a log."""

    text: str


log_rules: Rules[LogFile] = Rules()


@log_rules.error("session-taken-over")
def session_taken_over(log: LogFile) -> Iterator[Told]:
    """Two processes use one identity, and end each other's connection."""
    times: dict[str, list[datetime]] = defaultdict(list)
    for line in log.text.splitlines():
        for pattern in TAKEN_OVER:
            if (found := pattern.search(line)) is not None and (when := _time(found["when"])) is not None:
                times[found["who"]].append(when)
    for who, taken in times.items():
        window = timedelta(seconds=TAKEOVER_WINDOW_S)
        if any(later - before <= window for before, later in pairwise(taken)):
            yield Told(
                f"connections of {who} were taken over {len(taken)} times, the last time on {taken[-1]}",
                "Stop one of the two processes with that identity, or give it a node id and certificate of its own",
            )


def end_of(path: Path) -> LogFile:
    """The last MAX_READ_BYTES of a log. Raises OSError."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - MAX_READ_BYTES))
        return LogFile(file.read().decode(errors="replace"))


def _time(written: str) -> datetime | None:
    try:
        if written.isdecimal():
            return datetime.fromtimestamp(int(written), UTC).replace(tzinfo=None)
        return datetime.fromisoformat(written)
    except (ValueError, OverflowError):
        return None
