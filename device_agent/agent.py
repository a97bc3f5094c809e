"""One node: its parts put together, its tasks started, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

from broker.client import MqttClient
from broker.clock import Clock
from broker.errors import TierwiseError
from broker.events import event, set_level
from broker.pings import PingAnswering
from broker.rate_limit import RateLimit
from broker.tickets import ticket_key_of
from broker.topics import Channel, filter_for
from broker.vocabulary import ModelName, Tier
from configs.node import Discipline, ImagesSection, NodeConfig, RequesterMode
from device_agent.accuracy import ModelsByAccuracy
from device_agent.emulation.virtual_server import FirstInFirstOut, ProcessorSharing, VirtualServer
from device_agent.images.pixels import encode_for_offload
from device_agent.images.source import ImageSource, open_source
from device_agent.monitoring.monitor import ResourceMonitor
from device_agent.monitoring.resources import Resources, vcpus
from device_agent.outbox import Outbox
from device_agent.outbox_file import store_path
from device_agent.presence import Identity, Presence
from device_agent.report_store import ReportStore
from device_agent.requester.exchange import Exchange
from device_agent.requester.requester import Requester
from device_agent.requester.sequence import RequestSequence, Settings
from device_agent.service.emulated import EmulatedService
from device_agent.service.inference import classify
from device_agent.service.job import Job
from device_agent.service.service import IntelligentService, RealService
from device_agent.serving import Serving
from model_zoo.errors import on_node
from model_zoo.local_manifest import site_manifest
from model_zoo.pool import ModelPool
from model_zoo.runtime import interpreter_class, runtime_found

log = logging.getLogger(__name__)

# How long a clean end may take, step by step; together they stay below what service managers allow (10 s and more).
FINISH_REQUEST_S = 3.5
FINISH_JOBS_S = 2.5
HAND_IN_REPORTS_S = 1.0
LEAVE_BROKER_S = 2.5

WARM_UP_PX = 224
MESSAGES_PER_S, MESSAGES_BURST = 200.0, 400.0  # of one device to a serving node; more are not read


@dataclass(frozen=True, slots=True)
class EmulatedReadings:
    """The emulated node's processor; memory is the machine's, which all nodes on it share."""

    service: EmulatedService
    resources: Resources

    def cpu_percent(self) -> float:
        """Of the emulated vCPUs, since the last call."""
        return self.service.cpu_percent()

    def memory_percent(self) -> float:
        """Of the machine."""
        return self.resources.memory_percent()


class Agent:
    """A node on any tier. Its public parts tell how it is doing. Make it inside the loop.

    Raises NoImage, CameraUnavailable, ConfigError.
    """

    def __init__(self, config: NodeConfig, clock: Clock) -> None:
        self.clock = clock
        self._config = config
        self._source = open_source(config.requester.images) if config.requester.mode is not RequesterMode.NONE else None
        self._pool = pool_of(config)
        specs = self._pool.manifest.models
        top5_tenths = {name: spec.top5_tenths or 0 for name, spec in specs.items()}
        top1_tenths = {name: spec.top1_tenths or 0 for name, spec in specs.items()}
        self._models = ModelsByAccuracy(self._pool, config.models.pool, top5_tenths, top1_tenths)
        self.service = service_of(config, self._pool, clock)
        limit = RateLimit(MESSAGES_PER_S, MESSAGES_BURST) if config.tier is not Tier.END else None
        endpoint = config.broker.endpoint()
        self.client = MqttClient(endpoint, config.site, config.node, "agent", clock=clock, limit=limit)
        self.monitor = self._new_monitor(clock)
        identity = Identity(config.tier, config.emulate.vcpus if config.emulate else vcpus(), self.service.emulated)
        label_sets = {name: spec.label_set for name, spec in specs.items() if spec.label_set is not None}
        self._presence = Presence(self.client, identity, self._models.available, self.monitor.timed, label_sets)
        own_state = filter_for(config.site, Channel.STATE, config.node)
        self.client.subscribe(own_state, Channel.STATE, self._presence.heal)
        PingAnswering(self.client, clock)
        self.outbox = Outbox(self.client, self.monitor, clock, config.outbox.reports)
        if config.tier is not Tier.END:
            Serving(self.client, self.service, ticket_key_of(endpoint))
        self._requester = self._new_requester(self._source, clock) if self._source is not None else None

    async def run(self, stop: asyncio.Event) -> None:
        """Live until `stop` is set, then end cleanly. Raises OutboxRefused, and what a defect of a part raises."""
        await asyncio.to_thread(self._log_faults)
        if self._config.models.preload:
            await asyncio.to_thread(self._warm_up, self._models.here())
        elif self.service.emulated:
            await asyncio.to_thread(self._warm_up, self._models.here()[:1])
        if (store := store_of(self._config)) is not None:
            self.outbox.keep_in(store)
        parts = {
            "link": self.client.run(),
            "telemetry": self.monitor.send_telemetry(),
            "heartbeat": self.monitor.send_heartbeats(),
            "outbox": self.outbox.send_for_ever(),
        }
        tasks = {name: asyncio.create_task(part, name=f"{self._config.node}-{name}") for name, part in parts.items()}
        if self._requester is not None:
            tasks["requester"] = asyncio.create_task(self._requester.run(), name=f"{self._config.node}-requester")
        stopped = asyncio.create_task(stop.wait(), name=f"{self._config.node}-stop")
        try:
            await asyncio.wait({stopped, *tasks.values()}, return_when=asyncio.FIRST_COMPLETED)
            await self._end(tasks)
        finally:
            for task in (stopped, *tasks.values()):
                task.cancel()
            await asyncio.gather(stopped, *tasks.values(), return_exceptions=True)
            self.outbox.close()  # or, after a defect, its thread would keep the process from ending, and from a restart

    def reconfigure(self, config: NodeConfig) -> None:
        """Take the live values of `config`; what else differs needs a new agent."""
        set_level(config.log_level)
        self.monitor.reconfigure(config.monitoring)
        if self._requester is not None:
            self._requester.reconfigure(config.requester)

    async def _end(self, tasks: dict[str, asyncio.Task[None]]) -> None:
        """Finish what is under way, hand back what waits, hand in reports, say `stopped`."""
        event(log, logging.INFO, "stopping", node=self._config.node)
        if self._requester is not None:
            self._requester.stop()
            await _finished(tasks["requester"], FINISH_REQUEST_S)
        await self.service.drain(FINISH_JOBS_S)
        if self.client.connected and not await self.outbox.emptied(HAND_IN_REPORTS_S):
            event(log, logging.WARNING, "reports_unacknowledged", count=len(self.outbox))
        for name in ("telemetry", "heartbeat", "outbox"):
            await _finished(tasks[name], 0.0)
        self._presence.leave()
        await self.client.stop()
        await _finished(tasks["link"], LEAVE_BROKER_S)
        await asyncio.to_thread(self.outbox.close)
        if self._source is not None:
            self._source.close()
        event(log, logging.INFO, "stopped", node=self._config.node)

    def _log_faults(self) -> None:
        """One event for each model of the pool that cannot be run, with its fix. Reads every file once."""
        try:
            if not runtime_found():
                interpreter_class()
            faults = self._pool.faults()
        except TierwiseError as error:
            event(log, logging.ERROR, "models_unavailable", reason=on_node(error))
            return
        for name, fault in faults.items():
            event(log, logging.ERROR, "model_not_offered", model=name, reason=fault.what, hint=fault.node_hint)

    def _warm_up(self, models: Sequence[ModelName]) -> None:
        """Load what first inferences need: an emulated time must not carry the start of a library."""
        try:
            photograph = open_source(ImagesSection()).next()
            encode_for_offload(photograph.content, WARM_UP_PX, 90)
        except TierwiseError as error:
            event(log, logging.WARNING, "not_warmed_up", reason=on_node(error))
            return
        for model in models:
            classify(self._pool, Job(model, photograph.content, deadline_s=math.inf))

    def _new_monitor(self, clock: Clock) -> ResourceMonitor:
        resources, emulate = Resources(), self._config.emulate
        readings = EmulatedReadings(self.service, resources) if isinstance(self.service, EmulatedService) else resources
        link = emulate.link if emulate is not None else None
        return ResourceMonitor(self.client, self._config.monitoring, readings, self.service, clock, link)

    def _new_requester(self, source: ImageSource, clock: Clock) -> Requester:
        settings = self._config.requester
        exchange = Exchange(self.client, self._presence.heal, lambda goal: self._models.order_by(goal.metric))
        sequence = RequestSequence(
            Settings(self._config.node, settings.decision_timeout_ms / 1000, settings.images),
            exchange,
            self.service,
            self._models,
            self.monitor,
            self.outbox,
            clock,
        )
        return Requester(settings, self.client, sequence, source, clock)


def store_of(config: NodeConfig) -> ReportStore | None:
    """The outbox's file of a node that asks; others have nothing to report. Raises OutboxRefused."""
    if config.requester.mode is RequesterMode.NONE:
        return None
    path = store_path(config.outbox.directory, config.site, config.node)
    return ReportStore(path, config.node, config.outbox.synchronous)


def pool_of(config: NodeConfig) -> ModelPool:
    """The models that a node's settings name. Raises ConfigError."""
    models = config.models
    manifest = site_manifest(models.manifest, models.directory)
    return ModelPool(models.directory, models.pool, models.memory_limit_mb, models.threads, manifest)


def service_of(config: NodeConfig, pool: ModelPool, clock: Clock) -> IntelligentService:
    """The Intelligent Service that a node's settings ask for."""
    settings, emulate = config.service, config.emulate
    shared = settings.discipline is Discipline.TIME_SHARED
    workers = settings.workers or (emulate.vcpus if emulate is not None else vcpus())
    limit = workers + settings.queue_length
    if emulate is None:
        return RealService(pool, limit if shared else workers, limit, clock)
    server: VirtualServer = (
        ProcessorSharing(emulate.contention, emulate.vcpus) if shared else FirstInFirstOut(workers, emulate.vcpus)
    )
    return EmulatedService(pool, server, emulate.reference_ms, limit, clock, limit if shared else workers)


async def _finished(task: asyncio.Task[None], longest_s: float) -> None:
    """Let `task` end by itself for a while, then cancel it. Raises what it raised."""
    await asyncio.wait({task}, timeout=longest_s)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
