"""A site whose requests are decided at once, in the full action space: real orchestrator, edge and devices."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.client import Endpoint, Inbound, MqttClient
from broker.messages import Report, Round
from broker.topics import Channel, filter_for
from broker.vocabulary import NodeId, Outcome, SiteId

PATIENCE_S = 300.0
EDGE_MS = {"d4": 150.0, "d7": 60.0}
ASKS = {"mode": "closed_loop", "open_timeout_s": 600.0, "decision_timeout_ms": 20_000.0}
NODES: dict[str, dict[str, Any]] = {
    "edge": {"tier": "edge", "emulate": {"vcpus": 8, "reference_ms": EDGE_MS}},
    "s1": {"tier": "end", "emulate": {"reference_ms": {"d7": 30.0}}, "requester": ASKS},
    "slow": {"tier": "end", "emulate": {"reference_ms": {"d7": 3_600_000.0}}, "requester": ASKS},
}


class Listener:
    """What passes at the site: reports by device, and how often it was said that one may ask."""

    def __init__(self, endpoint: Endpoint, site: SiteId) -> None:
        self.client = MqttClient(endpoint, site, NodeId("listener"), "test", announces_state=False)
        self.reports: dict[str, list[Report]] = defaultdict(list)
        self.openings: list[Round] = []
        self._heard = asyncio.Event()
        self.client.subscribe(filter_for(site, Channel.REPORT), Channel.REPORT, self._hear)
        self.client.subscribe(filter_for(site, Channel.ROUND), Channel.ROUND, self._hear)

    def _hear(self, inbound: Inbound) -> None:
        if isinstance(inbound.body, Report):
            self.reports[inbound.address.node].append(inbound.body)
        elif isinstance(inbound.body, Round) and inbound.body.open:
            self.openings.append(inbound.body)
        self._heard.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._heard.clear()
                await self._heard.wait()


def _files(endpoint: Endpoint, site: SiteId, directory: Path) -> dict[str, Path]:
    """The YAML of each process. The orchestrator announces once, when both devices are there."""
    common = {"version": 1, "site": site, "broker": {"host": endpoint.host, "port": endpoint.port}}
    settings: dict[str, dict[str, Any]] = {
        name: {**common, "node": name, "models": {"pool": list(node["emulate"]["reference_ms"])}, **node}
        for name, node in NODES.items()
    }
    settings["orchestrator"] = {
        "serving_nodes": {"edge": ["edge"]},
        **common,
        "action_space": "full",
        "rounds": {"mode": "immediate", "open_period_s": 60.0, "min_devices": 2, "deadline_ms": 600_000.0},
        "reward": {"maximum_response_ms": 1_000_000.0},
        "goal": {"policy": "random", "accuracy_floor": "min"},
        "files": {"directory": str(directory / "files")},
        "seed": 3,
    }
    for name, content in settings.items():
        (directory / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return {name: directory / f"{name}.yaml" for name in settings}


@pytest.mark.models
@pytest.mark.system
@pytest.mark.slow
@pytest.mark.timeout(700)
def test_a_device_is_told_any_model_of_the_edge_and_never_waits_for_another(
    mosquitto_endpoint: Endpoint, site: SiteId, tmp_path: Path
) -> None:
    """After one announcement it asks on and on, though another device takes an hour for any image that it runs itself.
    The edge runs d4 and d7, neither in less than the time that each has there, and says what it saw."""
    files = _files(mosquitto_endpoint, site, tmp_path)

    async def scenario() -> Listener:
        listener = Listener(mosquitto_endpoint, site)
        link = asyncio.create_task(listener.client.run(), name="listener")
        await listener.client.wait_connected(120.0)
        told = listener.reports["s1"]
        with ExitStack() as stack:
            for name, file in files.items():
                module = ["tierwise", "orchestrator"] if name == "orchestrator" else ["device_agent"]
                output = stack.enter_context((tmp_path / f"{name}.log").open("wb"))
                command = [sys.executable, "-m", *module, "run", "--config", str(file)]
                process = stack.enter_context(subprocess.Popen(command, stdout=output, stderr=output))
                stack.callback(process.kill)
            try:
                await listener.until(lambda: len({(report.tier, report.model) for report in told}) == 3)
                await listener.until(lambda: len(told) >= 12)
            finally:
                await listener.client.stop()
                await link
        return listener

    listener = asyncio.run(scenario())
    done = [report for report in listener.reports["s1"] if report.tier == "edge"]

    assert {Outcome.DONE} == {report.outcome for report in listener.reports["s1"]}
    assert [(True, "edge")] * len(done) == [(report.label is not None, report.serving_node) for report in done]
    for model, takes_ms in EDGE_MS.items():
        compute_ms = [report.stages.compute_ms for report in done if report.model == model]
        assert compute_ms
        assert all(took_ms > takes_ms - 0.001 for took_ms in compute_ms)
    assert [True] == [opening.immediate for opening in listener.openings]
