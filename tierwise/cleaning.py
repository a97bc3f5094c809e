"""Looks at what a site's broker retains, and removes of it what is told, unless its node comes back.

MQTT has no "remove if unchanged". So every message is heard in the broker's order: what was heard before the removal
is not removed; what slipped in between the decision and the removal is seen to have been removed, and is put back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType

from broker.clock import Clock
from broker.codec import CARRIAGE, encode
from broker.errors import NotConnected
from broker.messages import Ping
from broker.publish_packet import Publish
from broker.tap import Tap
from broker.topics import Address, Channel, filter_for_everything, topic_for
from broker.vocabulary import new_request_id
from tierwise.errors import NotCleaned
from tierwise.ghosts import Ghost, Survey
from tierwise.message_words import printable
from tierwise.person import CONNECT_TIMEOUT_S, Bus, linked, name_for

ANSWER_TIMEOUT_S = 10.0
MOST_REPAIRS = 5
AT_ONCE = 500  # removals: far fewer than may wait for the broker


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What became of each ghost: removed; left, or put back, as its node came back; or the broker refused."""

    removed: tuple[Ghost, ...]
    came_back: tuple[Ghost, ...]
    denied: tuple[Ghost, ...] = ()


@dataclass(slots=True)
class _Removal:
    """One topic from the decision on. `wanted` is what somebody else has put there since."""

    ours: list[bytes] = field(default_factory=lambda: [b""])
    wanted: bytes = b""

    def hear(self, payload: bytes) -> None:
        if payload in self.ours:
            self.ours.remove(payload)
        else:
            self.wanted = payload


class Cleaning:
    """One connection: `async with Cleaning(...)`, then `look`, and perhaps `remove`. `survey` is what was heard."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self.survey = Survey(bus.site)
        self.tap = Tap(bus.endpoint, bus.site, name_for("clean"), self._hear, clock)
        self.tap.listen(filter_for_everything(bus.site))
        self.tap.on_disconnect.append(self._on_lost)
        self._bus = bus
        self._link = linked(self.tap)
        self._lost = asyncio.Event()
        self._marks: dict[bytes, asyncio.Event] = {}
        self._removals: dict[str, _Removal] = {}

    async def __aenter__(self) -> Cleaning:
        await self._link.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._link.__aexit__(kind, error, trace)

    async def look(self, seconds: float) -> None:
        """Listen for so long, and until all has arrived that the broker had by then. Raises NotConnected."""
        await self.tap.wait_connected(CONNECT_TIMEOUT_S)
        try:
            await asyncio.wait_for(self._lost.wait(), seconds)
        except TimeoutError:
            await self._all_heard()
        self._check_link()

    async def remove(self, ghosts: Sequence[Ghost]) -> Cleaned:
        """Remove what is still as it was shown. Raises NotConnected, NotCleaned."""
        unchanged: list[Ghost] = []
        for start in range(0, len(ghosts), AT_ONCE):
            now_unchanged = [ghost for ghost in ghosts[start : start + AT_ONCE] if self._is_unchanged(ghost)]
            unchanged += now_unchanged
            self._removals |= {ghost.topic: _Removal() for ghost in now_unchanged}
            for ghost in now_unchanged:
                self.tap.publish_retained(ghost.topic, b"")
            await self._all_heard()
        for _ in range(MOST_REPAIRS):
            if not (overwritten := self._overwritten()):
                break
            for topic, removal in overwritten.items():
                removal.ours.append(removal.wanted)
                self.tap.publish_retained(topic, removal.wanted)
            await self._all_heard()
        if lost := self._overwritten():
            topics = printable(", ".join(sorted(lost)))
            raise NotCleaned(f"{topics}: came back while it was removed, and could not be put back")
        left = [ghost for ghost in unchanged if ghost.topic in self.survey.retained]
        denied = [ghost for ghost in left if not self._removals[ghost.topic].wanted]
        removed = [ghost for ghost in unchanged if ghost not in left]
        came_back = [ghost for ghost in ghosts if ghost not in removed and ghost not in denied]
        return Cleaned(tuple(removed), tuple(came_back), tuple(denied))

    def _overwritten(self) -> dict[str, _Removal]:
        """Where somebody has put something since the decision, and it is not what is there now."""
        return {
            topic: removal
            for topic, removal in self._removals.items()
            if removal.wanted and self.survey.retained.get(topic) != removal.wanted
        }

    def _is_unchanged(self, ghost: Ghost) -> bool:
        never_retained = ghost.channel is not None and not CARRIAGE[ghost.channel].retain
        alive = ghost.node in self.survey.alive and not never_retained
        return self.survey.retained.get(ghost.topic) == ghost.payload and not alive

    def _hear(self, publish: Publish, _received_s: float) -> None:
        if (mark := self._marks.get(publish.payload)) is not None:
            mark.set()
            return
        self.survey.hear(publish)
        if publish.retain and (removal := self._removals.get(publish.topic.decode(errors="replace"))) is not None:
            removal.hear(publish.payload)

    async def _all_heard(self) -> None:
        """Return when all that the broker had before now has been heard: a message of our own comes after it."""
        address = Address(self._bus.site, self.tap.node, Channel.PING)
        body = Ping(ping_id=new_request_id())
        mark = self._marks[encode(body)] = asyncio.Event()
        self.tap.publish(address, body)
        waits = [asyncio.create_task(mark.wait()), asyncio.create_task(self._lost.wait())]
        await asyncio.wait(waits, timeout=ANSWER_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        self._check_link()
        if not mark.is_set():
            raise NotCleaned(f"this account may not send and hear {topic_for(address)}: it cannot clean")

    def _on_lost(self) -> None:
        self._lost.set()

    def _check_link(self) -> None:
        if self._lost.is_set():
            raise NotConnected(f"the broker at {self._bus.endpoint} went away meanwhile; run the command again")
