"""Clients of ours, and one that is not ours, on the shared Mosquitto."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from broker.client import Endpoint, Inbound, MqttClient
from broker.topics import Channel, filter_for
from broker.vocabulary import SiteId, node_id

Prepare = Callable[[MqttClient], object]
Linked = Callable[..., AbstractAsyncContextManager[MqttClient]]


WAIT_S = 120.0


@pytest.fixture
def soon() -> Callable[[Awaitable[Any]], Awaitable[Any]]:
    """`await soon(...)`: its result; a hang is an error."""
    return lambda awaitable: asyncio.wait_for(awaitable, WAIT_S)


@pytest.fixture
def quick() -> Callable[[Endpoint], Endpoint]:
    """The same broker, knocked at more often."""
    return lambda endpoint: replace(endpoint, reconnect_min_s=0.05, reconnect_max_s=0.2)


@pytest.fixture
def collect() -> Callable[[Channel, asyncio.Queue[Inbound]], Prepare]:
    """Subscribes a client to a channel of every node."""
    return lambda channel, into: (
        lambda client: client.subscribe(filter_for(client.site, channel), channel, into.put_nowait)
    )


@pytest.fixture
def linked(site: SiteId) -> Linked:
    """`async with linked(endpoint, "device-1", prepare)`: a connected client that is stopped at the end."""

    @asynccontextmanager
    async def _linked(
        endpoint: Endpoint, node: str, prepare: Prepare = lambda _client: None, *, announces_state: bool = True
    ) -> AsyncIterator[MqttClient]:
        client = MqttClient(endpoint, site, node_id(node), "test", announces_state=announces_state)
        prepare(client)
        running = asyncio.create_task(client.run(), name=f"run {node}")
        try:
            await client.wait_connected(120.0)
            yield client
        finally:
            await client.stop()
            await running

    return _linked


@pytest.fixture
def stranger(mosquitto_endpoint: Endpoint) -> Iterator[mqtt.Client]:
    """A bare paho client on the shared Mosquitto, which publishes what it likes."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.connect(mosquitto_endpoint.host, mosquitto_endpoint.port)
    client.loop_start()
    yield client
    client.disconnect()
    client.loop_stop()
