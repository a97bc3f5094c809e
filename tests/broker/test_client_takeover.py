"""Two clients with one identity: the broker's reason is named, and they do not fight for ever."""

from __future__ import annotations

import asyncio
import logging
import os
import signal

import pytest

from broker import client as module
from broker.client import Endpoint, Inbound, MqttClient
from broker.clock import ManualClock
from broker.messages import State
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import NodeState, node_id

DEVICE = node_id("device-1")
CONNACK, TAKEN_OVER = b"\x20\x03\x00\x00\x00", b"\xe0\x01\x8e"
LINKS = 5


class Highest:
    """A random source that always draws the upper bound, and notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, float]] = []

    def uniform(self, low: float, high: float) -> float:
        self.asked.append((low, high))
        return high


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> tuple[list[float], ManualClock]:
    """What the client sleeps between two links, on a clock that moves on by as much at once."""
    slept: list[float] = []
    clock, sleep = ManualClock(), asyncio.sleep

    async def at_once(delay_s: float) -> None:
        slept.append(delay_s)
        clock.advance(delay_s)
        await sleep(0)

    monkeypatch.setattr(module.asyncio, "sleep", at_once)
    return slept, clock


def test_who_is_taken_over_twice_within_a_minute_waits_for_minutes(site, soon, delays, caplog):
    """The first time it comes back as after any lost link; long after a take-over the next one is the first again."""
    slept, clock = delays
    rng = Highest()

    async def scenario() -> None:
        accepted: asyncio.Queue[None] = asyncio.Queue()

        async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10_000)
            writer.write(CONNACK + TAKEN_OVER)
            accepted.put_nowait(None)
            await reader.read(10_000)
            writer.close()

        server = await asyncio.start_server(broker, "127.0.0.1", 0)
        endpoint = Endpoint(port=server.sockets[0].getsockname()[1], reconnect_min_s=0.5, reconnect_max_s=0.5)
        client = MqttClient(endpoint, site, DEVICE, "test", clock=clock, rng=rng)
        async with server:
            running = asyncio.create_task(client.run())
            for _ in range(LINKS):
                await soon(accepted.get())
            await soon(client.stop())
            await soon(running)

    asyncio.run(scenario())
    told = [record.getMessage() for record in caplog.records if "session_taken_over" in record.getMessage()]

    assert [0.5, 600.5, 0.5, 600.5] == slept[: LINKS - 1]
    assert (60.0, 600.0) in rng.asked
    assert "hint='another process connected with this identity" in told[0]
    assert "backoff_s=600.000" in told[1]


def test_after_a_named_takeover_an_end_without_a_reason_is_no_second_one(site, soon, delays, caplog):
    """A broker that names take-overs names each: a connection that breaks soon after the first costs no minutes."""
    slept, clock = delays

    async def scenario() -> None:
        ends: asyncio.Queue[None] = asyncio.Queue()

        async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10_000)
            writer.write(CONNACK if slept else CONNACK + TAKEN_OVER)
            await writer.drain()
            writer.close()
            ends.put_nowait(None)

        server = await asyncio.start_server(broker, "127.0.0.1", 0)
        endpoint = Endpoint(port=server.sockets[0].getsockname()[1], reconnect_min_s=0.5, reconnect_max_s=0.5)
        client = MqttClient(endpoint, site, DEVICE, "test", clock=clock, rng=Highest())
        async with server:
            running = asyncio.create_task(client.run())
            for _ in range(3):
                await soon(ends.get())
            await soon(client.stop())
            await soon(running)

    asyncio.run(scenario())

    assert slept[:2] == [0.5, 0.5]
    assert caplog.text.count("session_taken_over") == 1


@pytest.mark.parametrize(
    "packet", [b"\xe0\x01\x8e", b"\xe0\x02\x8e\x00", b"\xe0\x00", b"\xe0\x01\x8b", b"\xe0\x01\xf0"]
)
def test_the_reason_of_a_disconnect_is_named(site, soon, packet, caplog):
    """With and without properties; only 0x8E is a take-over, and a code that nobody knows is told as a number."""
    caplog.set_level(logging.INFO)

    async def scenario() -> None:
        lost = asyncio.Event()

        async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10_000)
            writer.write(CONNACK + packet)
            await reader.read(10_000)
            writer.close()

        server = await asyncio.start_server(broker, "127.0.0.1", 0)
        client = MqttClient(Endpoint(port=server.sockets[0].getsockname()[1]), site, DEVICE, "test")
        client.on_disconnect.append(lost.set)
        async with server:
            running = asyncio.create_task(client.run())
            await soon(lost.wait())
            await soon(client.stop())
            await soon(running)

    asyncio.run(scenario())
    text = caplog.text

    reason = {
        0x8E: "reason='Session taken over'",
        0x8B: "reason='Server shutting down'",
        0xF0: "reason='reason code 0xf0'",
        0x00: "reason='closed by the broker'",
    }[packet[2] if len(packet) > 2 else 0]
    assert reason in text
    assert (packet[2:3] == b"\x8e") == ("session_taken_over" in text)


def announcing(client: MqttClient) -> None:
    """As an agent does: its state on each connect, and what is retained of it is read."""
    client.subscribe(filter_for(client.site, Channel.STATE, client.node), Channel.STATE, lambda _inbound: None)
    client.on_connect.append(lambda: client.publish_state(NodeState.ONLINE))


def test_of_two_processes_with_one_identity_one_leaves_it_to_the_other(
    mosquitto_endpoint, linked, site, soon, quick, caplog
):
    """On a real Mosquitto, of which those before 2.0.15 send no reason code: both name the cause, one backs off."""
    caplog.set_level(logging.INFO)
    endpoint = quick(mosquitto_endpoint)

    async def scenario() -> tuple[bool, bool]:
        async with linked(endpoint, "device-1", announcing) as first:
            second = MqttClient(endpoint, site, DEVICE, "test")
            announcing(second)
            running = asyncio.create_task(second.run())
            while "backoff_s=" not in caplog.text.replace("backoff_s=0.000", ""):
                await asyncio.sleep(0.01)
            connected = (first.connected, second.connected)
            await soon(second.stop())
            await soon(running)
            return connected

    connected = asyncio.run(asyncio.wait_for(scenario(), 100.0))

    assert not all(connected)
    assert "session_taken_over node=device-1" in caplog.text
    assert "Unspecified" not in caplog.text
    assert "reason='closed by the broker'" in caplog.text or "reason='Session taken over'" in caplog.text


@pytest.mark.parametrize(("later", "taken_over"), [(-5_000, False), (1, False), (5_000, True)])
def test_a_state_of_an_earlier_session_is_that_of_a_former_process(
    own_mosquitto, linked, site, soon, quick, caplog, later, taken_over
):
    """A broker that crashed may restore it; one of a later session is another process's, in place of a reason.

    Unless that session was an attempt of this client's own, of which the broker may have published the will.
    """
    clock = ManualClock()

    async def scenario() -> None:
        heard: asyncio.Queue[Inbound] = asyncio.Queue()
        endpoint = quick(own_mosquitto.endpoint)
        client = MqttClient(endpoint, site, DEVICE, "test", clock=clock)
        own = filter_for(site, Channel.STATE, DEVICE)
        client.subscribe(own, Channel.STATE, heard.put_nowait)
        running = asyncio.create_task(client.run())
        await client.wait_connected(20.0)
        session = client.session
        os.kill(own_mosquitto.pid, signal.SIGKILL)
        while client.connected or client.session == session:
            await asyncio.sleep(0.01)
        clock.advance(10.0)
        own_mosquitto.start()
        await client.wait_connected(20.0)
        async with linked(endpoint, "device-2", announces_state=False) as other:
            other.publish(Address(site, DEVICE, Channel.STATE), State(session=session + later, state=NodeState.ONLINE))
            while (await soon(heard.get())).body.session != session + later:
                pass
        await soon(client.stop())
        await soon(running)

    asyncio.run(scenario())

    assert taken_over == ("session_taken_over" in caplog.text)


@pytest.mark.parametrize("kill", ["SIGKILL", "SIGTERM"])
def test_a_broker_that_ends_has_taken_nobody_over(own_mosquitto, linked, soon, quick, caplog, kill):
    """The retained state is the client's own afterwards, or none."""

    async def scenario() -> None:
        async with linked(quick(own_mosquitto.endpoint), "device-1", announcing) as client:
            for _ in range(2):
                os.kill(own_mosquitto.pid, getattr(signal, kill))
                while client.connected:
                    await asyncio.sleep(0.01)
                own_mosquitto.start()
                await soon(client.wait_connected())

    asyncio.run(scenario())

    assert "link_lost" in caplog.text
    assert "session_taken_over" not in caplog.text
