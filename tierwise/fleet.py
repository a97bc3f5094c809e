"""The processes of a whole site on this machine: broker, link proxy, orchestrator, and one agent per node.

Every process gets a YAML file of its own and a log of its own in the run's folder, so that a person can look at each,
or start it again by hand.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from broker.children import start_child, wait_or_kill
from broker.client import Endpoint
from broker.errors import TierwiseError
from broker.mosquitto import MosquittoProcess, MosquittoSettings
from broker.ports import free_port
from broker.vocabulary import Link, NodeId, Tier
from configs.demo import DemoConfig, FleetNode
from configs.influxdb import InfluxSection
from configs.node import (
    BrokerSection,
    Discipline,
    ModelsSection,
    NodeConfig,
    OutboxSection,
    RequesterMode,
    RequesterSection,
    ServiceSection,
)
from configs.orchestrator import FilesSection, GoalSection, OrchestratorConfig, RoundsSection
from configs.section import Section

STOP_TIMEOUT_S = 60.0  # a device finishes its request and hands in its report; on a busy machine that takes a while
ORCHESTRATOR = NodeId("orchestrator")
SERVICE_QUEUE = 64  # a fleet's edge takes all devices of the demo at once
# All nodes share one machine: when it is busy, none of them is late for the site's sake. A round is decided as soon as
# every device has asked, so an idle machine never waits so long.
WINDOW_MS = 5_000.0
DECISION_TIMEOUT_MS = 10_000.0
DEADLINE_MS = 9_000.0  # below the reward of a broken floor, as it must be


@dataclass(slots=True)
class Process:
    """One program of the fleet and its log; `stopping` once it was told to end."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path
    stopping: bool = False

    def last_lines(self, count: int = 5) -> str:
        """The end of its log, for an error message."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:])


@dataclass(slots=True)
class Fleet:
    """Starts everything a site needs, and stops it in an order in which nothing is lost. A context manager."""

    config: DemoConfig
    links: dict[NodeId, Link]
    directory: Path
    seed: int | None = None
    influxdb: InfluxSection | None = None
    _broker: MosquittoProcess | None = None
    _proxy_ports: dict[NodeId, int] = field(default_factory=dict)
    _processes: list[Process] = field(default_factory=list)

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    @property
    def endpoint(self) -> Endpoint:
        """Where the site's broker listens."""
        if self._broker is None:
            raise TierwiseError("the fleet is not started")
        return self._broker.endpoint

    @property
    def log_directory(self) -> Path:
        """Where the orchestrator keeps the response log."""
        return self.directory / "orchestrator"

    @property
    def devices(self) -> list[NodeId]:
        """The end devices."""
        return [node.node for node in self.config.nodes if node.tier is Tier.END]

    def start(self) -> None:
        """Start broker, link proxy, orchestrator and agents. Raises BrokerUnavailable, TierwiseError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._broker = MosquittoProcess(MosquittoSettings(port=0, directory=self.directory / "broker"))
        self._broker.start()
        self._start_proxy()
        orchestrator = self._write(ORCHESTRATOR, self._orchestrator_config())
        self._spawn("orchestrator", "tierwise", "orchestrator", "run", "--config", str(orchestrator))
        for node in self.config.nodes:
            file = self._write(node.node, self._node_config(node))
            self._spawn(node.node, "device_agent", "run", "--config", str(file))

    def check(self) -> None:
        """Raise TierwiseError if a process has ended by itself."""
        for process in list(self._processes):  # another thread may be stopping some of them
            if not process.stopping and (code := process.popen.poll()) is not None:
                raise TierwiseError(
                    f"{process.name} ended with exit code {code}; the end of {process.log}:\n{process.last_lines()}"
                )

    def stop_devices(self) -> None:
        """End the end devices cleanly: each finishes its request and hands in its report."""
        self._stop([process for process in self._processes if process.name in self.devices])

    def stop(self) -> None:
        """End everything: devices, serving nodes, then the orchestrator, the proxy and the broker."""
        self.stop_devices()
        self._stop([process for process in self._processes if process.name in {n.node for n in self.config.nodes}])
        self._stop([process for process in self._processes if process.name == "orchestrator"])
        self._stop(list(self._processes))
        if self._broker is not None:
            self._broker.stop()
            self._broker = None

    # -- configuration of each process ------------------------------------------------------------------------

    def _broker_section(self, node: NodeId) -> BrokerSection:
        endpoint = self.endpoint
        return BrokerSection(host=endpoint.host, port=self._proxy_ports.get(node, endpoint.port))

    def _orchestrator_config(self) -> OrchestratorConfig:
        return OrchestratorConfig(
            version=1,
            site=self.config.site,
            node=ORCHESTRATOR,
            broker=self._broker_section(ORCHESTRATOR),
            goal=GoalSection(accuracy_floor=self.config.accuracy_floor, policy=self.config.policy),
            rounds=RoundsSection(window_ms=WINDOW_MS, deadline_ms=DEADLINE_MS, min_devices=len(self.devices)),
            serving_nodes={"edge": self._nodes_on(Tier.EDGE), "cloud": self._nodes_on(Tier.CLOUD)},
            files=FilesSection(directory=self.log_directory),
            influxdb=self.influxdb,
            seed=self.seed,
        )

    def _nodes_on(self, tier: Tier) -> tuple[NodeId, ...]:
        return tuple(node.node for node in self.config.nodes if node.tier is tier)

    def _node_config(self, node: FleetNode) -> NodeConfig:
        emulate = self.config.emulate[node.tier]
        asks = RequesterMode.CLOSED_LOOP if node.tier is Tier.END else RequesterMode.NONE
        return NodeConfig(
            version=1,
            site=self.config.site,
            node=node.node,
            tier=node.tier,
            broker=self._broker_section(node.node),
            models=ModelsSection(pool=tuple(emulate.reference_ms)),
            service=ServiceSection(discipline=Discipline.TIME_SHARED, queue_length=SERVICE_QUEUE),
            requester=RequesterSection(mode=asks, decision_timeout_ms=DECISION_TIMEOUT_MS),
            # All devices share this machine's disk: what they would wait for each other there is not the site's.
            outbox=OutboxSection(directory=self.directory / "outboxes", synchronous="normal"),
            emulate=emulate.model_copy(update={"link": self.links.get(node.node, Link.REGULAR)}),
        )

    def _write(self, name: str, section: Section) -> Path:
        file = self.directory / f"{name}.yaml"
        body = yaml.safe_dump(section.model_dump(mode="json", exclude_none=True), sort_keys=False)
        file.write_text(f"# Written by `tierwise demo`; start it again with this file.\n{body}", encoding="utf-8")
        return file

    # -- processes --------------------------------------------------------------------------------------------

    def _start_proxy(self) -> None:
        weak = [node.node for node in self.config.nodes if self.links.get(node.node) is Link.WEAK]
        if not weak:
            return
        self._proxy_ports = {node: free_port() for node in weak}
        endpoint = self.endpoint
        listens = [f"{port}={self.config.weak_delay_ms}" for port in self._proxy_ports.values()]
        upstream = f"{endpoint.host}:{endpoint.port}"
        self._spawn("link-proxy", "broker.link_proxy", "--upstream", upstream, "--listen", *listens)

    def _spawn(self, name: str, module: str, *arguments: str) -> None:
        log = self.directory / f"{name}.log"
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        with log.open("ab") as output:
            popen = start_child([sys.executable, "-m", module, *arguments], output, environment)
        self._processes.append(Process(name, popen, log))

    def _stop(self, processes: list[Process]) -> None:
        for process in processes:
            process.stopping = True
            process.popen.terminate()
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        for process in processes:
            wait_or_kill(process.popen, max(0.1, deadline_s - time.monotonic()))
            self._processes.remove(process)
