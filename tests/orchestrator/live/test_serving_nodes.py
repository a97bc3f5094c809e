"""Which node serves a tier, at a real broker: those that `serving_nodes` names, whatever others say."""

from __future__ import annotations

import asyncio
from typing import Any

from broker.messages import Birth, Decision
from broker.topics import Channel
from broker.vocabulary import Outcome, Tier


def test_an_impostor_gets_no_decision_and_an_alarm(open_site: Any, orchestrator_process: Any) -> None:
    """Its id comes before the edge's and it says it is the edge: all requests still go to the edge."""

    async def attacked() -> set[str]:
        async with open_site() as site:
            impostor = await site.node("an-impostor", Tier.EDGE)
            await site.node("edge", Tier.EDGE)
            device = await site.node("s1", closed_loop=True)
            await device.until(lambda: any(decision.tier is Tier.EDGE for decision in device.decisions))
            device.decisions.clear()
            impostor.announce()
            await device.until(lambda: len(device.decisions) >= 10)
            return {decision.serving_node for decision in device.decisions}

    process = orchestrator_process(goal={"policy": "edge_only", "accuracy_floor": "min"})
    served_by = asyncio.run(attacked())
    process.end()

    assert {"edge"} == served_by
    assert "alarm_raised code=not_a_serving_node node=an-impostor" in process.log()


def test_a_device_that_turns_into_an_edge_node_is_refused(open_site: Any, orchestrator_process: Any) -> None:
    """Also where no serving nodes are named: it was an end device, and stays one; the start warned of that."""

    async def attacked() -> set[str]:
        async with open_site() as site:
            await site.node("edge", Tier.EDGE)
            device = await site.node("s1", closed_loop=True)
            turncoat = await site.node("a2", closed_loop=True)
            await turncoat.until(lambda: len(turncoat.decisions) >= 1)
            turncoat.publish(
                Channel.BIRTH,
                Birth(session=turncoat.client.session, tier=Tier.EDGE, agent_version="1", vcpus=1,
                      models=dict.fromkeys(turncoat.models, "0" * 64)),
            )  # fmt: skip
            seen = len(device.decisions)
            await device.until(lambda: len(device.decisions) >= seen + 10)
            return {decision.serving_node for decision in device.decisions[-5:] if decision.tier is Tier.EDGE}

    goal = {"policy": "edge_only", "accuracy_floor": "min"}
    process = orchestrator_process(goal=goal, serving_nodes=None, rounds={"window_ms": 20.0})
    served_by = asyncio.run(attacked())
    process.end()

    assert {"edge"} == served_by
    assert "alarm_raised code=tier_changed node=a2" in process.log()
    assert "any_node_may_serve_a_tier" in process.log()


def test_the_next_node_of_a_tier_serves_when_results_of_the_first_are_missing(
    open_site: Any, orchestrator_process: Any
) -> None:
    """Two devices fall back whenever edge-1 was to serve them; it beats all the while, and an alarm names it."""

    async def attacked() -> set[str]:
        async with open_site() as site:
            for name in ("edge-1", "edge-2"):
                await site.node(name, Tier.EDGE)
            devices = [await site.node(name, closed_loop=True, response_ms=lambda _: None) for name in ("s1", "s2")]
            for device in devices:
                device.on_decision = lambda decision, device=device: _report_unless(device, decision, "edge-1")
            await asyncio.gather(*(_until_served_by(device, "edge-2") for device in devices))
            return {decision.serving_node for device in devices for decision in device.decisions}

    goal = {"policy": "edge_only", "accuracy_floor": "min"}
    process = orchestrator_process(goal=goal, serving_nodes={"edge": ["edge-1", "edge-2"]})
    served_by = asyncio.run(attacked())
    process.end()

    assert {"edge-1", "edge-2"} <= served_by
    assert "alarm_raised code=results_missing node=edge-1" in process.log()


def test_one_device_whose_results_are_missing_does_not_change_the_serving_node(
    open_site: Any, orchestrator_process: Any
) -> None:
    """Beside an honest one edge-1 goes on to serve both."""

    async def attacked() -> set[str]:
        async with open_site() as site:
            for name in ("edge-1", "edge-2"):
                await site.node(name, Tier.EDGE)
            liar = await site.node("a-liar", closed_loop=True, response_ms=lambda _: None)
            liar.on_decision = lambda decision: _report_unless(liar, decision, "edge-1")
            honest = await site.node("s1", closed_loop=True)
            for device in (liar, honest):
                await device.until(lambda device=device: len(device.decisions) >= 20)
            return {one.serving_node for one in honest.decisions if one.tier is Tier.EDGE}

    goal = {"policy": "edge_only", "accuracy_floor": "min"}
    process = orchestrator_process(goal=goal, serving_nodes={"edge": ["edge-1", "edge-2"]})
    served_by = asyncio.run(attacked())
    process.end()

    assert {"edge-1"} == served_by


async def _until_served_by(device: Any, node: str) -> None:
    await device.until(lambda: any(decision.serving_node == node for decision in device.decisions))


def _report_unless(device: Any, decision: Decision, node: str) -> None:
    """Report it as done, but as fallen back if `node` was to serve it."""
    if decision.serving_node != node:
        device.report(decision, 10.0)
        return
    own = {"tier": Tier.END, "model": decision.fallback_model, "serving_node": device.client.node}
    device.report(decision, 50.0, outcome=Outcome.FALLEN_BACK, **own)
