"""Messages through the one MQTT client, on a real Mosquitto."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from broker.client import Inbound, MqttClient
from broker.errors import MessageTooLarge, NotConnected
from broker.messages import Heartbeat, ReportAck, Request, Result
from broker.outgoing import outgoing
from broker.topics import Address, Channel, filter_for, topic_for
from broker.vocabulary import new_request_id, node_id

DEVICE = node_id("device-1")


def test_a_request_reaches_a_subscriber(mosquitto_endpoint, linked, soon, collect):
    """What one client publishes another receives decoded, with the sender's node in its address."""

    async def scenario() -> Inbound:
        requests: asyncio.Queue[Inbound] = asyncio.Queue()
        async with (
            linked(mosquitto_endpoint, "orchestrator", collect(Channel.REQUEST, requests)),
            linked(mosquitto_endpoint, "device-1") as device,
        ):
            device.publish(Address(device.site, DEVICE, Channel.REQUEST), Request(request_id="request-1"))
            return await soon(requests.get())

    received = asyncio.run(scenario())

    assert (DEVICE, Request(request_id="request-1")) == (received.address.node, received.body)


def test_an_image_travels_with_its_properties(mosquitto_endpoint, linked, soon, collect):
    """An `infer` message keeps its bytes, its correlation data and its user properties."""

    async def scenario() -> Inbound:
        images: asyncio.Queue[Inbound] = asyncio.Queue()
        taken = asyncio.Event()
        async with (
            linked(mosquitto_endpoint, "edge-1", collect(Channel.INFER, images)),
            linked(mosquitto_endpoint, "device-1") as device,
        ):
            address = Address(device.site, node_id("edge-1"), Channel.INFER, DEVICE)
            device.publish(
                address,
                b"\xff\xd8" + bytes(200_000),
                correlation=b"request-1",
                properties={"model": "d0", "deadline_ms": "900"},
                on_puback=taken.set,
            )
            await soon(taken.wait())
            return await soon(images.get())

    received = asyncio.run(scenario())

    assert b"\xff\xd8" + bytes(200_000) == received.body
    assert (b"request-1", {"model": "d0", "deadline_ms": "900"}) == (received.correlation, received.properties)
    assert DEVICE == received.address.device


def test_images_that_follow_each_other_arrive_whole_and_in_order(mosquitto_endpoint, linked, soon, collect):
    """Whatever parts of them are read together: large after small, and several at once."""
    sent = [os.urandom(size) for size in (1, 150_000, 15_000, 262_000 - 100, 3, 70_000, 150_000)]

    async def scenario() -> list[object]:
        images: asyncio.Queue[Inbound] = asyncio.Queue()
        async with (
            linked(mosquitto_endpoint, "edge-1", collect(Channel.INFER, images)),
            linked(mosquitto_endpoint, "device-1") as device,
        ):
            for image in sent:
                device.publish(Address(device.site, node_id("edge-1"), Channel.INFER, DEVICE), image)
            return [(await soon(images.get())).body for _ in sent]

    assert sent == asyncio.run(scenario())


def test_two_hundred_publishes_in_one_turn_all_arrive_in_order(mosquitto_endpoint, linked, soon, collect):
    """More than the 20 that may be unacknowledged at a time neither stall nor overtake each other."""

    async def scenario() -> list[str]:
        requests: asyncio.Queue[Inbound] = asyncio.Queue()
        async with (
            linked(mosquitto_endpoint, "orchestrator", collect(Channel.REQUEST, requests)),
            linked(mosquitto_endpoint, "device-1") as device,
        ):
            for index in range(200):
                device.publish(Address(device.site, DEVICE, Channel.REQUEST), Request(request_id=f"request-{index:03}"))
            return [(await soon(requests.get())).body.request_id for _ in range(200)]

    assert [f"request-{index:03}" for index in range(200)] == asyncio.run(scenario())


def test_tcp_nodelay_is_set(mosquitto_endpoint, linked):
    """Nagle's algorithm is off: it would cost 40 ms a message."""

    async def scenario() -> int:
        async with linked(mosquitto_endpoint, "device-1") as client:
            sock = client._link._transport.get_extra_info("socket")
            return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    assert asyncio.run(scenario()) != 0


def test_publishing_without_a_broker_raises_not_connected(mosquitto_endpoint, site):
    """A message that cannot be sent now is the caller's to keep."""

    async def scenario() -> None:
        client = MqttClient(mosquitto_endpoint, site, DEVICE, "test")
        with pytest.raises(NotConnected, match="request not published"):
            client.publish(Address(site, DEVICE, Channel.REQUEST), Request(request_id="request-1"))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("address", "size", "says"),
    [
        (("edge-1", Channel.INFER, DEVICE), 262_145, "takes at most 262144"),
        (("edge-1", Channel.INFER, DEVICE), 262_000, "the broker takes at most 262000"),
    ],
)
def test_a_message_that_would_never_be_taken_is_not_sent(mosquitto_endpoint, linked, monkeypatch, address, size, says):
    """The channel's limit and the broker's are checked before sending: paho would send it again and again."""

    async def scenario() -> bool:
        async with linked(mosquitto_endpoint, "device-1") as client:
            client._link.packet_limit = 262_000
            node, channel, device = address
            with pytest.raises(MessageTooLarge, match=says):
                client.publish(Address(client.site, node_id(node), channel, device), bytes(size))
            return client.connected

    assert asyncio.run(scenario())


def test_a_packet_is_never_larger_than_was_reckoned(mosquitto_endpoint, linked, monkeypatch):
    """The longest correlation data, properties and expiry are counted: one byte less is refused here, not there."""

    async def scenario() -> tuple[int, int]:
        async with linked(mosquitto_endpoint, "device-1") as client:
            address = Address(client.site, node_id("edge-1"), Channel.INFER, DEVICE)
            details = {"correlation": b"r" * 64, "properties": {"model": "d0", "deadline_ms": "900"}}
            packets: list[bytes] = []
            monkeypatch.setattr(client._link._mqtt.buffers, "send", lambda data: packets.append(data) or len(data))
            taken_from = 0
            for limit in range(100_000, 101_000):
                client._link.packet_limit = limit
                try:
                    client.publish(address, bytes(100_000), **details)
                except MessageTooLarge:
                    continue
                taken_from = limit
                break
            monkeypatch.undo()
            return len(packets[0]), taken_from

    size, taken_from = asyncio.run(scenario())

    assert size <= taken_from <= size + 16


def test_the_broker_tells_its_packet_limit(mosquitto_endpoint, linked):
    """What CONNACK announces is what is checked."""

    async def scenario() -> int | None:
        async with linked(mosquitto_endpoint, "device-1") as client:
            return client._link.packet_limit

    assert 300_000 == asyncio.run(scenario())


def test_a_handler_that_raises_is_logged_and_nothing_stops(mosquitto_endpoint, linked, caplog, soon):
    """A bug in one handler costs its message, not the link."""

    async def scenario() -> int:
        handled: asyncio.Queue[int] = asyncio.Queue()

        def handle(inbound: Inbound) -> None:
            handled.put_nowait(inbound.body.seq)
            if inbound.body.seq == 0:
                raise ZeroDivisionError("a bug")

        def prepare(client: MqttClient) -> None:
            client.subscribe(filter_for(client.site, Channel.HEARTBEAT), Channel.HEARTBEAT, handle)

        async with linked(mosquitto_endpoint, "device-1", prepare) as client:
            for seq in range(2):
                client.publish(Address(client.site, DEVICE, Channel.HEARTBEAT), Heartbeat(session=1, seq=seq))
            await soon(handled.get())
            return await soon(handled.get())

    assert 1 == asyncio.run(scenario())
    assert "a bug" in caplog.text


def test_a_hook_that_raises_does_not_keep_the_client_from_connecting(mosquitto_endpoint, linked, caplog):
    """Hooks after the one with the bug still run."""

    async def scenario() -> list[str]:
        ran = []

        def prepare(client: MqttClient) -> None:
            client.on_connect += [lambda: ran[0], lambda: ran.append("second")]

        async with linked(mosquitto_endpoint, "device-1", prepare):
            return ran

    assert ["second"] == asyncio.run(scenario())
    assert "IndexError" in caplog.text


def test_an_expired_message_is_not_published_again() -> None:
    """A result that nobody waits for any more stays unsent; the topic of an acknowledgement has no end."""
    address = Address("site", DEVICE, Channel.RESULT)
    result = outgoing(address, Result(request_id=new_request_id(), model="d0"), 100.0, packet_limit=None)
    acknowledgement = outgoing(
        Address("site", DEVICE, Channel.REPORT_ACK), ReportAck(request_ids=[]), 100.0, packet_limit=None
    )

    assert (True, False) == (result.is_worth_repeating(109.9), result.is_worth_repeating(110.0))
    assert acknowledgement.is_worth_repeating(1e9)
    assert topic_for(address) == result.topic


def test_a_request_is_not_published_again() -> None:
    """When its link broke the device ran by itself; a round that got the request late would wait for nobody."""
    address = Address("site", DEVICE, Channel.REQUEST)
    request = outgoing(address, Request(request_id=new_request_id()), 100.0, packet_limit=None)

    assert not request.is_worth_repeating(100.0)
