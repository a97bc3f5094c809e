"""Which node serves a tier, at a real broker: those that `serving_nodes` names, whatever others say."""

from __future__ import annotations

import asyncio
from typing import Any

from broker.messages import Birth
from broker.topics import Channel
from broker.vocabulary import Tier


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
