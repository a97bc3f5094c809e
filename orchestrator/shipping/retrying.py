"""Dead letters sent once more, by hand, after their cause was mended. May run beside the shipper."""

from __future__ import annotations

from orchestrator.errors import PointsRefused
from orchestrator.shipping.delivery import Send
from orchestrator.shipping.outbox import SOURCES, Outbox


def retry_dead_letters(outbox: Outbox, send: Send) -> tuple[int, int]:
    """How many were taken, and how many refused again. Each goes alone. Raises InfluxUnavailable, sqlite3.Error."""
    taken = refused = 0
    for source in SOURCES:
        for letter in outbox.dead_letters(source.name):
            try:
                send([letter.line])
            except PointsRefused:
                refused += 1
            else:
                outbox.revive(source.name, letter.row_id)
                taken += 1
    return taken, refused
