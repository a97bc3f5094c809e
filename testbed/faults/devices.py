"""Several end devices in one process: all of the agent's own software but the inference, and a ledger beside it.

    python -m testbed.faults.devices CONFIG.json

Each device asks after a pause of its own, drawn anew each time. When the file `stop_file` appears, or on SIGTERM, they
ask no more; the process ends when every report is acknowledged (on SIGTERM after some seconds at most).
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from broker.client import Endpoint, Inbound, MqttClient
from broker.clock import Clock, SystemClock
from broker.events import log_to_stderr
from broker.messages import ReportAck
from broker.pings import PingAnswering
from broker.tls import Tls
from broker.topics import Channel, filter_for
from broker.vocabulary import ModelName, NodeId, RequestId, SiteId, Tier
from configs.node import ImagesSection, MonitoringSection, RequesterMode, RequesterSection
from device_agent.accuracy import ModelsByAccuracy
from device_agent.images.pixels import encode_for_offload
from device_agent.images.source import Photograph, open_source
from device_agent.monitoring.monitor import ResourceMonitor
from device_agent.outbox import Outbox
from device_agent.outbox_file import store_path
from device_agent.presence import Identity, Presence
from device_agent.report_store import ReportStore
from device_agent.requester.exchange import Exchange
from device_agent.requester.requester import Requester
from device_agent.requester.sequence import RequestSequence, Settings
from device_agent.service.fair_queue import JobFuture, Waiting
from device_agent.service.job import Served
from device_agent.service.service import IntelligentService, answer
from testbed.faults.ledger import Entry, Ledger, What

IMAGE_PX = 96
LOOK_S = 0.2
HAND_IN_S = 3.0
FOR_EVER_S = 1e9
MOST_JOBS = 1000


class DevicesConfig(msgspec.Struct, frozen=True):
    """What one process is told."""

    site: str
    names: list[str]
    port: int
    directory: str  # of outboxes
    ledger: str
    stop_file: str
    seed: int
    pause_s: float  # the average of a device
    decision_timeout_ms: float
    local_ms: dict[str, float]  # what a local run of a model takes
    outbox_reports: int = 100_000
    certificates: str = ""  # folder with one folder for each device; without it they connect in plain text
    closed_loop: bool = False  # ask on every open round, not after a pause
    synchronous: str = "normal"  # our processes die here, the machine does not


class PretendedModels:
    """Models that nothing here ever runs."""

    def __init__(self, names: list[str]) -> None:
        self._files = {ModelName(name): hashlib.sha256(name.encode()).hexdigest() for name in names}

    def available(self) -> dict[ModelName, str]:
        """Name and a sha256 that no file has."""
        return self._files

    def classify(self, model: ModelName, image: bytes) -> Served:
        """Never called."""
        raise NotImplementedError(f"{model} is pretended, and so is what it sees in {len(image)} bytes")


class PretendedService(IntelligentService):
    """Each job takes its model's time and no work."""

    emulated = True
    in_service = 0

    def __init__(self, models: PretendedModels, local_ms: dict[str, float], clock: Clock) -> None:
        super().__init__(models, MOST_JOBS, MOST_JOBS, clock)
        self._local_ms = local_ms

    def cpu_percent(self) -> float:
        """Of nothing."""
        return 5.0

    def memory_percent(self) -> float:
        """Of nothing."""
        return 20.0

    def _start(self, entry: Waiting, now_s: float) -> None:  # noqa: ARG002  # there is no work that could begin
        took_ms = self._local_ms[entry.job.model]
        served = Served("pretended", trained=False, queue_ms=0.0, compute_ms=took_ms, emulated=True)
        asyncio.get_running_loop().call_later(took_ms / 1000, answer, entry.future, served)

    def _running_jobs(self) -> list[JobFuture]:
        return []

    def _close(self) -> None:
        return


class PretendedSource:
    """The same photograph again and again."""

    ahead = False

    def __init__(self, photograph: Photograph) -> None:
        self._photograph = photograph

    def next(self) -> Photograph:
        """See ImageSource."""
        return self._photograph

    def close(self) -> None:
        """See ImageSource."""


class LedgerOutbox(Outbox):
    """The agent's outbox; what happens to each id goes into the ledger first."""

    ledger: Ledger

    def enter(self, what: What, request: str) -> None:
        """One line."""
        self.ledger.write(Entry(self._clock.wall(), self._client.node, what, request))

    async def begin(self, request: RequestId, model: ModelName) -> None:
        """See Outbox."""
        self.enter(What.DRAWN, request)
        await super().begin(request, model)
        self.enter(What.ISSUED, request)

    def give_up(self, request: RequestId) -> None:
        """See Outbox."""
        self.enter(What.GIVEN_UP, request)
        super().give_up(request)

    def acknowledge(self, inbound: Inbound) -> None:
        """See Outbox."""
        if isinstance(inbound.body, ReportAck):
            for request in inbound.body.request_ids:
                self.enter(What.ACKNOWLEDGED, request)
        super().acknowledge(inbound)


class Device:
    """One end device, put together as `device_agent.agent.Agent` puts it together."""

    def __init__(self, config: DevicesConfig, name: str, ledger: Ledger, photograph: Photograph, clock: Clock) -> None:
        node, site = NodeId(name), SiteId(config.site)
        models = PretendedModels(list(config.local_ms))
        self._photograph = photograph
        self._pause_s = config.pause_s
        self._draw = random.Random(f"{config.seed} {name}")
        self.service = PretendedService(models, config.local_ms, clock)
        tls = Tls.in_directory(Path(config.certificates) / name) if config.certificates else None
        self.client = MqttClient(Endpoint(port=config.port, tls=tls), site, node, "agent", clock=clock)
        self.monitor = ResourceMonitor(self.client, MonitoringSection(), self.service, self.service, clock)
        identity = Identity(Tier.END, 1, emulated=True)
        presence = Presence(self.client, identity, models.available, self.monitor.timed)
        self.client.subscribe(filter_for(site, Channel.STATE, node), Channel.STATE, presence.heal)
        PingAnswering(self.client, clock)
        self.outbox = LedgerOutbox(self.client, self.monitor, clock, config.outbox_reports)
        self.outbox.ledger = ledger
        self.outbox.keep_in(ReportStore(store_path(Path(config.directory), site, node), node, config.synchronous))
        self._sequence = RequestSequence(
            Settings(node, config.decision_timeout_ms / 1000, ImagesSection(width_px=IMAGE_PX)),
            Exchange(self.client, presence.heal),
            self.service,
            ModelsByAccuracy(models, [ModelName(name) for name in config.local_ms], {}),
            self.monitor,
            self.outbox,
            clock,
        )
        self._requester: Requester | None = None
        if config.closed_loop:
            source = PretendedSource(photograph)
            asks = RequesterSection(mode=RequesterMode.CLOSED_LOOP)
            self._requester = Requester(asks, self.client, self._sequence, source, clock)
        self.tasks = [
            asyncio.create_task(part, name=f"{name} {number}")
            for number, part in enumerate((
                self.client.run(), self.monitor.send_telemetry(), self.monitor.send_heartbeats(),
                self.outbox.send_for_ever(),
            ))
        ]  # fmt: skip

    async def ask_until(self, stop: asyncio.Event) -> None:
        """Request after request, each after a pause, or on each open round."""
        if self._requester is not None:
            running = asyncio.create_task(self._requester.run(), name=f"{self.client.node} requester")
            stopped = asyncio.create_task(stop.wait(), name=f"{self.client.node} stop")
            await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
            self._requester.stop()
            stopped.cancel()
            await running
            return
        while not stop.is_set():
            try:
                await asyncio.wait_for(stop.wait(), self._draw.expovariate(1.0 / self._pause_s))
            except TimeoutError:
                await self._sequence.ask(self._photograph)

    async def leave(self) -> None:
        """Say `stopped` and end every task; what is not acknowledged stays on disk."""
        await self.client.stop()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await asyncio.to_thread(self.outbox.close)


async def live(config: DevicesConfig) -> None:
    """The whole life of this process."""
    stop, told = asyncio.Event(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    shipped = open_source(ImagesSection()).next()
    photograph = Photograph("pretended", encode_for_offload(shipped.content, IMAGE_PX, 80))
    ledger = Ledger(Path(config.ledger))
    devices = [Device(config, name, ledger, photograph, SystemClock()) for name in config.names]
    asking = [asyncio.create_task(device.ask_until(stop), name=device.client.node) for device in devices]
    while not Path(config.stop_file).exists() and not told.is_set():
        if any(task.done() for task in (*asking, *(task for device in devices for task in device.tasks))):
            break  # a defect: it is told below
        await asyncio.sleep(LOOK_S)
    stop.set()
    await asyncio.gather(*asking)
    patience_s = HAND_IN_S if told.is_set() else FOR_EVER_S
    waiting: list[asyncio.Future[Any]] = [
        asyncio.gather(*(device.outbox.emptied(patience_s) for device in devices)),
        asyncio.ensure_future(told.wait()),
    ]
    await asyncio.wait(waiting[: 1 if told.is_set() else 2], return_when=asyncio.FIRST_COMPLETED)
    for future in waiting:
        future.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.gather(*(device.leave() for device in devices))
    ledger.close()


def main() -> int:
    """Entry point."""
    config = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=DevicesConfig)
    log_to_stderr("error")
    asyncio.run(live(config))
    return 0


if __name__ == "__main__":
    sys.exit(main())
