"""The broker drops what the orchestrator's queue cannot take, births among it."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest

from broker.client import Endpoint
from broker.messages import Request
from broker.mosquitto import MosquittoProcess
from broker.mosquitto_settings import MAX_IN_FLIGHT, MosquittoSettings
from broker.topics import Address, Channel
from broker.vocabulary import new_request_id

PATIENCE_S = 120.0
QUEUED = 20
FLOODED = 2 * (QUEUED + MAX_IN_FLIGHT)


@pytest.fixture
def mosquitto_endpoint(tmp_path: Path) -> Any:
    """A broker of this module's own, which keeps little."""
    with MosquittoProcess(MosquittoSettings(directory=tmp_path / "broker", max_queued_messages=QUEUED)) as process:
        yield process.endpoint


@pytest.mark.mosquitto
def test_a_node_whose_birth_was_dropped_is_served_all_the_same(
    mosquitto_endpoint: Endpoint, open_site: Any, orchestrator_process: Any
) -> None:
    """The orchestrator stands still, its queue is full, a device joins; once it goes on the device is answered."""
    process = orchestrator_process(start=False, rounds={"mode": "immediate"}, goal={"policy": "device_only"})

    async def scenario() -> None:
        async with open_site() as site:
            watcher = await site.watcher()
            flooder = await site.node("flooder")
            process.start()
            await watcher.online()
            process.send(signal.SIGSTOP)
            address, taken = Address(site.site, flooder.client.node, Channel.REQUEST), asyncio.Semaphore(0)
            for _ in range(FLOODED):
                request = Request(request_id=new_request_id())
                flooder.client.publish(address, request, on_puback=taken.release)
            for _ in range(FLOODED):
                await asyncio.wait_for(taken.acquire(), PATIENCE_S)
            device = await site.node("s1")
            process.send(signal.SIGCONT)
            async with asyncio.timeout(PATIENCE_S):
                while not device.decisions:  # a request of a device whose birth is not known is dropped
                    device.ask()
                    await asyncio.sleep(0.1)

    asyncio.run(scenario())
    assert "birth_or_state_missed node=s1" in process.log()
