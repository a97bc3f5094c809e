"""Whether the broker still answers: when to ask it, and when to give it up. Pure; the time is passed in.

Any byte from it shows that it lives. But only its answers, PUBACK and PINGRESP, show that what was sent has left: on
a weak link an image takes seconds, and a question behind it is answered no sooner.
"""

from __future__ import annotations

from collections import deque

LOOK_S = 0.5  # how often the link is looked at; a broker that says nothing for so long is asked
SILENT_S = 1.5  # a question unanswered for so long, with the pauses before it, means: frozen for at most 2.5 s
SLOWEST_BYTES_PER_S = 8000  # what was sent may need that long to leave: an image on a weak link is no silence
UNANSWERED_BYTES = 1000  # a talkative broker is asked too, or they would add up to an endless patience


class Silence:
    """One link. A broker answers in the order in which it was sent to (MQTT 5, 4.6). Mutable."""

    def __init__(self, keepalive_s: float, now_s: float) -> None:
        self._ask_after_s = keepalive_s / 2  # the broker wants to hear something within `keepalive_s`, too
        self._heard_s = self._asked_s = now_s
        self._silent_since_s: float | None = None
        self._answered_bytes = 0  # of all that was sent, in order
        self._publishes: deque[int] = deque()  # the last byte of each that has no PUBACK yet
        self._questions: deque[int] = deque()

    def heard(self, now_s: float) -> None:
        """Bytes came."""
        self._heard_s, self._silent_since_s = now_s, None

    def published(self, last_byte: int) -> None:
        """A packet that the broker will acknowledge leaves; `last_byte` is its place in all that was sent."""
        self._publishes.append(last_byte)

    def acknowledged(self) -> None:
        """A PUBACK came."""
        self._answer(self._publishes)

    def answered(self) -> None:
        """A PINGRESP came."""
        self._answer(self._questions)

    def asks(self, now_s: float, sent_bytes: int) -> bool:
        """Whether to send a PINGREQ now, behind `sent_bytes`; it counts as sent."""
        silent = now_s - self._heard_s >= LOOK_S
        if silent and self._silent_since_s is None:
            self._silent_since_s = now_s
        much = sent_bytes - self._answered_bytes >= UNANSWERED_BYTES
        if self._questions or not (silent or much or now_s - self._asked_s >= self._ask_after_s):
            return False
        self._asked_s = now_s
        self._questions.append(sent_bytes)
        return True

    def gives_up(self, now_s: float, sent_bytes: int) -> bool:
        """Whether the broker is frozen, or out of reach."""
        if self._silent_since_s is None:
            return False
        on_its_way_s = (sent_bytes - self._answered_bytes) / SLOWEST_BYTES_PER_S
        return now_s - self._silent_since_s >= SILENT_S + on_its_way_s

    def _answer(self, waiting: deque[int]) -> None:
        if waiting:
            self._answered_bytes = max(self._answered_bytes, waiting.popleft())
