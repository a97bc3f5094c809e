"""Asks again and again, in the rhythm that the node's settings name, one request at a time."""

from __future__ import annotations

import asyncio
import logging

from broker.client import Inbound, MqttClient
from broker.clock import Clock
from broker.events import event
from broker.messages import Round
from broker.topics import Channel, filter_for
from configs.node import RequesterMode, RequesterSection
from device_agent.images.source import ImageSource, NoImage, Photograph
from device_agent.requester.sequence import RequestSequence
from device_agent.requester.ticks import PeriodicTicks, RoundGate

log = logging.getLogger(__name__)

LONGEST_NAP_S = 0.5  # so that a wall clock that is set is noticed
NO_IMAGE_PAUSE_S = 5.0


class Requester:
    """Runs until `stop()`; the request that is under way then is finished first."""

    def __init__(
        self,
        settings: RequesterSection,
        client: MqttClient,
        sequence: RequestSequence,
        source: ImageSource,
        clock: Clock,
    ) -> None:
        self._sequence = sequence
        self._source = source
        self._clock = clock
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._ticks = PeriodicTicks(settings.period_s)
        self._gate: RoundGate | None = None
        if settings.mode is RequesterMode.CLOSED_LOOP:
            self._gate = RoundGate(settings.open_timeout_s, clock.monotonic())
            client.subscribe(filter_for(client.site, Channel.ROUND), Channel.ROUND, self.on_round)

    def reconfigure(self, settings: RequesterSection) -> None:
        """Ask in the new rhythm from now on; a request that is under way goes on as it began."""
        self._ticks.reconfigure(settings.period_s)
        if self._gate is not None:
            self._gate.reconfigure(settings.open_timeout_s)
        self._sequence.reconfigure(settings.decision_timeout_ms / 1000, settings.images)
        self._wake.set()

    def stop(self) -> None:
        """Begin no further request."""
        self._stop.set()
        self._wake.set()

    def on_round(self, inbound: Inbound) -> None:
        """The orchestrator said something about a round."""
        if self._gate is not None and isinstance(inbound.body, Round):
            said = inbound.body
            self._gate.heard(said.round, said.open, self._clock.monotonic(), said.immediate)
            self._wake.set()

    async def run(self) -> None:
        """Request after request."""
        try:
            await self._run()
        finally:
            self._sequence.log_requests(at_end=True)

    async def _run(self) -> None:
        while not self._stop.is_set():
            # The photograph is ready before the request is issued: a camera's or a disk's time is not the site's.
            photograph = await self._photograph() if self._source.ahead else None
            await self._due()
            if self._stop.is_set():
                return
            photograph = photograph or await self._photograph()
            if photograph is None:
                await self._nap(NO_IMAGE_PAUSE_S)
                continue
            self._take()
            report = await self._sequence.ask(photograph)
            self._sequence.log_requests()
            if self._gate is not None:
                self._gate.ended(self._clock.monotonic(), report.decided)

    async def _photograph(self) -> Photograph | None:
        try:
            return await asyncio.to_thread(self._source.next)
        except NoImage as error:
            event(log, logging.ERROR, "no_image", reason=error)
            return None

    async def _due(self) -> None:
        while not self._stop.is_set() and (wait_s := self._wait_s()) > 0:
            await self._nap(min(wait_s, LONGEST_NAP_S))
            self._sequence.log_requests()

    def _wait_s(self) -> float:
        if self._gate is not None:
            return self._gate.wait_s(self._clock.monotonic())
        return self._ticks.wait_s(self._clock.wall())

    def _take(self) -> None:
        if self._gate is not None:
            self._gate.take()
        else:
            self._ticks.take()

    async def _nap(self, longest_s: float) -> None:
        self._wake.clear()
        if self._stop.is_set():
            return
        try:
            await asyncio.wait_for(self._wake.wait(), longest_s)
        except TimeoutError:
            return
