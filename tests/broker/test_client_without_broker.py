"""The client where there is no broker, or none that makes sense."""

from __future__ import annotations

import asyncio

import pytest

from broker.client import Endpoint, MqttClient
from broker.errors import NotConnected
from broker.vocabulary import node_id

DEVICE = node_id("device-1")


async def _run_until_logged(endpoint: Endpoint, site, caplog, text: str) -> None:
    client = MqttClient(endpoint, site, DEVICE, "test")
    running = asyncio.create_task(client.run())
    while text not in caplog.text:
        await asyncio.sleep(0.01)
    await client.stop()
    await running


@pytest.mark.parametrize(
    ("host", "port", "says"),
    [("127.0.0.1", 1, "Connect call failed"), ("a..b", 1883, "not a host name")],
)
def test_a_broker_that_cannot_be_reached_is_logged_and_tried_again(site, caplog, host, port, says, soon, quick):
    """Neither a closed port nor an impossible name ends the client."""
    asyncio.run(soon(_run_until_logged(quick(Endpoint(host=host, port=port)), site, caplog, says)))

    assert "no_link" in caplog.text


def test_stop_ends_a_client_that_waits_for_a_silent_broker(site, soon):
    """Something that accepts the connection and never answers does not delay the end of the process."""

    async def scenario() -> bool:
        accepted = asyncio.Event()

        async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.set()
            await reader.read()
            writer.close()

        server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
        async with server:
            client = MqttClient(Endpoint(port=server.sockets[0].getsockname()[1]), site, DEVICE, "test")
            running = asyncio.create_task(client.run())
            await soon(accepted.wait())
            await client.stop()
            await soon(running)
            return client.connected

    assert not asyncio.run(scenario())


def test_a_broker_that_sends_nonsense_costs_its_link(site, caplog, soon, quick):
    """Bytes that are no MQTT end the connection, with the reason in the log; the client tries again."""

    async def scenario() -> None:
        again = asyncio.Event()
        connections = []

        async def talk_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1000)
            connections.append(writer)
            if len(connections) == 2:
                again.set()
            writer.write(b"\x20\x03\x00\x00\x00" + b"\x30\x04\x00\x01a\x09")
            await reader.read()
            writer.close()

        server = await asyncio.start_server(talk_nonsense, "127.0.0.1", 0)
        async with server:
            client = MqttClient(quick(Endpoint(port=server.sockets[0].getsockname()[1])), site, DEVICE, "test")
            running = asyncio.create_task(client.run())
            await soon(again.wait())
            await client.stop()
            await soon(running)

    asyncio.run(scenario())

    assert "properties beyond its end" in caplog.text


def test_stop_before_run_makes_run_return_at_once(mosquitto_endpoint, site, soon):
    """A process that is told to end while it starts does not connect."""

    async def scenario() -> int:
        client = MqttClient(mosquitto_endpoint, site, DEVICE, "test")
        await client.stop()
        await soon(client.run())
        return client.session

    assert 0 == asyncio.run(scenario())


def test_wait_connected_gives_up_in_time(site):
    """It names the broker that did not answer."""

    async def scenario() -> None:
        client = MqttClient(Endpoint(port=1), site, DEVICE, "test")
        with pytest.raises(NotConnected, match=r"no broker at 127\.0\.0\.1:1"):
            await client.wait_connected(0.01)

    asyncio.run(scenario())
