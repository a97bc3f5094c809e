"""A real site on loopback for faults: Mosquitto, orchestrator, an edge and a cloud node, and processes full of devices.

Each process but the broker reaches it through a link of its own, in a proxy in this process. All must be called from
the loop's thread.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

from broker.children import start_child, wait_or_kill
from broker.link_proxy import Link, LinkProxy
from broker.mosquitto import MosquittoProcess
from broker.mosquitto_settings import STORE_NAME, MosquittoSettings
from broker.vocabulary import NodeId, SiteId, Tier
from configs.influxdb import InfluxSection
from configs.node import BrokerSection, Discipline, EmulateSection, ModelsSection, NodeConfig, ServiceSection
from configs.orchestrator import FilesSection, GoalSection, OrchestratorConfig, Policy, RoundsMode, RoundsSection
from configs.section import Section
from orchestrator.response_log import LOG_NAME
from testbed.faults.devices import DevicesConfig
from testbed.faults.influx import InfluxServer
from testbed.faults.ledger import SUFFIX
from testbed.faults.schedule import Targets

T = TypeVar("T")
SITE = SiteId("faults")
BROKER, ORCHESTRATOR, EDGE, CLOUD = "broker", "orchestrator", "edge-1", "cloud-1"
MODEL = "d3"  # of the serving nodes: each inference is real, and this one takes a millisecond
SERVING_MS = {Tier.EDGE: 15.0, Tier.CLOUD: 40.0}
LOCAL_MS = {"d0": 350.0, "d4": 200.0, "d7": 120.0}  # slower than offloading, so that devices do
MAX_QUEUED = 200
DEADLINE_MS = 2000.0
STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class SiteSize:
    """How many devices in how many processes, and how eager each is."""

    device_processes: int = 4
    devices_each: int = 12
    pause_s: float = 0.4
    decision_timeout_ms: float = 1000.0


@dataclass(slots=True)
class Program:
    """One program of the site: started, killed, frozen, started again. Its log goes on in the same file."""

    name: str
    command: list[str]
    log: Path
    popen: subprocess.Popen[bytes] | None = None
    expected: bool = True  # whether its end, or its absence, is ours
    unexpected_exits: list[int] = field(default_factory=list)

    def start(self) -> None:
        """Begin a new life."""
        with self.log.open("ab") as output:
            self.popen = start_child(self.command, output, {**os.environ, "OMP_NUM_THREADS": "1"})
        self.expected = False

    def kill(self) -> None:
        """kill -9."""
        self.expected = True
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait()

    def signal(self, number: signal.Signals) -> None:
        """To stop or go on; one that has ended meanwhile is found by `look`."""
        if self.popen is not None and self.popen.poll() is None:
            self.popen.send_signal(number)

    def look(self) -> None:
        """Start it again if it has ended by itself, and remember that it did."""
        if not self.expected and self.popen is not None and (code := self.popen.poll()) is not None:
            self.unexpected_exits.append(code)
            self.start()

    def end(self) -> None:
        """SIGTERM, and wait."""
        self.expected = True
        if self.popen is not None and self.popen.poll() is None:
            self.popen.send_signal(signal.SIGCONT)
            self.popen.terminate()
            wait_or_kill(self.popen, STOP_TIMEOUT_S)


class FaultSite:
    """All processes of the site, in `directory`. An async context manager; at its end nothing runs any more."""

    def __init__(
        self,
        directory: Path,
        size: SiteSize,
        seed: int,
        policy: Policy = Policy.RANDOM,
        influx: InfluxServer | None = None,
    ) -> None:
        self.size = size
        self.directory = directory
        self.ledgers = directory / "ledgers"
        self.stop_file = directory / "stop-asking"
        self.response_log = directory / "orchestrator" / LOG_NAME
        self.programs: dict[str, Program] = {}
        self.links: dict[str, Link] = {}
        self._seed = seed
        self._policy = policy
        self.influx = influx
        self._influx_section: InfluxSection | None = None
        settings = MosquittoSettings(directory=directory / "broker", max_queued_messages=MAX_QUEUED)
        self.broker = MosquittoProcess(settings)
        # The kernel ends a server with the thread that started it, and its start blocks: a thread of its own.
        self._servers_thread = ThreadPoolExecutor(1, "servers")
        self._proxy: LinkProxy | None = None
        self._stopped = False

    @property
    def targets(self) -> Targets:
        """Who may be befallen."""
        devices = tuple(f"devices-{number}" for number in range(1, self.size.device_processes + 1))
        return Targets(BROKER, ORCHESTRATOR, (EDGE, CLOUD), devices)

    async def __aenter__(self) -> FaultSite:
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.stop()

    async def _start(self) -> None:
        self.ledgers.mkdir(parents=True)
        await self.start_broker()
        if self.influx is not None:
            self._influx_section = await self._in_servers_thread(self.influx.start)
        endpoint = self.broker.endpoint
        self._proxy = LinkProxy(endpoint.host, endpoint.port, self._seed)
        targets = self.targets
        for name in (targets.orchestrator, *targets.serving, *targets.devices):
            self.links[name] = await self._proxy.listen(0)
        self._configure()
        for program in self.programs.values():
            program.start()

    async def stop(self) -> None:
        """End everything: devices, serving nodes, orchestrator, proxy, broker. May be called again."""
        for name in (*self.targets.devices, EDGE, CLOUD, ORCHESTRATOR):
            if name in self.programs:
                await asyncio.to_thread(self.programs[name].end)
        if self._proxy is not None:
            await self._proxy.close()
        if not self._stopped:
            self._stopped = True
            await self._in_servers_thread(self.broker.stop)
            if self.influx is not None:
                await self._in_servers_thread(self.influx.stop)
            self._servers_thread.shutdown()

    async def start_broker(self) -> None:
        """Return when it answers. Raises BrokerUnavailable."""
        await self._in_servers_thread(self.broker.start)

    def kill_broker(self) -> None:
        """kill -9."""
        os.kill(self.broker.pid, signal.SIGKILL)

    def empty_store(self) -> None:
        """Take all that a killed broker had on disk."""
        shutil.rmtree(self.broker.settings.directory / STORE_NAME)

    def freeze_broker(self, frozen: bool) -> None:
        """SIGSTOP, or SIGCONT."""
        os.kill(self.broker.pid, signal.SIGSTOP if frozen else signal.SIGCONT)

    def look(self) -> None:
        """Start again what ended by itself."""
        for program in self.programs.values():
            program.look()

    @property
    def unexpected_exits(self) -> dict[str, list[int]]:
        """Exit codes of programs that ended by themselves."""
        return {name: program.unexpected_exits for name, program in self.programs.items() if program.unexpected_exits}

    async def _in_servers_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._servers_thread, call)

    # -- configuration ----------------------------------------------------------------------------------------

    def _configure(self) -> None:
        python = [sys.executable, "-m"]
        file = self._write(ORCHESTRATOR, self._orchestrator())
        self._program(ORCHESTRATOR, [*python, "tierwise", "orchestrator", "run", "--config", str(file)])
        for name, tier in ((EDGE, Tier.EDGE), (CLOUD, Tier.CLOUD)):
            file = self._write(name, self._serving(name, tier))
            self._program(name, [*python, "device_agent", "run", "--config", str(file)])
        for number, name in enumerate(self.targets.devices, start=1):
            file = self.directory / f"{name}.json"
            file.write_bytes(msgspec.json.encode(self._devices(name, number)))
            self._program(name, [*python, "testbed.faults.devices", str(file)])

    def _program(self, name: str, command: list[str]) -> None:
        self.programs[name] = Program(name, command, self.directory / f"{name}.log")

    def _write(self, name: str, section: Section) -> Path:
        file = self.directory / f"{name}.yaml"
        file.write_text(yaml.safe_dump(section.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
        return file

    def _orchestrator(self) -> OrchestratorConfig:
        return OrchestratorConfig(
            version=1,
            site=SITE,
            node=NodeId(ORCHESTRATOR),
            broker=BrokerSection(port=self.links[ORCHESTRATOR].port),
            goal=GoalSection(accuracy_floor=0.0, policy=self._policy),
            rounds=RoundsSection(mode=RoundsMode.IMMEDIATE, deadline_ms=DEADLINE_MS),
            serving_nodes={"edge": (NodeId(EDGE),), "cloud": (NodeId(CLOUD),)},
            files=FilesSection(directory=self.directory / "orchestrator", checkpoint_every_rounds=100),
            influxdb=self._influx_section,
            seed=self._seed,
            log_level="error",
        )

    def _serving(self, name: str, tier: Tier) -> NodeConfig:
        emulate = EmulateSection.model_validate({"reference_ms": {MODEL: SERVING_MS[tier]}, "contention": 0.2})
        return NodeConfig(
            version=1,
            site=SITE,
            node=NodeId(name),
            tier=tier,
            broker=BrokerSection(port=self.links[name].port),
            models=ModelsSection.model_validate({"pool": [MODEL]}),
            service=ServiceSection(discipline=Discipline.TIME_SHARED, queue_length=64),
            emulate=emulate,
            log_level="error",
        )

    def _devices(self, name: str, number: int) -> DevicesConfig:
        size = self.size
        first = (number - 1) * size.devices_each + 1
        return DevicesConfig(
            site=SITE,
            names=[f"device-{place}" for place in range(first, first + size.devices_each)],
            port=self.links[name].port,
            directory=str(self.directory / "outboxes"),
            ledger=str(self.ledgers / f"{name}{SUFFIX}"),
            stop_file=str(self.stop_file),
            seed=self._seed,
            pause_s=size.pause_s,
            decision_timeout_ms=size.decision_timeout_ms,
            local_ms=LOCAL_MS,
        )
