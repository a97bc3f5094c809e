"""Measures the way to a node and back, by stage: one ping after the other, and what came of each."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from broker.client import Inbound, MqttClient
from broker.clock import Clock
from broker.messages import Birth, Ping, Pong, State
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import NodeId, NodeState, RequestId, new_request_id
from orchestrator.report import percentile
from tierwise.message_words import printable
from tierwise.person import CONNECT_TIMEOUT_S, Bus, linked, name_for

LOOK_AROUND_S = 1.0  # for the names of other nodes, where the one that was asked does not answer


@dataclass(slots=True)
class OnePing:
    """One ping: filled in as its answers come. Times are seconds on the monotonic clock of whoever asks."""

    sent_s: float
    puback_s: float | None = None
    pong_s: float | None = None
    handling_ms: float = 0.0
    session: int | None = None

    @property
    def whole_ms(self) -> float | None:
        """From the publish to the pong; None while there is none."""
        return None if self.pong_s is None else (self.pong_s - self.sent_s) * 1000

    @property
    def broker_ms(self) -> float | None:
        """From the publish to its PUBACK."""
        return None if self.puback_s is None else (self.puback_s - self.sent_s) * 1000

    @property
    def between_ms(self) -> float | None:
        """What remains of the whole: between broker and node. A little below 0 where the PUBACK was slow."""
        if self.whole_ms is None or self.broker_ms is None:
            return None
        return self.whole_ms - self.broker_ms - self.handling_ms

    @property
    def node_ms(self) -> float | None:
        """What the node says that it needed."""
        return None if self.pong_s is None else self.handling_ms


STAGES: dict[str, Callable[[OnePing], float | None]] = {
    "broker_ms": lambda ping: ping.broker_ms,
    "between_ms": lambda ping: ping.between_ms,
    "node_ms": lambda ping: ping.node_ms,
    "whole_ms": lambda ping: ping.whole_ms,
}


@dataclass(frozen=True, slots=True)
class Spread:
    """Of one stage over all pings that came back, in ms."""

    min: float
    median: float
    p95: float
    max: float


def spread(values: Sequence[float]) -> Spread | None:
    """None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return Spread(ordered[0], percentile(ordered, 50), percentile(ordered, 95), ordered[-1])


@dataclass(slots=True)
class Trip:
    """All that was measured, so far. `known` says what the broker keeps about the node."""

    connect_ms: float | None = None
    pings: list[OnePing] = field(default_factory=list)
    birth: Birth | None = None
    state: State | None = None
    others: set[NodeId] = field(default_factory=set)

    @property
    def answered(self) -> list[OnePing]:
        """The pings that came back."""
        return [ping for ping in self.pings if ping.pong_s is not None]

    def stages(self) -> dict[str, Spread | None]:
        """Each stage of those that came back. Medians of stages need not add up to the median of the whole."""
        return {
            name: spread([value for ping in self.answered if (value := of(ping)) is not None])
            for name, of in STAGES.items()
        }

    def why_silent(self, node: NodeId, site: str) -> str:
        """What is known about a node that did not answer."""
        if self.state is not None and self.state.state is not NodeState.ONLINE:
            how = "it ended cleanly" if self.state.state is NodeState.STOPPED else "the broker lost it"
            return f"it is {self.state.state}: {how} (session {self.state.session})"
        if self.state is not None:
            version = "" if self.birth is None else f", Tierwise {printable(self.birth.agent_version)}"
            return f"it says that it is online{version}: it is frozen, or of a version that does not answer pings"
        close = difflib.get_close_matches(node, sorted(self.others), 1)
        if close:
            return f"site {site} has no such node, did you mean {close[0]}?"
        there = f"; there are {', '.join(sorted(self.others)[:10])}" if self.others else ""
        return f"site {site} has no such node{there}"


@dataclass(frozen=True, slots=True)
class Pace:
    """How many pings, how far apart, and how long the last is waited for."""

    count: int
    interval_s: float
    timeout_s: float


class Pinger:
    """Asks one node. `trip` holds what is known, also when `run` was broken off."""

    def __init__(self, bus: Bus, node: NodeId, clock: Clock, on_pong: Callable[[int, OnePing], None]) -> None:
        self.trip = Trip()
        self._bus = bus
        self._node = node
        self._clock = clock
        self._on_pong = on_pong
        self._by_id: dict[RequestId, int] = {}
        self._all_back = asyncio.Event()
        self._client = client = MqttClient(
            bus.endpoint, bus.site, name_for("ping"), "person", announces_state=False, clock=clock
        )
        client.on_connect.append(self._connected)
        client.subscribe(filter_for(bus.site, Channel.PONG, node), Channel.PONG, self._on_answer)
        client.subscribe(filter_for(bus.site, Channel.STATE, node), Channel.STATE, self._on_known)
        client.subscribe(filter_for(bus.site, Channel.BIRTH, node), Channel.BIRTH, self._on_known)

    async def run(self, pace: Pace) -> Trip:
        """Send them all, and wait for the last. Raises NotConnected when there is no broker, or it goes away."""
        self._started_s = self._clock.monotonic()
        async with linked(self._client):
            await self._client.wait_connected(CONNECT_TIMEOUT_S)
            first_s = self._clock.monotonic()
            for number in range(pace.count):
                await asyncio.sleep(first_s + number * pace.interval_s - self._clock.monotonic())
                self._send()
            try:
                async with asyncio.timeout(pace.timeout_s):
                    while len(self.trip.answered) < len(self.trip.pings):
                        self._all_back.clear()
                        await self._all_back.wait()
            except TimeoutError:
                if not self.trip.answered and self.trip.state is None:
                    await self._look_around()
        return self.trip

    def _connected(self) -> None:
        if self.trip.connect_ms is None:
            self.trip.connect_ms = (self._clock.monotonic() - self._started_s) * 1000

    def _send(self) -> None:
        ping_id = new_request_id()
        ping = OnePing(self._clock.monotonic())
        self._by_id[ping_id] = len(self.trip.pings)

        def taken() -> None:
            ping.puback_s = self._clock.monotonic()

        self._client.publish(Address(self._bus.site, self._node, Channel.PING), Ping(ping_id=ping_id), on_puback=taken)
        self.trip.pings.append(ping)

    def _on_answer(self, inbound: Inbound) -> None:
        if not isinstance(inbound.body, Pong):
            return
        number = self._by_id.pop(RequestId(inbound.body.ping_id), None)
        if number is None:
            return  # somebody else asks too
        ping = self.trip.pings[number]
        ping.pong_s, ping.handling_ms = inbound.received_s, inbound.body.handling_ms
        ping.session = inbound.body.session
        self._on_pong(number, ping)
        self._all_back.set()

    def _on_known(self, inbound: Inbound) -> None:
        if inbound.address.node != self._node:
            self.trip.others.add(inbound.address.node)
        elif isinstance(inbound.body, State):
            self.trip.state = inbound.body
        elif isinstance(inbound.body, Birth):
            self.trip.birth = inbound.body

    async def _look_around(self) -> None:
        self._client.subscribe(filter_for(self._bus.site, Channel.STATE), Channel.STATE, self._on_known)
        await self._client.wait_connected(CONNECT_TIMEOUT_S)
        await asyncio.sleep(LOOK_AROUND_S)
