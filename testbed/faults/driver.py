"""Runs a schedule against a site, lets it recover, and hands ledger and response log to the judge."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from broker.errors import TierwiseError
from broker.topics import Address, Channel, topic_for
from broker.vocabulary import NodeId
from testbed.faults.flood import Flood
from testbed.faults.inject import inject
from testbed.faults.judge import Happened, Verdict, judge
from testbed.faults.ledger import SUFFIX, Effect, What, read_effects, read_folder
from testbed.faults.schedule import Fault
from testbed.faults.site import ORCHESTRATOR, SITE, FaultSite

LOOK_S = 0.5
ORCHESTRATOR_BEATS = topic_for(Address(SITE, NodeId(ORCHESTRATOR), Channel.HEARTBEAT))
ONLINE_TIMEOUT_S = 60.0
DRAIN_TIMEOUT_S = 300.0
SHIP_TIMEOUT_S = 120.0
MARKS = {what: f'"what":"{what}"'.encode() for what in (What.ISSUED, What.ACKNOWLEDGED)}


@dataclass(frozen=True, slots=True)
class Ran:
    """What one run came to."""

    verdict: Verdict
    in_influxdb: Verdict | None
    faults: tuple[Happened, ...]
    unexpected_exits: dict[str, list[int]]
    flooded: int  # published while the orchestrator stood still
    dropped: int  # by the broker, without a word
    drained: bool  # every device process ended by itself, its outbox empty
    seconds: float


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    phase: str
    faults: int
    issued: int


@dataclass(slots=True)
class Counts:
    """How many ids the ledgers hold as issued and as acknowledged, read as they grow."""

    directory: Path
    issued: int = 0
    acknowledged: int = 0
    _offsets: dict[Path, int] = field(default_factory=dict)

    def update(self) -> None:
        """Read what is new."""
        for path in self.directory.glob(f"*{SUFFIX}"):
            with path.open("rb") as file:
                file.seek(self._offsets.get(path, 0))
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self.issued += whole.count(MARKS[What.ISSUED])
            self.acknowledged += whole.count(MARKS[What.ACKNOWLEDGED])
            self._offsets[path] = self._offsets.get(path, 0) + len(whole)


class Driver:
    """One run on a started site. `told` is called some times a second."""

    def __init__(self, site: FaultSite, faults: Sequence[Fault], told: Callable[[Progress], None]) -> None:
        self._site = site
        self._faults = faults
        self._told = told
        self._counts = Counts(site.ledgers)
        self._happened: list[Happened] = []
        self._having: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._phase = "starting"

    async def run(self, least_ids: int = 0, longest_s: float = float("inf")) -> Ran:
        """Inject every fault (none after `longest_s`), go on until `least_ids` are issued, drain, stop, judge."""
        started_s = time.monotonic()
        looking = asyncio.create_task(self._look(), name="look")
        try:
            with Flood(self._site.broker.endpoint, ORCHESTRATOR_BEATS) as flood:
                await self._until(self._site_works, ONLINE_TIMEOUT_S)
                self._phase = "faults"
                await self._inject_all(flood, started_s + longest_s)
                self._phase = "more ids"
                left_s = started_s + longest_s - time.monotonic()
                await self._until(lambda: self._counts.issued >= least_ids, left_s)
                self._phase = "draining"
                drained = await self._drain()
                flooded, dropped = flood.published, flood.dropped
        finally:
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking
        effects, points = read_effects(self._site.response_log), await self._points()
        await self._site.stop()
        books = read_folder(self._site.ledgers)
        faults = tuple(sorted(self._happened, key=lambda fault: fault.number))
        in_influxdb = None if points is None else judge(books, points, faults)
        seconds = time.monotonic() - started_s
        return Ran(
            judge(books, effects, faults),
            in_influxdb,
            faults,
            self._site.unexpected_exits,
            flooded,
            dropped,
            drained,
            seconds,
        )

    async def _inject_all(self, flood: Flood, latest_s: float) -> None:
        started_s = time.monotonic()
        failed: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for fault in self._faults:
                    begins_s = started_s + fault.at_s
                    if begins_s > latest_s:
                        break
                    await asyncio.sleep(max(0.0, begins_s - time.monotonic()))
                    group.create_task(self._inject(fault, flood), name=f"fault {fault.number}")
        except* TierwiseError as errors:
            failed = errors.exceptions[0]
        if failed is not None:
            raise failed

    async def _inject(self, fault: Fault, flood: Flood) -> None:
        async with contextlib.AsyncExitStack() as having:  # a start may take longer than the schedule thought
            for thing in fault.befalls(self._site.targets):
                await having.enter_async_context(self._having[thing])
            began_s = time.time()
            await inject(self._site, fault, flood)
            self._happened.append(Happened(fault.number, fault.kind, fault.target, began_s, time.time()))

    def _site_works(self) -> bool:
        """Each device has asked and has been acknowledged about twice."""
        size = self._site.size
        return self._counts.acknowledged >= 2 * size.device_processes * size.devices_each

    async def _until(self, done: Callable[[], bool], timeout_s: float) -> None:
        ends_s = time.monotonic() + timeout_s
        while not done() and time.monotonic() < ends_s:
            await asyncio.sleep(LOOK_S)

    async def _drain(self) -> bool:
        """Let devices ask no more, and wait until every process of theirs has ended by itself, all acknowledged."""
        self._site.stop_file.touch()
        programs = [self._site.programs[name] for name in self._site.targets.devices]
        for program in programs:
            program.expected = True
        ends_s = time.monotonic() + DRAIN_TIMEOUT_S
        while time.monotonic() < ends_s:
            codes = [program.popen.poll() for program in programs if program.popen is not None]
            if None not in codes:
                return not any(codes)
            await asyncio.sleep(LOOK_S)
        return False

    async def _points(self) -> list[Effect] | None:
        """What InfluxDB has once it has as much as the response log, or some time later."""
        influx = self._site.influx
        if influx is None:
            return None
        wanted, ends_s = len(read_effects(self._site.response_log)), time.monotonic() + SHIP_TIMEOUT_S
        while await asyncio.to_thread(influx.count) != wanted and time.monotonic() < ends_s:
            await asyncio.sleep(LOOK_S)
        return await asyncio.to_thread(influx.effects)

    async def _look(self) -> None:
        while True:
            self._site.look()
            self._counts.update()
            self._told(Progress(self._phase, len(self._happened), self._counts.issued))
            await asyncio.sleep(LOOK_S)
