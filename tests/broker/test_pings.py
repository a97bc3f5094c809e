"""Pings are answered on the node's own topic, and only so many of them."""

from __future__ import annotations

import asyncio

from broker.client import Inbound, MqttClient
from broker.clock import ManualClock, SystemClock
from broker.messages import Ping, Pong
from broker.outgoing import outgoing
from broker.pings import MOST_PER_SECOND, TOO_MANY, PingAnswering
from broker.topics import Address, Channel, topic_for
from broker.vocabulary import SiteId, node_id

EDGE = node_id("edge-1")


class _Client:
    """Stands in for a client: keeps the handler, and what is published."""

    def __init__(self) -> None:
        self.site, self.node, self.session = SiteId("lab"), EDGE, 7
        self.refused: dict[str, int] = {TOO_MANY: 0}
        self.published: list[tuple[Address, Pong]] = []

    def subscribe(self, topic_filter, channel, handler) -> None:
        self.subscribed, self.handler = topic_filter, handler

    def publish(self, address, body) -> None:
        self.published.append((address, body))


def _ping(node: str, received_s: float) -> Inbound:
    return Inbound(Address(SiteId("lab"), node_id(node), Channel.PING), Ping(ping_id="ping-0001"), received_s)


def test_an_answer_tells_the_nodes_own_time_and_session():
    """`handling_ms` is from the reading of the ping to the answer, on the clock of the node."""
    client, clock = _Client(), ManualClock(monotonic_s=100.0)
    PingAnswering(client, clock)
    clock.advance(0.25)
    client.handler(_ping("edge-1", 100.0))

    expected = (
        Address(SiteId("lab"), EDGE, Channel.PONG),
        Pong(ping_id="ping-0001", session=7, handling_ms=250.0),
    )
    assert [expected] == client.published
    assert topic_for(Address(SiteId("lab"), EDGE, Channel.PING)) == client.subscribed


def test_a_flood_is_answered_up_to_the_limit_of_each_second():
    """What is over it is counted and not answered; the next second begins anew."""
    client = _Client()
    PingAnswering(client, ManualClock(monotonic_s=10.0))
    for _ in range(MOST_PER_SECOND + 30):
        client.handler(_ping("edge-1", 10.5))
    client.handler(_ping("edge-1", 11.0))

    assert MOST_PER_SECOND + 1 == len(client.published)
    assert 30 == client.refused[TOO_MANY]


def test_a_ping_through_a_broker_comes_back(mosquitto_endpoint, linked, soon, collect):
    """Whoever asks hears the pong on the topic of the node that was asked, under the id that it drew."""

    async def scenario() -> tuple[MqttClient, Inbound]:
        pongs: asyncio.Queue[Inbound] = asyncio.Queue()
        async with (
            linked(mosquitto_endpoint, "edge-1", lambda client: PingAnswering(client, SystemClock())) as edge,
            linked(mosquitto_endpoint, "asker", collect(Channel.PONG, pongs)) as asker,
        ):
            asker.publish(Address(asker.site, EDGE, Channel.PING), Ping(ping_id="ping-0001"))
            return edge, await soon(pongs.get())

    edge, pong = asyncio.run(scenario())

    assert (EDGE, "ping-0001", edge.session) == (pong.address.node, pong.body.ping_id, pong.body.session)


def test_a_ping_that_waited_for_a_broker_is_not_sent_again():
    """It would measure the broker's absence."""
    for channel, body in (
        (Channel.PING, Ping(ping_id="ping-0001")),
        (Channel.PONG, Pong(ping_id="ping-0001", session=1, handling_ms=0.1)),
    ):
        message = outgoing(Address(SiteId("lab"), EDGE, channel), body, 0.0, packet_limit=None)

        assert not message.is_worth_repeating(0.1)
