"""The broker is restarted: how long until every client is back, subscribed."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.client import MqttClient
from broker.mosquitto import MosquittoProcess, MosquittoSettings
from broker.topics import Channel, filter_for
from broker.vocabulary import NodeId
from testbed.load.crowd import Crowd
from testbed.load.site import SITE, Site
from testbed.load.steady import Say

AWAY_S = 2.0
PATIENCE_S = 60.0
GOAL_S = 3.0


@dataclass(frozen=True, slots=True)
class Restart:
    """Seconds from when the broker accepted connections again to when the last client was subscribed."""

    clients: int
    kind: str
    away_s: float
    last_back_s: float
    all_back: bool

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "clients": self.clients,
            "kind": self.kind,
            "away_s": self.away_s,
            "last_back_s": self.last_back_s,
            "goal_s": GOAL_S,
            "met": self.all_back and self.last_back_s <= GOAL_S,
        }


def restart_beside_crowd(site: Site, crowd: Crowd, say: Say) -> Restart:
    """Of the simulated devices, with our client's back-off; the orchestrator comes back with them."""
    site.broker.stop()
    crowd.run(AWAY_S)
    site.broker.start()
    site.prefer(site.broker.pid)
    up_s = time.monotonic()
    all_back = crowd.run(PATIENCE_S, lambda: all(device.subscribed for device in crowd.devices))
    last_back_s = max(device.subscribed_s for device in crowd.devices) - up_s
    found = Restart(len(crowd.devices), "simulated devices", AWAY_S, last_back_s, all_back)
    say(f"{found.clients} {found.kind}: the last was back {last_back_s:.2f} s after the broker")
    return found


async def restart_clients(directory: Path, count: int, say: Say) -> Restart:
    """Of so many of our own clients in this one process."""
    broker = MosquittoProcess(MosquittoSettings(directory=directory, max_connections=12_000, log_level="warning"))
    with broker:
        clients = [MqttClient(broker.endpoint, SITE, NodeId(f"c{number}"), "agent") for number in range(count)]
        for client in clients:
            client.subscribe(filter_for(SITE, Channel.DECISION, client.node), Channel.DECISION, lambda _inbound: None)
        links = [asyncio.create_task(client.run()) for client in clients]
        await _all_connected(clients)
        broker.stop()
        await asyncio.sleep(AWAY_S)
        broker.start()
        up_s = time.monotonic()
        await _all_connected(clients)
        last_back_s = time.monotonic() - up_s
        for client in clients:
            await client.stop()
        await asyncio.gather(*links)
    found = Restart(count, "MqttClient in one process", AWAY_S, last_back_s, all_back=True)
    say(f"{found.clients} {found.kind}: the last was back {last_back_s:.2f} s after the broker")
    return found


async def _all_connected(clients: list[MqttClient]) -> None:
    await asyncio.gather(*(client.wait_connected(PATIENCE_S) for client in clients))
