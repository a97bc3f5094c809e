"""What the tests of the agent share: agents in this process or in their own, and a scripted orchestrator."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.client import Endpoint, Inbound, MqttClient
from broker.clock import SystemClock
from broker.errors import TierwiseError
from broker.messages import Birth, Decision, Report, ReportAck, Round, State
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import ModelName, NodeId, NodeState, SiteId, Tier
from configs.node import NodeConfig
from device_agent.agent import Agent

PATIENCE_S = 120.0  # how long a test waits for what must come; nothing depends on it when all is well


async def until(condition: Callable[[], bool]) -> None:
    """Return as soon as `condition` holds."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


class ScriptedOrchestrator:
    """Decides as the test says, acknowledges every report, and remembers what it saw."""

    def __init__(self, endpoint: Endpoint, site: SiteId) -> None:
        self.client = MqttClient(endpoint, site, NodeId("orchestrator"), "orchestrator")
        self.decide: Callable[[NodeId, str], Decision | None] = lambda _node, _request: None
        self.acknowledges = True
        self.requests: list[tuple[NodeId, str]] = []
        self.reports: asyncio.Queue[tuple[NodeId, Report]] = asyncio.Queue()
        self.births: dict[NodeId, Birth] = {}
        self.states: dict[NodeId, NodeState] = {}
        self.history: list[tuple[NodeId, NodeState]] = []
        for channel, handler in (
            (Channel.BIRTH, self._on_birth),
            (Channel.STATE, self._on_state),
            (Channel.REQUEST, self._on_request),
            (Channel.REPORT, self._on_report),
        ):
            self.client.subscribe(filter_for(site, channel), channel, handler)

    def decision(self, request_id: str, **changes: Any) -> Decision:
        """A decision for d7 on the device itself, but for `changes`."""
        fields: dict[str, Any] = {
            "request_id": request_id,
            "round": 1,
            "tier": Tier.END,
            "model": "d7",
            "serving_node": "s1",
            "fallback_model": "d7",
            "deadline_ms": 10_000.0,
            "policy": "scripted",
            "policy_version": 1,
            "explored": False,
        }
        return Decision(**{**fields, **changes})

    def send(self, node: NodeId, channel: Channel, body: Any) -> None:
        """Publish on a device's own topic."""
        self.client.publish(Address(self.client.site, node, channel), body)

    def open_round(self, number: int = 1) -> None:
        """Let devices in closed loop ask."""
        self.send(self.client.node, Channel.ROUND, Round(round=number, open=True))

    async def report(self) -> Report:
        """The next report of any device."""
        async with asyncio.timeout(PATIENCE_S):
            return (await self.reports.get())[1]

    async def state_of(self, node: str, state: NodeState) -> None:
        """Return once `node` says `state` under the session of its birth."""
        await until(lambda: self.states.get(NodeId(node)) is state and NodeId(node) in self.births)

    def _on_birth(self, inbound: Inbound) -> None:
        self.births[inbound.address.node] = inbound.body  # type: ignore[assignment]

    def _on_state(self, inbound: Inbound) -> None:
        if isinstance(inbound.body, State):
            self.states[inbound.address.node] = inbound.body.state
            self.history.append((inbound.address.node, inbound.body.state))

    def _on_request(self, inbound: Inbound) -> None:
        node, request_id = inbound.address.node, inbound.body.request_id  # type: ignore[union-attr]
        self.requests.append((node, request_id))
        if (decision := self.decide(node, request_id)) is not None:
            self.send(node, Channel.DECISION, decision)

    def _on_report(self, inbound: Inbound) -> None:
        if isinstance(inbound.body, Report):
            self.reports.put_nowait((inbound.address.node, inbound.body))
            if self.acknowledges:
                self.send(inbound.address.node, Channel.REPORT_ACK, ReportAck(request_ids=[inbound.body.request_id]))


class Bench:
    """One site on one broker: its orchestrator, and agents as the test wants them."""

    until = staticmethod(until)

    def __init__(self, endpoint: Endpoint, site: SiteId, directory: Path) -> None:
        self.endpoint = endpoint
        self.site = site
        self.directory = directory

    def config(self, node: str, tier: str = "end", **sections: Any) -> NodeConfig:
        """A node's settings; an end device asks in closed loop unless told otherwise."""
        asks = {"requester": {"mode": "closed_loop", "decision_timeout_ms": 20_000, "open_timeout_s": 600}}
        broker = {"host": self.endpoint.host, "port": self.endpoint.port}
        outbox = {"directory": self.directory / "outboxes"}
        defaults = {
            "version": 1, "site": self.site, "node": node, "tier": tier, "broker": broker, "outbox": outbox,
        }  # fmt: skip
        return NodeConfig(**{**defaults, **(asks if tier == "end" else {}), **sections})

    def file(self, config: NodeConfig) -> Path:
        """Those settings as a file."""
        file = self.directory / f"{config.node}.yaml"
        file.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
        return file

    @asynccontextmanager
    async def orchestrator(self) -> AsyncIterator[ScriptedOrchestrator]:
        """A scripted orchestrator, connected and subscribed."""
        orchestrator = ScriptedOrchestrator(self.endpoint, self.site)
        link = asyncio.create_task(orchestrator.client.run(), name="orchestrator-link")
        await orchestrator.client.wait_connected(PATIENCE_S)
        try:
            yield orchestrator
        finally:
            await orchestrator.client.stop()
            await link

    @asynccontextmanager
    async def agent(self, config: NodeConfig) -> AsyncIterator[Agent]:
        """An agent in this loop, ended cleanly."""
        agent, stop = Agent(config, SystemClock()), asyncio.Event()
        life = asyncio.create_task(agent.run(stop), name=f"agent-{config.node}")
        try:
            yield agent
        finally:
            stop.set()
            await life

    @asynccontextmanager
    async def process(self, config: NodeConfig) -> AsyncIterator[subprocess.Popen[bytes]]:
        """An agent in a process of its own, killed at the end if it is still there."""
        command = [sys.executable, "-m", "device_agent", "run", "--config", str(self.file(config))]
        with (self.directory / f"{config.node}.log").open("ab") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def bench(mosquitto_endpoint: Endpoint, site: SiteId, tmp_path: Path) -> Bench:
    """A site of one's own on the shared Mosquitto."""
    return Bench(mosquitto_endpoint, site, tmp_path)


class _Classification:
    def __init__(self, label: str) -> None:
        self.label = label
        self.trained = False


class GatedModels:
    """Stands in for the pool where a test must hold an inference: each waits for `gate`, or raises `error`."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.started: list[str] = []
        self.error: Exception | None = None

    def available(self) -> dict[ModelName, str]:
        return {ModelName("d0"): "0" * 64}

    def classify(self, model: ModelName, image: bytes) -> _Classification:
        self.started.append(image.decode())
        if not self.gate.wait(PATIENCE_S):
            raise TierwiseError("the test never opened the gate")
        if self.error is not None:
            raise self.error
        return _Classification(f"{model} of {image.decode()}")


@pytest.fixture
def models() -> Iterator[GatedModels]:
    """Models that wait for the test; the gate is open at the end, so that no thread stays behind."""
    gated = GatedModels()
    yield gated
    gated.gate.set()
