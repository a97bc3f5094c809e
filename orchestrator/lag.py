"""How far behind the messages this process is: by a ping to itself, which waits in the broker behind all the others.

Neither the loop nor the socket can tell: what the broker has not handed over yet waits there. Pure; the time is passed
in.
"""

from __future__ import annotations

PING_PERIOD_S = 0.02
PREFIX = "orchestrator-lag-"


class Lag:
    """Mutable. Until a first ping of a session has come back nothing is known, and nothing is late."""

    def __init__(self) -> None:
        self._sent: dict[str, float] = {}
        self._count = 0
        self._last_s = 0.0
        self._known = False

    def reset(self) -> None:
        """A new session: pings of the last one will not come back."""
        self._sent.clear()
        self._last_s, self._known = 0.0, False

    def next_ping(self, now_s: float) -> str:
        """The id of a ping that leaves now."""
        self._count += 1
        ping_id = f"{PREFIX}{self._count}"
        if not self._known:
            self._sent.clear()
        self._sent[ping_id] = now_s
        return ping_id

    def heard(self, ping_id: str, now_s: float) -> bool:
        """A ping has come. Whether it was one of ours; those before it are lost, or came."""
        if ping_id not in self._sent:
            return ping_id.startswith(PREFIX)
        self._last_s = now_s - self._sent[ping_id]
        for older in list(self._sent):
            del self._sent[older]
            if older == ping_id:
                break
        self._known = True
        return True

    def seconds(self, now_s: float) -> float:
        """The way of the last ping, or the age of the oldest that is still under way."""
        if not self._known:
            return 0.0
        oldest_s = next(iter(self._sent.values()), now_s)
        return max(self._last_s, now_s - oldest_s)
