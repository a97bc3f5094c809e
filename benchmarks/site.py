"""A small site for benchmarks: the real programs in processes of their own, and devices that run nothing.

Whoever starts a process here also stops it: all are context managers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from broker.children import wait_or_kill
from broker.client import Endpoint, Inbound, MqttClient
from broker.messages import Birth, Decision, Heartbeat, Report, Request, Round, Stages
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import NodeId, NodeState, Outcome, SiteId, Tier, new_request_id

SITE = SiteId("bench")
MODELS = [f"d{index}" for index in range(8)]
STOP_TIMEOUT_S = 20.0
WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Running:
    """A program that runs, where its log goes, and when it was started on the monotonic clock."""

    pid: int
    log: Path
    started_s: float


@contextlib.contextmanager
def program(directory: Path, module: list[str], config: dict[str, Any]) -> Iterator[Running]:
    """`python -m MODULE... --config FILE` from its start to its clean end."""
    directory.mkdir(parents=True, exist_ok=True)
    file, log = directory / "config.yaml", directory / "output.log"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    started_s = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *module, "--config", str(file)],
            stdout=output,
            stderr=output,
            env={
                **os.environ,
                "XDG_STATE_HOME": str(directory / "state"),
            },  # or a device hands in an earlier run's reports
        )
    try:
        yield Running(process.pid, log, started_s)
    except Exception:
        words = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
        print(f"{' '.join(module)} said last:", *words, sep="\n  ", file=sys.stderr)
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        wait_or_kill(process, STOP_TIMEOUT_S)


def orchestrator(
    endpoint: Endpoint, directory: Path, devices: int, policy: str = "q_learning", **sections: dict[str, Any]
) -> contextlib.AbstractContextManager[Running]:
    """The real orchestrator, which opens no round before so many devices are online."""
    config = {
        "version": 1,
        "site": str(SITE),
        "broker": {"host": endpoint.host, "port": endpoint.port},
        "goal": {"policy": policy, "accuracy_floor": "min"},
        "q_learning": {"epsilon": 0.0},  # always the greedy action: the dearer branch, an argmax over all joint actions
        "rounds": {"min_devices": devices, "open_period_s": 0.5},
        "limits": {"messages_per_s": 100_000, "burst": 100_000},  # devices that run nothing ask often
        "files": {"directory": str(directory), "checkpoint_every_rounds": 1000},
        **sections,
    }
    return program(directory, ["tierwise", "orchestrator", "run"], config)


def node(
    endpoint: Endpoint, directory: Path, name: str, tier: str = "end", **sections: dict[str, Any]
) -> contextlib.AbstractContextManager[Running]:
    """The real agent, by default one that only waits."""
    config = {
        "version": 1,
        "site": str(SITE),
        "node": name,
        "tier": tier,
        "broker": {"host": endpoint.host, "port": endpoint.port},
        "log_level": "error",
        **sections,
    }
    return program(directory / name, ["device_agent", "run"], config)


class Device:
    """A device that asks, and reports a local run of no length, so that its round completes."""

    def __init__(self, endpoint: Endpoint, name: str) -> None:
        self.node = NodeId(name)
        self._client = MqttClient(endpoint, SITE, self.node, "bench")
        self._client.on_connect.append(self._announce)
        self._client.subscribe(filter_for(SITE, Channel.DECISION, self.node), Channel.DECISION, self._decided)
        self._client.subscribe(filter_for(SITE, Channel.REPORT_ACK, self.node), Channel.REPORT_ACK, lambda _: None)
        self._client.subscribe(filter_for(SITE, Channel.ROUND), Channel.ROUND, self._round)
        self._opened: asyncio.Queue[int] = asyncio.Queue()
        self._decision: asyncio.Future[float] | None = None
        self._last: Decision | None = None
        self._tasks = [
            asyncio.create_task(self._client.run(), name=f"{name}-link"),
            asyncio.create_task(self._beat(), name=f"{name}-heartbeat"),
        ]

    def _publish(self, channel: Channel, body: Any) -> None:
        self._client.publish(Address(SITE, self.node, channel), body)

    def _announce(self) -> None:
        birth = Birth(
            session=self._client.session,
            tier=Tier.END,
            agent_version="bench",
            vcpus=1,
            models=dict.fromkeys(MODELS, "0" * 64),
        )
        self._publish(Channel.BIRTH, birth)
        self._client.publish_state(NodeState.ONLINE)

    async def _beat(self) -> None:
        seq = 0
        while True:
            if self._client.connected:
                self._publish(Channel.HEARTBEAT, Heartbeat(session=self._client.session, seq=seq))
            seq += 1
            await asyncio.sleep(1.0)

    def _round(self, inbound: Inbound) -> None:
        if isinstance(inbound.body, Round) and inbound.body.open:
            self._opened.put_nowait(inbound.body.round)

    def _decided(self, inbound: Inbound) -> None:
        if isinstance(inbound.body, Decision) and self._decision is not None and not self._decision.done():
            self._last = inbound.body
            self._decision.set_result(inbound.received_s)

    async def ask(self, rest_s: float = 0.0) -> float:
        """Wait for an open round, ask, report; from the request to the decision, in ms."""
        await asyncio.wait_for(self._opened.get(), WAIT_S)
        while not self._opened.empty():
            self._opened.get_nowait()
        loop = asyncio.get_running_loop()
        self._decision = loop.create_future()
        request_id = new_request_id()
        await asyncio.sleep(rest_s)
        sent_s = loop.time()  # the monotonic clock, as `received_s`
        self._publish(Channel.REQUEST, Request(request_id=request_id))
        received_s = await asyncio.wait_for(self._decision, WAIT_S)
        elapsed_ms = (received_s - sent_s) * 1000
        decision = self._last
        if decision is None:
            raise RuntimeError("a decision without its content")
        report = Report(
            request_id=request_id,
            outcome=Outcome.DONE,
            decided=True,
            tier=decision.tier,
            model=decision.model,
            serving_node=decision.serving_node,
            response_ms=elapsed_ms,
            stages=Stages(decide_ms=elapsed_ms),
        )
        self._publish(Channel.REPORT, report)
        return elapsed_ms

    async def close(self) -> None:
        """Leave cleanly."""
        self._tasks[1].cancel()
        await self._client.stop()
        await self._tasks[0]
