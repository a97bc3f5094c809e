"""Who notices that a peer is gone, and when: with the classes that the programs themselves use, in one loop of our own.

The orchestrator's registry tells of devices and serving nodes, a device's peers of serving nodes and the orchestrator,
and the client of the broker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from broker.client import Endpoint, Inbound, MqttClient
from broker.messages import Birth, Heartbeat, State
from broker.topics import Channel, filter_for
from broker.vocabulary import NodeId, SiteId
from configs.orchestrator import LivenessSection
from device_agent.requester.peers import Peers
from orchestrator.nodes import Registry

LOOK_S = 0.01


class Watch:
    """Two clients: one that listens as the orchestrator does, one as a device does."""

    def __init__(self, endpoint: Endpoint, site: SiteId) -> None:
        self.registry = Registry(LivenessSection().heartbeat_timeout_s)
        self.listener = MqttClient(endpoint, site, NodeId("listener"), "watch", announces_state=False)
        self.device = MqttClient(endpoint, site, NodeId("watching"), "watch", announces_state=False)
        self.peers = Peers(self.device, lambda _own: None, lambda _node, _how: None)
        self.links_lost = 0
        self.device.on_disconnect.append(self._link_lost)
        for channel, fold in (
            (Channel.BIRTH, self._birth),
            (Channel.STATE, self._state),
            (Channel.HEARTBEAT, self._heartbeat),
        ):
            self.listener.subscribe(filter_for(site, channel), channel, fold)

    async def run(self) -> None:
        """Until cancelled."""
        await asyncio.gather(self.listener.run(), self.device.run())

    async def stop(self) -> None:
        """End both links."""
        await self.listener.stop()
        await self.device.stop()

    def online(self, node: NodeId) -> bool:
        """As the orchestrator judges it."""
        self.registry.online_devices(time.monotonic())  # whose heartbeat is overdue by now
        known = self.registry.get(node)
        return known is not None and known.online

    def _link_lost(self) -> None:
        self.links_lost += 1

    def _birth(self, inbound: Inbound) -> None:
        if isinstance(inbound.body, Birth):
            self.registry.on_birth(inbound.address.node, inbound.body)

    def _state(self, inbound: Inbound) -> None:
        if isinstance(inbound.body, State):
            self.registry.on_state(inbound.address.node, inbound.body)

    def _heartbeat(self, inbound: Inbound) -> None:
        if isinstance(inbound.body, Heartbeat):
            self.registry.on_heartbeat(inbound.address.node, inbound.body, inbound.received_s)


async def seconds_until(happened: Callable[[], bool], limit_s: float) -> float:
    """How long it takes; `limit_s` where it does not happen. To 10 ms."""
    started_s = time.monotonic()
    while not happened() and time.monotonic() - started_s < limit_s:
        await asyncio.sleep(LOOK_S)
    return time.monotonic() - started_s
