"""A site with certificates: real orchestrator, edge and device, each with its own, and a person who watches."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.access_matrix.site import Site, running_site
from broker.access import Role
from broker.client import Inbound, MqttClient
from broker.identity.accounts import Account
from broker.messages import Report, Round
from broker.topics import Channel, filter_for
from broker.vocabulary import NodeId, Outcome, SiteId

PATIENCE_S = 300.0
REPORTS = 6
HOME = SiteId("home")
ROLES = {
    "orchestrator": Role.ORCHESTRATOR,
    "edge": Role.SERVING_NODE,
    "s1": Role.END_DEVICE,
    "screen": Role.OBSERVER,
}


def _files(site: Site, directory: Path) -> dict[str, Path]:
    """The YAML of each process. Half of the requests go to the edge: the policy is random."""
    settings: dict[str, dict[str, Any]] = {
        "orchestrator": {
            "serving_nodes": {"edge": ["edge"]},
            "goal": {"policy": "random", "accuracy_floor": "min"},
            "files": {"directory": str(directory / "files")},
            "rounds": {"deadline_ms": 600_000.0},
            "reward": {"maximum_response_ms": 1_000_000.0},
            "seed": 3,
        },
        "edge": {"tier": "edge", "models": {"pool": ["d0"]}, "emulate": {"reference_ms": {"d0": 5.0}}},
        "s1": {
            "tier": "end",
            "models": {"pool": ["d7"]},
            "emulate": {"reference_ms": {"d7": 5.0}},
            "requester": {"mode": "closed_loop", "decision_timeout_ms": 20_000.0},
        },
    }
    for name, content in settings.items():
        tls = site.tls(NodeId(name))
        files = {"ca_file": tls.ca_file, "certificate_file": tls.certificate_file, "key_file": tls.key_file}
        broker = {"port": site.process.endpoint.port, "tls": {key: str(file) for key, file in files.items()}}
        whole = {"version": 1, "site": HOME, "node": name, "broker": broker, **content}
        (directory / f"{name}.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
    return {name: directory / f"{name}.yaml" for name in settings}


async def _watch(site: Site, files: dict[str, Path], directory: Path) -> tuple[list[Report], list[Round], list[str]]:
    """Reports and rounds that an observer hears while the processes run, and what it was refused."""
    reports: list[Report] = []
    rounds: list[Round] = []
    enough = asyncio.Event()

    def hear(inbound: Inbound) -> None:
        if isinstance(inbound.body, Report):
            reports.append(inbound.body)
        elif isinstance(inbound.body, Round) and not inbound.body.open:
            rounds.append(inbound.body)
        done = [report for report in reports if report.outcome is Outcome.DONE]
        if len(done) >= REPORTS and {"end", "edge"} <= {r.tier for r in done} and len(rounds) >= REPORTS:
            enough.set()

    client = MqttClient(site.endpoint(NodeId("screen")), HOME, NodeId("screen"), "test", announces_state=False)
    for channel in (Channel.REPORT, Channel.ROUND):
        client.subscribe(filter_for(HOME, channel), channel, hear)
    link = asyncio.create_task(client.run(), name="screen")
    await client.wait_connected(120.0)
    with ExitStack() as stack:
        for name, file in files.items():
            module = ["tierwise", "orchestrator"] if name == "orchestrator" else ["device_agent"]
            output = stack.enter_context((directory / f"{name}.log").open("wb"))
            command = [sys.executable, "-m", *module, "run", "--config", str(file)]
            process = stack.enter_context(subprocess.Popen(command, stdout=output, stderr=output))
            stack.callback(process.kill)
        try:
            await asyncio.wait_for(enough.wait(), PATIENCE_S)
        finally:
            await client.stop()
            await link
    logs = [(directory / f"{name}.log").read_text(encoding="utf-8") for name in files]
    return reports, rounds, [line for log in logs for line in log.splitlines() if "_refused" in line]


@pytest.mark.mosquitto
@pytest.mark.models
@pytest.mark.system
@pytest.mark.slow
@pytest.mark.timeout(700)
def test_a_secured_site_does_rounds_and_nothing_that_it_needs_is_refused(tmp_path: Path) -> None:
    """Local and offloaded, requests are decided, done and reported; no node has a subscription or publish refused."""
    accounts = [Account(NodeId(name), role) for name, role in ROLES.items()]
    with running_site(tmp_path, HOME, accounts) as site:
        files = _files(site, tmp_path)
        reports, rounds, refused = asyncio.run(_watch(site, files, tmp_path))

    assert Outcome.FAILED not in {report.outcome for report in reports}
    assert all(round_.summary for round_ in rounds)
    assert [] == refused
