"""A device of a secured site that sends images to the edge without being told to, as fast as the edge reads them."""

from __future__ import annotations

import asyncio
import contextlib
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
from broker.errors import NotConnected
from broker.identity.accounts import Account
from broker.messages import Decision, Report, Result
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import NodeId, Outcome, SiteId, Tier, new_request_id
from device_agent.images.pixels import encode_for_offload
from device_agent.images.source import SHIPPED_PHOTOGRAPHS

PATIENCE_S = 300.0
REPORTS = 15
HOME, EDGE = SiteId("home"), NodeId("edge")
ROLES = {
    "orchestrator": Role.ORCHESTRATOR,
    "edge": Role.SERVING_NODE,
    "s1": Role.END_DEVICE,
    "bad": Role.END_DEVICE,
    "screen": Role.OBSERVER,
}


def _settings(directory: Path) -> dict[str, dict[str, Any]]:
    """The edge has one worker, so whoever comes before an honest job holds it up; every request goes there."""
    return {
        "orchestrator": {
            "serving_nodes": {"edge": ["edge"]},
            "goal": {"policy": "edge_only", "accuracy_floor": "min"},
            "files": {"directory": str(directory / "files")},
        },
        "edge": {"tier": "edge", "models": {"pool": ["d7"]}, "service": {"workers": 1}},
        "s1": {
            "tier": "end",
            "models": {"pool": ["d7"]},
            "requester": {"mode": "closed_loop", "decision_timeout_ms": 20_000.0},
            "outbox": {"directory": str(directory / "outbox")},
        },
    }


def _start(site: Site, directory: Path, stack: ExitStack) -> None:
    for name, content in _settings(directory).items():
        tls = site.tls(NodeId(name))
        files = {"ca_file": tls.ca_file, "certificate_file": tls.certificate_file, "key_file": tls.key_file}
        broker = {"port": site.process.endpoint.port, "tls": {key: str(file) for key, file in files.items()}}
        whole = {"version": 1, "site": HOME, "node": name, "broker": broker, **content}
        (directory / f"{name}.yaml").write_text(yaml.safe_dump(whole), encoding="utf-8")
        module = ["tierwise", "orchestrator"] if name == "orchestrator" else ["device_agent"]
        output = stack.enter_context((directory / f"{name}.log").open("wb"))
        command = [sys.executable, "-m", *module, "run", "--config", str(directory / f"{name}.yaml")]
        process = stack.enter_context(subprocess.Popen(command, stdout=output, stderr=output))
        stack.callback(process.kill)


async def _flood(client: MqttClient) -> None:
    image = encode_for_offload(sorted(SHIPPED_PHOTOGRAPHS.glob("*.jpg"))[0].read_bytes(), 224, 90)
    while True:
        with contextlib.suppress(NotConnected):
            client.publish(
                Address(HOME, EDGE, Channel.INFER, client.node),
                image,
                correlation=new_request_id().encode("ascii"),
                properties={"model": "d7", "deadline_ms": "5000"},
            )
        await asyncio.sleep(0.005)  # the attack's rate, twice that of the finding


async def _watch(site: Site, directory: Path) -> tuple[list[Report], list[Result], list[Decision]]:
    """Reports of the honest device from the moment on from which the other is turned away, what that one hears, and
    all decisions."""
    reports: list[Report] = []
    decisions: list[Decision] = []
    results: list[Result] = []
    enough = asyncio.Event()

    def hear(inbound: Inbound) -> None:
        if isinstance(inbound.body, Result) and inbound.address.node == "bad":
            results.append(inbound.body)
        elif isinstance(inbound.body, Decision):
            decisions.append(inbound.body)
        elif isinstance(inbound.body, Report) and len(results) > 20 and (reports or inbound.body.tier is Tier.EDGE):
            reports.append(inbound.body)
            if sum(report.outcome is Outcome.DONE for report in reports) >= REPORTS:
                enough.set()

    screen = MqttClient(site.endpoint(NodeId("screen")), HOME, NodeId("screen"), "test", announces_state=False)
    bad = MqttClient(site.endpoint(NodeId("bad")), HOME, NodeId("bad"), "test", announces_state=False)
    for channel in (Channel.REPORT, Channel.RESULT, Channel.DECISION):
        screen.subscribe(filter_for(HOME, channel), channel, hear)
    tasks = [asyncio.create_task(client.run()) for client in (screen, bad)]
    await screen.wait_connected(120.0)
    await bad.wait_connected(120.0)
    with ExitStack() as stack:
        _start(site, directory, stack)
        tasks.append(asyncio.create_task(_flood(bad)))
        try:
            await asyncio.wait_for(enough.wait(), PATIENCE_S)
        finally:
            tasks.pop().cancel()
            for client in (screen, bad):
                await client.stop()
            await asyncio.gather(*tasks)
    return reports, results, decisions


@pytest.mark.mosquitto
@pytest.mark.models
@pytest.mark.system
@pytest.mark.slow
@pytest.mark.timeout(700)
def test_a_flood_of_undecided_images_makes_the_edge_busy_for_its_sender_alone(tmp_path: Path) -> None:
    """The edge answers fifteen requests of the honest device and is never busy for it; the other is told `busy`."""
    accounts = [Account(NodeId(name), role) for name, role in ROLES.items()]
    with running_site(tmp_path, HOME, accounts) as site:
        reports, results, decisions = asyncio.run(_watch(site, tmp_path))

    done = [report for report in reports if report.outcome is Outcome.DONE]
    assert {(Tier.EDGE, None)} == {(report.tier, report.reason) for report in done}
    assert not any("busy" in str(report.reason) for report in reports)
    assert any(result.refused == "busy" for result in results)
    assert {True} == {decision.ticket is not None for decision in decisions if decision.tier is Tier.EDGE}
