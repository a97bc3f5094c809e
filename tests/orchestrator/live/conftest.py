"""Scripted nodes over a real Mosquitto, and the orchestrator as a process."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.client import Endpoint, Inbound, MqttClient
from broker.messages import (
    Birth,
    Decision,
    Goal,
    Heartbeat,
    Message,
    Report,
    ReportAck,
    Request,
    Round,
    Stages,
    Telemetry,
)
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import Link, ModelName, NodeId, NodeState, Outcome, SiteId, Tier, new_request_id
from configs.orchestrator import OrchestratorConfig

MODELS = tuple(ModelName(f"d{place}") for place in range(8))
ORCHESTRATOR = NodeId("orchestrator")
PATIENCE_S = 120.0


@dataclass
class ScriptedNode:
    """A node made of the MQTT client alone. `on_decision` says how a device reports; None: it stays silent."""

    client: MqttClient
    tier: Tier
    models: tuple[ModelName, ...] = MODELS
    closed_loop: bool = False
    rounds_wanted: int = 1_000_000
    label_sets: dict[str, str] = field(default_factory=dict)
    response_ms: Callable[[Decision], float | None] = lambda _decision: 10.0
    on_decision: Callable[[Decision], None] | None = None  # in the place of a report with `response_ms`
    decisions: list[Decision] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)
    rounds_asked: set[int] = field(default_factory=set)
    heard: asyncio.Event = field(default_factory=asyncio.Event)

    def listen(self) -> None:
        site, node = self.client.site, self.client.node
        self.client.subscribe(filter_for(site, Channel.DECISION, node), Channel.DECISION, self._on_decision)
        self.client.subscribe(filter_for(site, Channel.REPORT_ACK, node), Channel.REPORT_ACK, self._on_ack)
        self.client.subscribe(filter_for(site, Channel.ROUND), Channel.ROUND, self._on_round)
        self.client.on_connect.append(self.announce)

    def publish(self, channel: Channel, body: Message) -> None:
        self.client.publish(Address(self.client.site, self.client.node, channel), body)

    def announce(self) -> None:
        models = dict.fromkeys(self.models, "0" * 64)
        birth = Birth(
            session=self.client.session, tier=self.tier, agent_version="test", vcpus=1, models=models,
            label_sets=self.label_sets,
        )  # fmt: skip
        self.publish(Channel.BIRTH, birth)
        self.client.publish_state(NodeState.ONLINE)
        self.beat(0)
        self.publish(Channel.TELEMETRY, Telemetry(seq=0, cpu_percent=3.0, memory_percent=10.0, link=Link.REGULAR))

    def beat(self, seq: int) -> None:
        self.publish(Channel.HEARTBEAT, Heartbeat(session=self.client.session, seq=seq))

    def ask(self, request_id: str | None = None) -> str:
        request = Request(request_id=request_id or new_request_id())
        self.publish(Channel.REQUEST, request)
        return request.request_id

    def report(self, decision: Decision, response_ms: float, **changed: object) -> Report:
        told: dict[str, object] = {
            "request_id": decision.request_id,
            "outcome": Outcome.DONE,
            "decided": True,
            "tier": decision.tier,
            "model": decision.model,
            "serving_node": decision.serving_node,
            "response_ms": response_ms,
            "stages": Stages(compute_ms=response_ms),
            **changed,
        }
        report = Report(**told)  # type: ignore[arg-type]
        self.publish(Channel.REPORT, report)
        return report

    async def until(self, condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
        """Wait for something that a message to this node will make true."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self.heard.clear()
                await self.heard.wait()

    def _on_decision(self, inbound: Inbound) -> None:
        decision = inbound.body
        assert isinstance(decision, Decision)
        self.decisions.append(decision)
        self.heard.set()
        if self.on_decision is not None:
            self.on_decision(decision)
            return
        response_ms = self.response_ms(decision)
        if response_ms is not None:
            self.report(decision, response_ms)

    def _on_ack(self, inbound: Inbound) -> None:
        assert isinstance(inbound.body, ReportAck)
        self.acknowledged.update(inbound.body.request_ids)
        self.heard.set()

    def _on_round(self, inbound: Inbound) -> None:
        round_ = inbound.body
        assert isinstance(round_, Round)
        wants = self.closed_loop and len(self.rounds_asked) < self.rounds_wanted
        if wants and round_.open and round_.round not in self.rounds_asked:
            self.rounds_asked.add(round_.round)
            self.ask()
        self.heard.set()


@dataclass
class Watcher:
    """What passes at a site: completed rounds and goals, as anybody may see them."""

    client: MqttClient
    completed: asyncio.Queue[Round] = field(default_factory=asyncio.Queue)
    goals: asyncio.Queue[Goal] = field(default_factory=asyncio.Queue)
    states: asyncio.Queue[NodeState] = field(default_factory=asyncio.Queue)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    def listen(self) -> None:
        site = self.client.site
        self.client.subscribe(filter_for(site, Channel.ROUND), Channel.ROUND, self._hear)
        self.client.subscribe(filter_for(site, Channel.GOAL), Channel.GOAL, self._hear)
        self.client.subscribe(filter_for(site, Channel.STATE, ORCHESTRATOR), Channel.STATE, self._hear)

    async def online(self) -> None:
        """Return when the orchestrator has said that it is online."""
        async with asyncio.timeout(PATIENCE_S):
            while await self.states.get() is not NodeState.ONLINE:
                pass

    async def rounds(self, count: int) -> list[Round]:
        """The next `count` completed rounds."""
        async with asyncio.timeout(PATIENCE_S):
            return [await self.completed.get() for _ in range(count)]

    def _hear(self, inbound: Inbound) -> None:
        body = inbound.body
        if isinstance(body, Round):
            if body.open:
                self.opened.set()
            else:
                self.completed.put_nowait(body)
        elif isinstance(body, Goal):
            self.goals.put_nowait(body)
        else:
            self.states.put_nowait(body.state)  # type: ignore[union-attr]


class Site:
    """Scripted nodes of one site on a real broker, with a heartbeat each. `endpoint`: how each of them connects."""

    def __init__(self, endpoint: Callable[[NodeId], Endpoint], site: SiteId) -> None:
        self.endpoint = endpoint
        self.site = site
        self._tasks: list[asyncio.Task[None]] = []
        self._clients: list[MqttClient] = []

    async def node(self, name: str, tier: Tier = Tier.END, **settings: object) -> ScriptedNode:
        """A connected node that beats each half second."""
        client = MqttClient(self.endpoint(NodeId(name)), self.site, NodeId(name), "test")
        node = ScriptedNode(client, tier, **settings)  # type: ignore[arg-type]
        node.listen()
        await self._connect(client)
        self._tasks.append(asyncio.create_task(self._beat(node), name=f"beat-{name}"))
        return node

    async def watcher(self) -> Watcher:
        client = MqttClient(
            self.endpoint(NodeId("watcher")), self.site, NodeId("watcher"), "test", announces_state=False
        )
        watcher = Watcher(client)
        watcher.listen()
        await self._connect(client)
        return watcher

    async def close(self) -> None:
        for client in self._clients:
            await client.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connect(self, client: MqttClient) -> None:
        self._clients.append(client)
        self._tasks.append(asyncio.create_task(client.run(), name=f"link-{client.node}"))
        await client.wait_connected(120.0)

    async def _beat(self, node: ScriptedNode) -> None:
        seq = 1
        while True:
            await asyncio.sleep(0.5)
            if node.client.connected:
                node.beat(seq)
                seq += 1


@pytest.fixture
def open_site(mosquitto_endpoint: Endpoint, site: SiteId) -> Callable[[], object]:
    """`async with open_site() as s:` gives a Site that is closed afterwards."""

    return lambda: _opened(Site(lambda _node: mosquitto_endpoint, site))


@pytest.fixture
def open_site_at(site: SiteId) -> Callable[[Callable[[NodeId], Endpoint]], object]:
    """The same at another broker: `async with open_site_at(endpoint_of_a_node) as s:`."""
    return lambda endpoint: _opened(Site(endpoint, site))


@asynccontextmanager
async def _opened(here: Site) -> AsyncIterator[Site]:
    try:
        yield here
    finally:
        await here.close()


class OrchestratorProcess:
    """The orchestrator as a process of its own, its log in a file."""

    def __init__(self, config: OrchestratorConfig, directory: Path) -> None:
        self.config = config
        self.config_file = directory / "orchestrator.yaml"
        self.config_file.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)))
        self.log_path = directory / "orchestrator.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        arguments = [sys.executable, "-m", "tierwise", "orchestrator", "run", "--config", str(self.config_file)]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(arguments, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": "."})

    def send(self, number: signal.Signals) -> None:
        """Send a signal that does not end it."""
        if self._process is None:
            raise AssertionError("the orchestrator was not started")
        self._process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and return the exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(PATIENCE_S)

    def wait(self) -> int:
        """The exit code, when it ends by itself."""
        process, self._process = self._process, None
        if process is None:
            raise AssertionError("the orchestrator was not started")
        return process.wait(PATIENCE_S)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What `query` finds in the response log."""
        with closing(sqlite3.connect(self.config.files.directory / "response-log.sqlite3")) as database:
            return database.execute(query).fetchall()

    def log(self) -> str:
        return self.log_path.read_text()


@pytest.fixture
def orchestrator_process(
    mosquitto_endpoint: Endpoint, site: SiteId, tmp_path: Path
) -> Iterator[Callable[..., OrchestratorProcess]]:
    """Makes, and usually starts, an orchestrator for `site` with the sections given; ended when the test is over."""
    started: list[OrchestratorProcess] = []

    def make(start: bool = True, **sections: object) -> OrchestratorProcess:
        process = OrchestratorProcess(_config(mosquitto_endpoint, site, tmp_path, sections), tmp_path)
        if start:
            process.start()
        started.append(process)
        return process

    yield make
    for process in started:
        process.end(signal.SIGKILL)


def _config(endpoint: Endpoint, site: SiteId, directory: Path, sections: dict[str, object]) -> OrchestratorConfig:
    settings: dict[str, object] = {
        "version": 1,
        "site": site,
        "broker": {"host": endpoint.host, "port": endpoint.port},
        "files": {"directory": str(directory / "files")},
        "serving_nodes": {"edge": ["edge"], "cloud": ["cloud"]},
        "seed": 7,
        **sections,
    }
    return OrchestratorConfig.model_validate(settings)
