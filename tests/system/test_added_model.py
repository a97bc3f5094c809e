"""A network that is not MobileNet is added, offered by a real device, and chosen by a policy."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.client import Endpoint, Inbound, MqttClient
from broker.messages import Birth, Decision, Report
from broker.topics import Channel, filter_for
from broker.vocabulary import NodeId, SiteId
from model_zoo.cache import INDEX, installed, models_directory
from model_zoo.intake import Wish, add
from model_zoo.preprocessing import Preprocessing
from orchestrator.response_log import LOG_NAME
from tests.graphs import squeezenet

PATIENCE_S = 300.0
EIGHT = [f"d{number}" for number in range(8)]
SETTLED = 10  # greedy decisions on end
D0_MS, SQUEEZE_MS = 300.0, 100.0  # emulated, so that which is faster does not depend on what else runs here


class Listener:
    """The births, decisions and reports of the device."""

    def __init__(self, endpoint: Endpoint, site: SiteId) -> None:
        self.client = MqttClient(endpoint, site, NodeId("listener"), "test", announces_state=False)
        self.births: list[Birth] = []
        self.greedy: list[Decision] = []
        self.reports: list[Report] = []
        self._heard = asyncio.Event()
        for channel in (Channel.BIRTH, Channel.DECISION, Channel.REPORT):
            self.client.subscribe(filter_for(site, channel, NodeId("s1")), channel, self._hear)

    def _hear(self, inbound: Inbound) -> None:
        body = inbound.body
        if isinstance(body, Birth):
            self.births.append(body)
        elif isinstance(body, Report):
            self.reports.append(body)
        elif isinstance(body, Decision) and not body.explored:
            self.greedy.append(body)
        self._heard.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._heard.clear()
                await self._heard.wait()


def _zoo(directory: Path) -> Path:
    """The eight of the cache, and SqueezeNet beside them, said to be almost as accurate as d0."""
    directory.mkdir()
    (directory / INDEX).write_bytes((models_directory() / INDEX).read_bytes())
    for name in EIGHT:
        (directory / f"{name}.tflite").symlink_to(models_directory() / f"{name}.tflite")
    file = squeezenet(directory.parent / "squeezenet.tflite")
    wish = Wish("squeeze", top5=89.5, preprocessing=Preprocessing.MINUS1_TO_1, trained=False)
    add(file, wish, directory)
    return directory


def _files(endpoint: Endpoint, site: SiteId, directory: Path, zoo: Path) -> dict[str, Path]:
    common = {"version": 1, "site": site, "broker": {"host": endpoint.host, "port": endpoint.port}}
    asks = {"mode": "closed_loop", "open_timeout_s": 600.0, "decision_timeout_ms": 20_000.0}
    settings: dict[str, dict[str, Any]] = {
        "edge": {
            "tier": "edge",
            "models": {"directory": str(zoo), "pool": ["d0"], "preload": True},
            "emulate": {"reference_ms": {"d0": D0_MS}},
        },
        "s1": {
            "tier": "end",
            "emulate": {"reference_ms": {**dict.fromkeys(EIGHT, D0_MS), "squeeze": SQUEEZE_MS}},
            "models": {"directory": str(zoo), "pool": [*EIGHT, "squeeze"], "preload": True},
            "requester": asks,
            "outbox": {"directory": str(directory / "outbox")},
        },
        "orchestrator": {
            "serving_nodes": {"edge": ["edge"]},
            "goal": {"policy": "factored", "accuracy_floor": 89.0},
            "files": {"directory": str(directory / "files"), "manifest": str(zoo / "local-manifest.yaml")},
            "seed": 3,
        },
    }
    for name, content in settings.items():
        (directory / f"{name}.yaml").write_text(yaml.safe_dump({**common, "node": name, **content}), encoding="utf-8")
    return {name: directory / f"{name}.yaml" for name in settings}


@pytest.mark.models
@pytest.mark.system
@pytest.mark.slow
@pytest.mark.timeout(700)
def test_a_policy_chooses_an_added_network_where_it_is_the_fastest_that_keeps_the_floor(
    mosquitto_endpoint: Endpoint, site: SiteId, tmp_path: Path
) -> None:
    """At 89 % only d0 (89.9) and the added SqueezeNet (89.5) will do alone; the device runs both, and the edge d0.
    `factored` tries them and settles on SqueezeNet, whose inferences (real, the times emulated) are logged with its
    own accuracy."""
    zoo = _zoo(tmp_path / "models")
    files = _files(mosquitto_endpoint, site, tmp_path, zoo)

    async def scenario() -> Listener:
        listener = Listener(mosquitto_endpoint, site)
        link = asyncio.create_task(listener.client.run(), name="listener")
        await listener.client.wait_connected(120.0)
        with ExitStack() as stack:
            for name, file in files.items():
                module = ["tierwise", "orchestrator"] if name == "orchestrator" else ["device_agent"]
                output = stack.enter_context((tmp_path / f"{name}.log").open("wb"))
                command = [sys.executable, "-m", *module, "run", "--config", str(file)]
                process = stack.enter_context(subprocess.Popen(command, stdout=output, stderr=output))
                stack.callback(process.kill)
            try:
                await listener.until(lambda: _settled(listener))
                last = listener.greedy[-SETTLED].request_id
                await listener.until(lambda: any(report.request_id == last for report in listener.reports))
            finally:
                await listener.client.stop()
                await link
        return listener

    listener = asyncio.run(scenario())

    assert installed(zoo)["squeeze"].sha256 == listener.births[-1].models["squeeze"]  # type: ignore[index]
    with closing(sqlite3.connect(tmp_path / "files" / LOG_NAME)) as database:
        rows = database.execute(
            "SELECT DISTINCT accuracy_tenths, tier, outcome, label, emulated FROM response WHERE model = 'squeeze'"
        ).fetchall()
    assert [(895, "end", "done", "untrained", 1)] == rows


def _settled(listener: Listener) -> bool:
    last = [decision.model for decision in listener.greedy[-SETTLED:]]
    return last == ["squeeze"] * SETTLED
