"""What happens to one request, from its issue to its report.

request -> decision -> local, or offload -> (fallback) -> report
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

from broker.clock import Clock
from broker.errors import MessageTooLarge, NotConnected
from broker.events import event
from broker.messages import Decision, Report, Result
from broker.request_statistics import RequestStatistics
from broker.vocabulary import ModelName, NodeId, Tier, new_request_id
from configs.node import ImagesSection
from device_agent.accuracy import ModelsByAccuracy
from device_agent.images.pixels import encode_for_offload
from device_agent.images.source import Photograph
from device_agent.monitoring.monitor import ResourceMonitor
from device_agent.outbox import Outbox
from device_agent.requester.exchange import Exchange, Lost, Pending
from device_agent.requester.trace import Trace
from device_agent.service.job import Declined, Job, Refusal, Served
from device_agent.service.service import IntelligentService
from model_zoo.errors import BadImage

log = logging.getLogger(__name__)

LAST_RESORT_S = 30.0  # for a local run that no decision sets a deadline for; a slow node needs seconds for d0
MOST_LOCAL_RUNS = 3  # a node on which three models fail will not do better with the fourth
HOPELESS = {Refusal.BAD_IMAGE, Refusal.STOPPING}  # another model would meet the same


@dataclass(frozen=True, slots=True)
class Settings:
    """What of a node's YAML concerns a single request."""

    node: NodeId
    decision_timeout_s: float
    images: ImagesSection


class RequestSequence:
    """Carries one request at a time through its life. Every call of `ask` leaves exactly one report in the outbox."""

    def __init__(
        self,
        settings: Settings,
        exchange: Exchange,
        service: IntelligentService,
        models: ModelsByAccuracy,
        monitor: ResourceMonitor,
        outbox: Outbox,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._exchange = exchange
        self._service = service
        self._models = models
        self._monitor = monitor
        self._outbox = outbox
        self._clock = clock
        self._statistics = RequestStatistics(clock.monotonic())

    def reconfigure(self, decision_timeout_s: float, images: ImagesSection) -> None:
        """Wait for decisions, and encode images, in this way from now on."""
        self._settings = Settings(self._settings.node, decision_timeout_s, images)

    async def ask(self, photograph: Photograph) -> Report:
        """Issue a request for `photograph`; the report says how it ended. Cancelling it makes the request failed."""
        pending, here = Pending(new_request_id()), self._models.here()
        model = here[0] if here else self._models.first_choice
        try:
            await self._outbox.begin(pending.request_id, model)
        except asyncio.CancelledError:
            self._outbox.give_up(pending.request_id)
            raise
        trace = Trace(pending.request_id, self._settings.node, model, self._clock.monotonic())
        try:
            await self._run(pending, trace, photograph, here)
        except asyncio.CancelledError:
            trace.fail("this node is being stopped")
            raise
        finally:
            self._exchange.close(pending)
            report = trace.report(self._clock.monotonic())
            self._outbox.add(report)
            self._statistics.add(report)
            _log(report, photograph)
        return report

    def log_requests(self, *, at_end: bool = False) -> None:
        """Log the statistics of the last minute once it is over, `at_end` those of the time since then."""
        now_s = self._clock.monotonic()
        statistics = self._statistics.take(now_s) if at_end else self._statistics.due(now_s)
        if statistics is not None:
            level = logging.WARNING if statistics["failed"] or statistics["fallen_back"] else logging.INFO
            event(log, level, "requests", node=self._settings.node, **statistics)

    async def _run(self, pending: Pending, trace: Trace, photograph: Photograph, here: Sequence[ModelName]) -> None:
        decision = await self._decision(pending, trace)
        if decision is None:
            await self._local(trace, photograph, here, here, LAST_RESORT_S)
            return
        fallback = ModelName(decision.fallback_model)
        if decision.tier is Tier.END:
            order = (ModelName(decision.model), fallback, *here)
            await self._local(trace, photograph, order, here, decision.deadline_ms / 1000)
        elif not await self._offloaded(pending, trace, decision, photograph):
            await self._local(trace, photograph, (fallback, *here), here, LAST_RESORT_S)

    async def _decision(self, pending: Pending, trace: Trace) -> Decision | None:
        timeout_s = self._settings.decision_timeout_s
        try:
            self._exchange.request(pending, expiry_s=max(1, math.ceil(timeout_s)))
            decision = await asyncio.wait_for(asyncio.shield(pending.decision), timeout_s)
        except NotConnected:
            decision = Lost("no link")
        except TimeoutError:
            decision = Lost("no decision")
        now_s = self._clock.monotonic()
        if isinstance(decision, Lost):
            pending.lose(decision.reason)
            trace.decision_lost_s = now_s
            trace.fail(decision.reason)
            return None
        trace.decided_s = now_s
        return decision

    async def _offloaded(self, pending: Pending, trace: Trace, decision: Decision, photograph: Photograph) -> bool:
        """Try the serving node; False, with the reason noted, when there is no label in time."""
        node = NodeId(decision.serving_node)
        try:
            image = await self._encode(trace, photograph)
            left_s = decision.deadline_ms / 1000 - (self._clock.monotonic() - (trace.decided_s or 0.0))
            outcome = await self._offload(pending, trace, decision, image, left_s)
        except (NotConnected, MessageTooLarge, BadImage) as error:
            outcome = Lost(str(error))
        except TimeoutError:
            outcome = Lost("no result in time")
        pending.lose("given up")
        if isinstance(outcome, Lost):
            trace.fail(f"{node}: {outcome.reason}")
        elif outcome.refused is not None:
            trace.fail(f"{node}: {outcome.refused}" + (f" ({outcome.detail})" if outcome.detail else ""))
        else:
            trace.done_there(outcome, node, decision.tier, self._clock.monotonic())
            return True
        return False

    async def _encode(self, trace: Trace, photograph: Photograph) -> bytes:
        images = self._settings.images
        started_s = self._clock.monotonic()
        try:
            return await asyncio.to_thread(encode_for_offload, photograph.content, images.width_px, images.jpeg_quality)
        finally:
            trace.encode_s = self._clock.monotonic() - started_s

    async def _offload(
        self, pending: Pending, trace: Trace, decision: Decision, image: bytes, left_s: float
    ) -> Result | Lost:
        if left_s <= 0:
            raise TimeoutError
        sent_s = self._clock.monotonic()

        def acknowledged() -> None:
            if trace.failures or trace.ended_s is not None:
                return  # published again after an outage, for an attempt that was given up
            trace.uplink_s = self._clock.monotonic() - sent_s
            self._monitor.uploaded(len(image), trace.uplink_s)

        result = self._exchange.offload(pending, decision, image, left_s * 1000, acknowledged)
        return await asyncio.wait_for(asyncio.shield(result), left_s)

    async def _local(
        self,
        trace: Trace,
        photograph: Photograph,
        order: Sequence[ModelName],
        here: Sequence[ModelName],
        timeout_s: float,
    ) -> None:
        """Run models of `order` until one gives a label. The first has `timeout_s`, others the last resort's."""
        tried = 0
        for model in dict.fromkeys(order):
            if model not in here:
                trace.fail(f"{model} is not on this node")
                continue
            if tried == MOST_LOCAL_RUNS:
                return
            tried += 1
            trace.model = model
            outcome = await self._run_here(model, photograph, timeout_s if tried == 1 else LAST_RESORT_S)
            if not isinstance(outcome, Declined):
                trace.done_here(outcome, self._clock.monotonic())
                return
            trace.fail(f"{model}: {outcome.refusal} ({outcome.detail})")
            if outcome.refusal in HOPELESS:
                return
        if not tried:
            trace.fail("no model on this node: tierwise-agent models fetch")

    async def _run_here(self, model: ModelName, photograph: Photograph, timeout_s: float) -> Served | Declined:
        job = Job(model, photograph.content, self._clock.monotonic() + timeout_s)
        try:
            return await asyncio.wait_for(self._service.submit(job), timeout_s)
        except TimeoutError:
            return Declined(Refusal.EXPIRED, f"no label within {timeout_s:.1f} s")


def _log(report: Report, photograph: Photograph) -> None:
    event(
        log,
        logging.DEBUG,
        f"request_{report.outcome}",
        request=report.request_id,
        model=report.model,
        at=report.serving_node,
        response_ms=report.response_ms,
        label=report.label or "-",
        photograph=photograph.name,
        emulated=report.emulated,
        reason=report.reason or "-",
    )
