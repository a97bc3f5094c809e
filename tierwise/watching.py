"""Messages of a site as a person sees them: what each says, or why no node would act on it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from broker.clock import Clock
from broker.errors import Refused
from broker.incoming import accept
from broker.messages import Message
from broker.publish_packet import Publish
from broker.tap import Tap
from broker.topics import Address, Channel, parse
from broker.vocabulary import SiteId
from tierwise.message_words import image_format, printable, words
from tierwise.person import CONNECT_TIMEOUT_S, Bus, linked, name_for

ALL_CHANNELS = frozenset(Channel)
SILENCE_S = 3.0
MOST_WAITING = 10_000  # messages that a slow terminal may be behind
MOST_WAITING_BYTES = 20_000_000  # of their payloads


@dataclass(frozen=True, slots=True)
class Seen:
    """One message. Of `body` and `refused` one is None; `address` is None for a topic that is none of ours."""

    wall_s: float
    topic: str
    retained: bool
    qos: int
    expiry_s: int | None
    size_bytes: int
    address: Address | None
    body: Message | bytes | None
    refused: Refused | None

    @property
    def channel(self) -> str:
        """The channel, or a question mark."""
        return "?" if self.address is None else str(self.address.channel)

    def says(self) -> str:
        """In short, on one line, with nothing in it that a terminal would obey."""
        if self.refused is not None:
            where = f" on {self.topic}" if self.address is None else ""
            return printable(f"refused, {self.refused}{where}")
        if isinstance(self.body, bytes):
            device = "" if self.address is None else f" from {self.address.device}"
            return f"{image_format(self.body)}, {self.size_bytes / 1000:.1f} kB{device}"
        return "" if self.body is None else printable(words(self.body))

    def as_json(self) -> dict[str, Any]:
        """One object: `message`, `image` or `refused` says what it was."""
        address = self.address
        common = {
            "time": datetime.fromtimestamp(self.wall_s, UTC).isoformat(timespec="milliseconds"),
            "topic": self.topic,
            "node": None if address is None else address.node,
            "channel": None if address is None else str(address.channel),
            "device": None if address is None else address.device,
            "retained": self.retained,
            "qos": self.qos,
            "expiry_s": self.expiry_s,
            "bytes": self.size_bytes,
        }
        if self.refused is not None:
            return {**common, "refused": self.refused.reason, "detail": self.refused.detail}
        if isinstance(self.body, bytes):
            return {**common, "image": image_format(self.body)}
        return {**common, "message": msgspec.to_builtins(self.body)}


def seen(publish: Publish, site: SiteId, wall_s: float) -> Seen:
    """What `publish` is to a person; of any bytes."""
    topic = publish.topic.decode(errors="backslashreplace")
    address, body, refused = None, None, None
    try:
        address = parse(topic)
        body = accept(publish, site, ALL_CHANNELS, 0.0).body
    except Refused as refusal:
        refused = refusal
    qos = 0 if publish.packet_id is None else 1
    return Seen(wall_s, topic, publish.retain, qos, publish.expiry_s, len(publish.payload), address, body, refused)


@dataclass(frozen=True, slots=True)
class Limits:
    """When to stop watching: after so many messages, or seconds; None for never."""

    count: int | None = None
    seconds: float | None = None


class Watching:
    """Yields what passes. `counts` and `missed` are what a summary needs; `note` is called with what else to say."""

    def __init__(self, bus: Bus, filters: Sequence[str], clock: Clock, note: Callable[[str], None]) -> None:
        self.counts: Counter[str] = Counter()
        self.missed = 0
        self._bus = bus
        self._clock = clock
        self._note = note
        self._waiting: asyncio.Queue[Seen] = asyncio.Queue(MOST_WAITING)
        self._waiting_bytes = 0
        self._was_connected = False
        self._tap = Tap(bus.endpoint, bus.site, name_for("watch"), self._hear, clock)
        self._tap.on_connect.append(self._on_connect)
        self._tap.on_disconnect.append(lambda: note(f"the connection to {bus.endpoint} is lost; trying again"))
        for topic_filter in filters:
            self._tap.listen(topic_filter)

    async def messages(self, limits: Limits, silent: str) -> AsyncGenerator[Seen, None]:
        """Each message until a limit is reached; `silent` is said once if nothing came within 3 s.

        Raises NotConnected when there is no broker at the start; one that goes away later is waited for.
        """
        async with linked(self._tap):
            await self._tap.wait_connected(CONNECT_TIMEOUT_S)
            if self._tap.denied:
                self._note(f"the broker does not let you listen to all of this: {self._tap.denied}")
            started_s = self._clock.monotonic()
            hinted = False
            while limits.count is None or sum(self.counts.values()) < limits.count:
                passed_s = self._clock.monotonic() - started_s
                left_s = float("inf") if limits.seconds is None else limits.seconds - passed_s
                waits_for_hint = not hinted and not self.counts
                wait_s = min(left_s, max(0.0, SILENCE_S - passed_s) if waits_for_hint else float("inf"))
                try:
                    message = await asyncio.wait_for(self._waiting.get(), None if wait_s == float("inf") else wait_s)
                except TimeoutError:
                    if left_s <= wait_s:
                        return
                    self._note(silent)
                    hinted = True
                    continue
                self._waiting_bytes -= message.size_bytes
                self.counts[message.channel if message.refused is None else "refused"] += 1
                yield message

    def _hear(self, publish: Publish, _received_s: float) -> None:
        size_bytes = len(publish.payload)
        if self._waiting.full() or self._waiting_bytes + size_bytes > MOST_WAITING_BYTES:
            self.missed += 1
            return
        self._waiting_bytes += size_bytes
        self._waiting.put_nowait(seen(publish, self._bus.site, self._clock.wall()))

    def _on_connect(self) -> None:
        if self._was_connected:
            self._note(f"connected to {self._bus.endpoint} again")
        self._was_connected = True
