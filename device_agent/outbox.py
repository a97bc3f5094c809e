"""Reports that the orchestrator has not stored yet.

At most `limit`; beyond it the oldest is dropped first, counted and logged, because what a device has just measured says
more about now than what it measured an hour ago. A report is sent at once, again on every connect, and again after
growing pauses until `report/ack` names it. With a `ReportStore` all that is true across lives of this process, too.
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
from broker.vocabulary import ModelName, RequestId
from device_agent.monitoring.monitor import ResourceMonitor
from device_agent.report_store import ReportStore

log = logging.getLogger(__name__)

LIMIT = 2000  # about 1 MB in memory and on disk, and an hour and a half at a request each three seconds
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
        self._store: ReportStore | None = None
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

    def keep_in(self, store: ReportStore) -> None:
        """From now on survive this process, and send what an earlier one left. Inside the loop, before connecting."""
        self._store = store
        store.start()
        for report in store.found:
            self._keep(report)
        self._bound()
        if store.found:
            event(log, logging.INFO, "outbox_found", node=self._client.node, reports=len(store.found))

    def close(self) -> None:
        """End the disk's thread; what is not acknowledged stays on disk. Blocks."""
        if self._store is not None:
            self._store.close()

    async def begin(self, request: RequestId, model: ModelName) -> None:
        """Put a request on record before it leaves: should this node die, it will be reported as failed."""
        if self._store is not None:
            await self._store.begun(request, model)

    def give_up(self, request: RequestId) -> None:
        """A request that was on record has not been issued after all."""
        if self._store is not None:
            self._store.forget(request)

    def add(self, report: Report) -> None:
        """Keep `report` until it is acknowledged, and send it if that is possible now."""
        kept = self._keep(report)
        if self._store is not None:
            self._store.ended(report)
        self._bound()
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

    def _keep(self, report: Report) -> _Kept:
        self._kept[report.request_id] = kept = _Kept(report)
        self._emptied.clear()
        return kept

    def _bound(self) -> None:
        while len(self._kept) > self._limit:
            oldest = next(iter(self._kept))
            self._forget(oldest)
            self.dropped += 1
            event(log, logging.WARNING, "report_dropped", request=oldest, dropped=self.dropped)

    def _forget(self, request_id: str) -> None:
        if self._kept.pop(request_id, None) is not None and self._store is not None:
            self._store.forget(request_id)
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
