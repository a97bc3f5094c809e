"""Reports that the orchestrator has not stored yet.

Kept in memory, at most `limit`; beyond it the oldest is dropped first, counted and logged, because what a device has
just measured says more about now than what it measured an hour ago. A report is sent at once, again on every
connect, and again after growing pauses until `report/ack` names it.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

from broker.client import Inbound, MqttClient
from broker.clock import Clock
from broker.errors import MessageTooLarge, NotConnected
from broker.events import event
from broker.messages import Report, ReportAck
from broker.topics import Address, Channel, filter_for
from device_agent.monitoring.monitor import ResourceMonitor

log = logging.getLogger(__name__)

LIMIT = 2000  # about 1 MB, and an hour and a half at a request each three seconds
RESEND_AFTER_S = 3.0  # doubled with each try
RESEND_AT_LATEST_S = 30.0
SWEEP_S = 0.5
BATCH = 50  # sent at once after an outage, so that a thousand reports do not delay the next request


@dataclass(slots=True)
class _Kept:
    report: Report
    next_try_s: float = -math.inf
    pause_s: float = RESEND_AFTER_S


class Outbox:
    """Holds and resends reports. `dropped` counts those that nobody will ever see."""

    def __init__(self, client: MqttClient, monitor: ResourceMonitor, clock: Clock, limit: int = LIMIT) -> None:
        self.dropped = 0
        self._client = client
        self._monitor = monitor
        self._clock = clock
        self._limit = limit
        self._kept: dict[str, _Kept] = {}
        self._emptied = asyncio.Event()
        self._emptied.set()
        client.on_connect.append(self._send_all_again)
        client.subscribe(filter_for(client.site, Channel.REPORT_ACK, client.node), Channel.REPORT_ACK, self.acknowledge)

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, report: Report) -> None:
        """Keep `report` until it is acknowledged, and send it if that is possible now."""
        self._kept[report.request_id] = kept = _Kept(report)
        self._emptied.clear()
        while len(self._kept) > self._limit:
            oldest = next(iter(self._kept))
            del self._kept[oldest]
            self.dropped += 1
            event(log, logging.WARNING, "report_dropped", request=oldest, dropped=self.dropped)
        # Before any backlog: its round waits for it. Alone on its way, it measures the round trip; a batch would not.
        if self._client.connected:
            self._send(kept, self._clock.monotonic(), self._monitor.timed())

    def acknowledge(self, inbound: Inbound) -> None:
        """Forget what is stored; ids that are not here were acknowledged twice, or are not ours."""
        if not isinstance(inbound.body, ReportAck):
            return
        for request_id in inbound.body.request_ids:
            self._forget(request_id)

    async def send_for_ever(self) -> None:
        """Resend what stays unacknowledged."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self._sweep()

    async def emptied(self, timeout_s: float) -> bool:
        """Wait until every report is acknowledged; False if that took too long."""
        try:
            await asyncio.wait_for(self._emptied.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def _forget(self, request_id: str) -> None:
        self._kept.pop(request_id, None)
        if not self._kept:
            self._emptied.set()

    def _send_all_again(self) -> None:
        for kept in self._kept.values():
            kept.next_try_s, kept.pause_s = -math.inf, RESEND_AFTER_S
        self._sweep()

    def _sweep(self) -> None:
        if not self._kept or not self._client.connected:
            return
        now_s = self._clock.monotonic()
        due = [kept for kept in self._kept.values() if kept.next_try_s <= now_s]
        for kept in due[:BATCH]:
            if not self._send(kept, now_s):
                return

    def _send(self, kept: _Kept, now_s: float, on_puback: Callable[[], None] | None = None) -> bool:
        address = Address(self._client.site, self._client.node, Channel.REPORT)
        try:
            self._client.publish(address, kept.report, on_puback=on_puback)
        except NotConnected:
            return False
        except MessageTooLarge as error:
            event(log, logging.ERROR, "report_dropped", request=kept.report.request_id, reason=error)
            self._forget(kept.report.request_id)
            self.dropped += 1
            return True
        kept.next_try_s = now_s + kept.pause_s
        kept.pause_s = min(2 * kept.pause_s, RESEND_AT_LATEST_S)
        return True
