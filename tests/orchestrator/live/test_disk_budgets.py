"""A device that says much to fill the orchestrator's disk, over a real Mosquitto."""

from __future__ import annotations

import asyncio
from typing import Any

from broker.messages import Birth
from broker.topics import Channel
from broker.vocabulary import Outcome, Tier

BIRTHS = 200
MAX_LOG_BYTES = 20_000  # of one process, its start and end included; the births would have been 1.7 MB


def test_births_with_unknown_models_and_impossible_times_fill_no_disk(
    open_site: Any, orchestrator_process: Any
) -> None:
    """200 births with 256 new names each are one line; a day of response time is a failed request of 35 s at most."""
    limits = {"messages_per_s": 10_000, "burst": 10_000}
    process = orchestrator_process(goal={"policy": "device_only", "accuracy_floor": "min"}, limits=limits)

    async def scenario() -> None:
        async with open_site() as site:
            await (await site.watcher()).goals.get()  # it listens
            node = await site.node("s1", closed_loop=True, rounds_wanted=1)
            for number in range(BIRTHS):
                models = {f"net-{number}-{place}": "0" * 64 for place in range(256)}
                session, told = node.client.session, {"agent_version": "test", "vcpus": 1}
                node.publish(Channel.BIRTH, Birth(session=session, tier=Tier.END, models=models, **told))
            node.announce()
            node.response_ms = lambda _decision: 86_400_000.0
            await node.until(lambda: len(node.acknowledged) == 1)

    asyncio.run(scenario())

    assert 0 == process.end()
    log = process.log()
    assert 1 == log.count("models_unknown")
    assert len(log) < MAX_LOG_BYTES
    ((outcome, response_ms),) = process.rows("SELECT outcome, response_ms FROM response")
    assert Outcome.FAILED == outcome
    assert response_ms <= 35_000
