"""Sessions, last will, and links that break, on a real Mosquitto."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
from dataclasses import replace

import pytest

from broker import client as module
from broker.client import Endpoint, Inbound, MqttClient
from broker.errors import TooManyWaiting
from broker.messages import Birth, Goal, Heartbeat, State
from broker.topics import Address, Channel, filter_for_everything
from broker.vocabulary import NodeState, Tier, node_id

DEVICE = node_id("device-1")
GOAL = Goal(accuracy_floor_percent=89.0, policy="q_learning", policy_version=1)
WAIT_S = 120.0


def test_stop_publishes_stopped_with_the_session_and_not_the_will(mosquitto_endpoint, linked, soon, collect):
    """The retained state after a clean end is `stopped`."""

    async def scenario() -> tuple[int, list[State]]:
        states: asyncio.Queue[Inbound] = asyncio.Queue()
        observer = linked(mosquitto_endpoint, "observer", collect(Channel.STATE, states), announces_state=False)
        async with observer:
            async with linked(mosquitto_endpoint, "device-1") as device:
                device.publish_state(NodeState.ONLINE)
                session = device.session
            return session, [(await soon(states.get())).body for _ in range(2)]

    session, states = asyncio.run(scenario())

    assert [
        State(session=session, state=NodeState.ONLINE),
        State(session=session, state=NodeState.STOPPED),
    ] == states


def test_stop_does_not_wait_for_a_broker_that_has_gone(own_mosquitto, linked, monkeypatch, soon):
    """When the link breaks meanwhile nobody will acknowledge `stopped` any more."""
    monkeypatch.setattr(module, "STOPPED_TIMEOUT_S", 3600.0)

    async def scenario() -> bool:
        async with linked(own_mosquitto.endpoint, "device-1") as client:
            os.kill(own_mosquitto.pid, signal.SIGSTOP)
            stopping = asyncio.create_task(client.stop())
            await asyncio.sleep(0)
            os.kill(own_mosquitto.pid, signal.SIGKILL)
            await soon(stopping)
            return client.connected

    assert not asyncio.run(scenario())


def test_stop_in_any_phase_of_connecting_ends_quietly(mosquitto_endpoint, site, soon, caplog):
    """Whether the socket, CONNACK or SUBACK is still awaited: no hang, and nothing in the log."""

    async def scenario() -> None:
        for turns in range(40):
            client = MqttClient(mosquitto_endpoint, site, DEVICE, "test")
            running = asyncio.create_task(client.run())
            for _ in range(turns):
                await asyncio.sleep(0)
            await soon(client.stop())
            await soon(running)

    asyncio.run(scenario())
    gc.collect()  # asyncio tells of an exception that nobody took when its future is collected

    assert [] == [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_client_that_vanishes_leaves_its_will_with_its_session(mosquitto_endpoint, linked, site, soon, collect):
    """The will names the session of the connection that set it."""

    async def scenario() -> tuple[int, State]:
        states: asyncio.Queue[Inbound] = asyncio.Queue()
        observer = linked(mosquitto_endpoint, "observer", collect(Channel.STATE, states), announces_state=False)
        async with observer:
            client = MqttClient(mosquitto_endpoint, site, DEVICE, "test")
            running = asyncio.create_task(client.run())
            await client.wait_connected(WAIT_S)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            return client.session, (await soon(states.get())).body

    session, state = asyncio.run(scenario())

    assert State(session=session, state=NodeState.OFFLINE) == state


def test_after_a_broker_restart_the_client_is_back_with_a_new_session(own_mosquitto, linked, soon, quick, collect):
    """It connects to the same port again, runs its hooks again and hears what it had subscribed to."""

    async def scenario() -> tuple[list[int], list[str], Inbound]:
        sessions: list[int] = []
        lost: list[str] = []
        heard: asyncio.Queue[Inbound] = asyncio.Queue()

        def prepare(client: MqttClient) -> None:
            client.on_connect.append(lambda: sessions.append(client.session))
            client.on_disconnect.append(lambda: lost.append("lost"))
            collect(Channel.HEARTBEAT, heard)(client)

        async with linked(quick(own_mosquitto.endpoint), "device-1", prepare) as client:
            os.kill(own_mosquitto.pid, signal.SIGKILL)
            while client.connected:
                await asyncio.sleep(0.01)
            own_mosquitto.start()
            await client.wait_connected(WAIT_S)
            client.publish(Address(client.site, DEVICE, Channel.HEARTBEAT), Heartbeat(session=1, seq=0))
            return sessions, lost, await soon(heard.get())

    sessions, lost, heard = asyncio.run(scenario())

    assert 2 == len(sessions)
    assert sessions[0] < sessions[1]
    assert ["lost"] == lost
    assert Heartbeat(session=1, seq=0) == heard.body


def test_an_unacknowledged_message_is_published_again_on_the_next_link(own_mosquitto, linked, soon, quick):
    """What the broker took down with it arrives all the same; birth and state of the dead session do not."""

    async def scenario() -> list[tuple[Channel, object]]:
        seen: asyncio.Queue[Inbound] = asyncio.Queue()
        taken = asyncio.Event()
        endpoint = quick(own_mosquitto.endpoint)

        async with linked(endpoint, "orchestrator", announces_state=False) as client:
            os.kill(own_mosquitto.pid, signal.SIGSTOP)
            client.publish_state(NodeState.ONLINE)
            birth = Birth(session=client.session, tier=Tier.END, agent_version="1", vcpus=1, models={})
            client.publish(Address(client.site, client.node, Channel.BIRTH), birth)
            client.publish(Address(client.site, client.node, Channel.GOAL), GOAL, on_puback=taken.set)
            os.kill(own_mosquitto.pid, signal.SIGKILL)
            while client.connected:
                await asyncio.sleep(0.01)
            own_mosquitto.start()
            await soon(taken.wait())

        def prepare(client: MqttClient) -> None:
            client.subscribe_all(filter_for_everything(client.site), seen.put_nowait)

        async with linked(endpoint, "observer", prepare, announces_state=False) as client:
            client.publish(Address(client.site, client.node, Channel.HEARTBEAT), Heartbeat(session=1, seq=0))
            arrived = []
            while not arrived or arrived[-1][0] is not Channel.HEARTBEAT:
                inbound = await soon(seen.get())
                arrived.append((inbound.address.channel, inbound.body))
            return arrived

    assert [(Channel.GOAL, GOAL), (Channel.HEARTBEAT, Heartbeat(session=1, seq=0))] == asyncio.run(scenario())


def test_a_frozen_broker_is_noticed_by_keep_alive(own_mosquitto, linked, soon, quick):
    """A broker that is there but silent counts as lost, and is found again when it goes on."""

    async def scenario() -> list[str]:
        happened: list[str] = []
        lost = asyncio.Event()

        def prepare(client: MqttClient) -> None:
            client.on_disconnect += [lambda: happened.append("lost"), lost.set]
            client.on_connect.append(lambda: happened.append("connected"))

        endpoint = replace(quick(own_mosquitto.endpoint), keepalive_s=1)
        async with linked(endpoint, "device-1", prepare) as client:
            os.kill(own_mosquitto.pid, signal.SIGSTOP)
            try:
                await soon(lost.wait())
            finally:
                os.kill(own_mosquitto.pid, signal.SIGCONT)
            await client.wait_connected(WAIT_S)
            return happened

    assert ["connected", "lost", "connected"] == asyncio.run(scenario())


def test_a_client_whose_id_is_taken_over_comes_back(mosquitto_endpoint, linked, site, soon):
    """A second process under the same name throws the first out, which tries again and says why it was gone."""

    async def scenario() -> int:
        connects = asyncio.Queue()

        def prepare(client: MqttClient) -> None:
            client.on_connect.append(lambda: connects.put_nowait(client.session))

        async with linked(mosquitto_endpoint, "device-1", prepare) as first:
            before = await soon(connects.get())
            second = MqttClient(mosquitto_endpoint, site, DEVICE, "test", announces_state=False)
            running = asyncio.create_task(second.run())
            await second.wait_connected(WAIT_S)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await soon(connects.get())
            return first.session - before

    assert asyncio.run(scenario()) > 0


def test_a_frozen_broker_is_noticed_long_before_the_keep_alive_and_found_again(own_mosquitto, linked, soon):
    """A broker that neither answers nor closes is told by its silence; the client is back when it goes on."""

    async def scenario() -> tuple[int, int]:
        endpoint = replace(own_mosquitto.endpoint, keepalive_s=60)
        lost = asyncio.Event()
        async with linked(endpoint, "device-1") as client:
            client.on_disconnect.append(lost.set)
            first = client.session
            os.kill(own_mosquitto.pid, signal.SIGSTOP)
            try:
                await soon(lost.wait())
            finally:
                os.kill(own_mosquitto.pid, signal.SIGCONT)
            await client.wait_connected(WAIT_S)
            return first, client.session

    first, second = asyncio.run(scenario())

    assert first < second


def test_a_client_subscribes_before_what_its_hooks_publish(site, soon, quick):
    """Or an answer could come, and be lost, before the broker knows who wants to hear it."""

    async def scenario() -> bytes:
        after_connack = asyncio.Queue()

        async def broker(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(10_000)
            writer.write(b"\x20\x03\x00\x00\x00")
            after_connack.put_nowait(await reader.read(10_000))
            writer.close()

        server = await asyncio.start_server(broker, "127.0.0.1", 0)
        endpoint = quick(Endpoint(port=server.sockets[0].getsockname()[1]))
        client = MqttClient(endpoint, site, DEVICE, "test")
        client.subscribe(filter_for_everything(site), Channel.STATE, lambda _inbound: None)
        client.on_connect.append(lambda: client.publish_state(NodeState.ONLINE))
        async with server:
            running = asyncio.create_task(client.run())
            first = await soon(after_connack.get())
            await soon(client.stop())
            await soon(running)
        return first[:1]

    assert b"\x82" == asyncio.run(scenario())


def test_a_client_whose_every_place_is_taken_stops_all_the_same(site, soon, quick, monkeypatch):
    """Though `stopped` no longer fits, for the broker takes nothing: the end comes, without an error."""
    monkeypatch.setattr("broker.publish_window.MOST_WAITING", 1)
    monkeypatch.setattr("broker.paho_link.MOST_IN_FLIGHT", 1)
    monkeypatch.setattr(module, "STOPPED_TIMEOUT_S", 0.05)

    async def takes_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10_000)
        writer.write(b"\x20\x03\x00\x00\x00")
        with contextlib.suppress(OSError):
            while await reader.read(10_000):
                pass
        writer.close()

    async def scenario() -> bool:
        server = await asyncio.start_server(takes_nothing, "127.0.0.1", 0)
        endpoint = quick(Endpoint(port=server.sockets[0].getsockname()[1]))
        client = MqttClient(endpoint, site, DEVICE, "test")
        connected = asyncio.Queue()
        client.on_connect += [
            lambda: client.publish_state(NodeState.ONLINE),
            lambda: connected.put_nowait(client.session),
        ]
        async with server:
            running = asyncio.create_task(client.run())
            await soon(connected.get())
            client.publish(Address(site, DEVICE, Channel.GOAL), GOAL)
            with pytest.raises(TooManyWaiting):
                client.publish(Address(site, DEVICE, Channel.GOAL), GOAL)
            await soon(client.stop())
            await soon(running)
        return client.connected

    assert not asyncio.run(scenario())
