"""Devices with valid accounts that attack their site: real broker and orchestrator, access rules, scripted nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.access_matrix.site import Site as SecuredSite
from benchmarks.access_matrix.site import running_site
from broker.access import Role
from broker.identity.accounts import Account
from broker.messages import Decision
from broker.vocabulary import NodeId, Outcome, SiteId, Tier

ORCHESTRATOR, HOSTILE = NodeId("orchestrator"), NodeId("a-hostile")  # before `edge` and `s1` in the alphabet
HONEST = (NodeId("s1"), NodeId("s2"), NodeId("s3"))
RESPONSE_MS = {Tier.END: 300.0, Tier.EDGE: 60.0, Tier.CLOUD: 90.0}
ROUNDS = 20

pytestmark = pytest.mark.mosquitto


@pytest.fixture
def secured(tmp_path: Path, site: SiteId) -> Iterator[SecuredSite]:
    """An edge, a cloud and four end devices, each with an account and a certificate."""
    roles = {ORCHESTRATOR: Role.ORCHESTRATOR, "edge": Role.SERVING_NODE, "cloud": Role.SERVING_NODE}
    roles |= dict.fromkeys((HOSTILE, *HONEST), Role.END_DEVICE)
    with running_site(tmp_path, site, [Account(NodeId(name), role) for name, role in roles.items()]) as running:
        yield running


@pytest.fixture
def start(secured: SecuredSite, orchestrator_process: Any) -> Callable[..., Any]:
    """Start the orchestrator, with its own certificate and the sections given."""
    tls = secured.tls(ORCHESTRATOR)
    files = {"ca_file": tls.ca_file, "certificate_file": tls.certificate_file, "key_file": tls.key_file}
    broker = {"port": secured.process.endpoint.port, "tls": {name: str(file) for name, file in files.items()}}
    return lambda **sections: orchestrator_process(broker=broker, **sections)


def test_an_end_devices_certificate_takes_over_no_tier(secured: SecuredSite, start: Any, open_site_at: Any) -> None:
    """It announces `tier: edge` under an id before the edge's: it is named by no decision, and the edge by all."""

    async def attacked() -> list[Decision]:
        async with open_site_at(secured.endpoint) as nodes:
            await nodes.node(HOSTILE, Tier.EDGE)
            await nodes.node("edge", Tier.EDGE)
            device = await nodes.node("s1", closed_loop=True)
            await device.until(lambda: sum(one.tier is Tier.EDGE for one in device.decisions) >= ROUNDS)
            return device.decisions

    process = start(goal={"policy": "edge_only", "accuracy_floor": "min"})
    decisions = asyncio.run(attacked())
    process.end()

    assert HOSTILE not in {one.serving_node for one in decisions}
    assert {"edge"} == {one.serving_node for one in decisions if one.tier is Tier.EDGE}
    assert f"alarm_raised code=not_a_serving_node node={HOSTILE}" in process.log()


def test_a_device_that_lies_keeps_no_tier_from_others(secured: SecuredSite, start: Any, open_site_at: Any) -> None:
    """It reports `failed` whenever it was offloaded: honest devices use the tiers meanwhile, and after it left."""

    async def attacked() -> tuple[int, int, int]:
        async with open_site_at(secured.endpoint) as nodes:
            for tier in (Tier.EDGE, Tier.CLOUD):
                await nodes.node(tier, tier)
            honest = [await nodes.node(name, closed_loop=True, response_ms=_usual_ms) for name in HONEST]
            await _rounds(honest, ROUNDS)
            liar = await nodes.node(HOSTILE, closed_loop=True)
            liar.on_decision = lambda decision: _lie(liar, decision)
            await liar.until(lambda: any(decision.tier is not Tier.END for decision in liar.decisions))
            await _rounds(honest, ROUNDS)  # it takes effect
            meanwhile = [await _rounds(honest, ROUNDS) for _ in range(2)]
            await liar.client.stop()
            return (*meanwhile, await _rounds(honest, ROUNDS))

    process = start(goal={"policy": "factored", "accuracy_floor": "min"}, rounds={"deadline_ms": 9_000.0})
    offloaded = asyncio.run(attacked())
    process.end()

    assert min(offloaded) >= 48  # of sixty decisions each time


def _usual_ms(decision: Decision) -> float:
    return RESPONSE_MS[decision.tier]


def _lie(device: Any, decision: Decision) -> None:
    if decision.tier is Tier.END:
        device.report(decision, _usual_ms(decision))
        return
    own = {"tier": Tier.END, "model": decision.fallback_model, "serving_node": device.client.node}
    device.report(decision, 100.0, outcome=Outcome.FAILED, **own)


async def _rounds(devices: list[Any], rounds: int) -> int:
    """Let each device get so many decisions more; how many of these were for edge or cloud."""
    starts = [len(device.decisions) for device in devices]
    for device, start in zip(devices, starts, strict=True):
        await device.until(lambda device=device, end=start + rounds: len(device.decisions) >= end)
    news = [device.decisions[start : start + rounds] for device, start in zip(devices, starts, strict=True)]
    return sum(decision.tier is not Tier.END for new in news for decision in new)
