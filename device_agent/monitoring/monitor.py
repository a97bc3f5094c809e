"""The two periodic tasks of a node: telemetry and heartbeat."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Protocol

from broker.client import MqttClient
from broker.clock import Clock
from broker.errors import NotConnected
from broker.events import event
from broker.messages import Heartbeat, Telemetry
from broker.topics import Address, Channel
from broker.vocabulary import Link, NodeState
from configs.node import MonitoringSection
from device_agent.monitoring.link import LinkEstimator

log = logging.getLogger(__name__)

PROBE_AFTER_S = 5.0  # a node that sent nothing acknowledged for so long measures by sending its state again


class Readings(Protocol):
    """Where processor and memory are read: the machine, or the emulated node."""

    def cpu_percent(self) -> float: ...
    def memory_percent(self) -> float: ...


class Load(Protocol):
    """What telemetry says about the Intelligent Service."""

    @property
    def emulated(self) -> bool: ...
    @property
    def waiting(self) -> int: ...
    @property
    def overruns(self) -> int: ...


class ResourceMonitor:
    """Sends telemetry and heartbeats while there is a broker. `emulated_link` replaces the class, not the measures."""

    def __init__(
        self,
        client: MqttClient,
        settings: MonitoringSection,
        readings: Readings,
        load: Load,
        clock: Clock,
        emulated_link: Link | None = None,
    ) -> None:
        self.link = LinkEstimator(settings.weak_rtt_ms, settings.weak_uplink_mbit_s)
        self._client = client
        self._settings = settings
        self._readings = readings
        self._load = load
        self._clock = clock
        self._emulated_link = emulated_link
        self._telemetry_seq = 0
        self._heartbeat_seq = 0
        self._measured_s = clock.monotonic()
        self._woken: list[asyncio.Event] = []

    def reconfigure(self, settings: MonitoringSection) -> None:
        """Send in the new rhythm from now on, and judge the link by the new thresholds."""
        self._settings = settings
        self.link.reconfigure(settings.weak_rtt_ms, settings.weak_uplink_mbit_s)
        for woken in self._woken:
            woken.set()

    def timed(self) -> Callable[[], None]:
        """A callback for the PUBACK of a small message that is published now."""
        sent_s, session = self._clock.monotonic(), self._client.session

        def acknowledged() -> None:
            if self._client.session != session:
                return  # published again on a later link: that took an outage, not a round trip
            now_s = self._clock.monotonic()
            self._measured_s = now_s
            self.link.round_trip(now_s, (now_s - sent_s) * 1000)

        return acknowledged

    def uploaded(self, size_bytes: int, took_s: float) -> None:
        """An image went up; count its throughput."""
        self.link.upload(self._clock.monotonic(), size_bytes, took_s)

    async def send_telemetry(self) -> None:
        """Once per period, for ever."""
        await self._each(lambda: self._settings.period_s, self._telemetry)

    async def send_heartbeats(self) -> None:
        """Once per period, for ever."""
        await self._each(lambda: self._settings.heartbeat_s, self._heartbeat)

    async def _each(self, period: Callable[[], float], send: Callable[[], None]) -> None:
        woken = asyncio.Event()
        self._woken.append(woken)
        next_s = self._clock.monotonic()
        while True:
            if self._client.connected:
                try:
                    send()
                except NotConnected as error:
                    event(log, logging.DEBUG, "not_sent", reason=error)
            now_s = self._clock.monotonic()
            period_s = period()
            # A machine that slept does not make up for what it missed.
            next_s = next_s + period_s if next_s + period_s > now_s else now_s + period_s
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), next_s - now_s)
                woken.clear()
                next_s = self._clock.monotonic()  # a new rhythm begins now, however long the old one was

    def _telemetry(self) -> None:
        now_s = self._clock.monotonic()
        self._telemetry_seq += 1
        telemetry = Telemetry(
            seq=self._telemetry_seq,
            cpu_percent=self._readings.cpu_percent(),
            memory_percent=self._readings.memory_percent(),
            link=self._emulated_link or self.link.link(now_s),
            rtt_ms=self.link.rtt_ms(now_s),
            uplink_mbit_s=self.link.uplink_mbit_s(now_s),
            queue_length=self._load.waiting,
            overruns=self._load.overruns,
            refused=sum(self._client.refused.values()),
            emulated=self._load.emulated,
        )
        self._client.publish(self._address(Channel.TELEMETRY), telemetry)
        if now_s - self._measured_s >= PROBE_AFTER_S or not self.link.settled(now_s):
            self._measured_s = now_s
            self._client.publish_state(NodeState.ONLINE, on_puback=self.timed())

    def _heartbeat(self) -> None:
        self._heartbeat_seq += 1
        body = Heartbeat(session=self._client.session, seq=self._heartbeat_seq)
        self._client.publish(self._address(Channel.HEARTBEAT), body)

    def _address(self, channel: Channel) -> Address:
        return Address(self._client.site, self._client.node, channel)
