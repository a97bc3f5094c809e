"""What one link has published with QoS 1 and the broker has not taken yet: so many at a time, the others wait. Pure."""

from __future__ import annotations

from collections import deque

from broker.errors import TooManyWaiting

MOST_IN_FLIGHT = 1000  # whatever the broker allows
MOST_WAITING = 5_000  # a second of a large site; whoever publishes more is told so
FIRST_ID, LAST_ID = 1024, 65_535  # below are the ids of subscriptions, which are paho's


class PublishWindow:
    """Respects the broker's Receive Maximum, so that it never ends the link for one message too many. Mutable."""

    def __init__(self) -> None:
        self.most_in_flight = MOST_IN_FLIGHT
        self._in_flight: set[int] = set()
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._last_id = FIRST_ID - 1

    def next_id(self) -> int:
        """A packet id that nothing in flight or waiting has. Raises TooManyWaiting."""
        if len(self._waiting) >= MOST_WAITING:
            raise TooManyWaiting(f"{MOST_WAITING} messages wait for the broker to take them")
        self._last_id = FIRST_ID if self._last_id >= LAST_ID else self._last_id + 1
        return self._last_id

    def offer(self, packet_id: int, packet: bytes) -> bool:
        """Whether this packet may leave now; else it waits for its turn."""
        if len(self._in_flight) < self.most_in_flight:
            self._in_flight.add(packet_id)
            return True
        self._waiting.append((packet_id, packet))
        return False

    def taken(self, packet_id: int) -> bytes | None:
        """The broker has taken this one: the packet whose turn it is now, if there is one."""
        if packet_id not in self._in_flight:
            return None
        self._in_flight.remove(packet_id)
        if not self._waiting:
            return None
        following, packet = self._waiting.popleft()
        self._in_flight.add(following)
        return packet
