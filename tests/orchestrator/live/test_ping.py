"""The orchestrator and an agent answer pings, as people and the page ask them."""

from __future__ import annotations

import asyncio

import pytest

from broker.clock import SystemClock
from broker.vocabulary import node_id
from tierwise.person import Bus
from tierwise.pinging import Pace, Pinger


@pytest.mark.mosquitto
def test_the_orchestrator_answers_pings_and_floods_cost_only_some(
    mosquitto_endpoint, site, orchestrator_process, open_site
):
    """Within its limit each of them comes back, with its session; far over it only some do, and it lives on."""
    orchestrator_process()

    async def scenario():
        async with open_site() as here:
            await (await here.watcher()).online()
        pinger = Pinger(Bus(mosquitto_endpoint, site), node_id("orchestrator"), SystemClock(), lambda *_: None)
        quiet = await pinger.run(Pace(5, 0.05, 10.0))
        flood = Pinger(Bus(mosquitto_endpoint, site), node_id("orchestrator"), SystemClock(), lambda *_: None)
        flooded = await flood.run(Pace(400, 0.0, 1.0))
        again = Pinger(Bus(mosquitto_endpoint, site), node_id("orchestrator"), SystemClock(), lambda *_: None)
        return quiet, flooded, await again.run(Pace(1, 0.05, 10.0))

    quiet, flooded, again = asyncio.run(scenario())

    assert 5 == len(quiet.answered)
    assert {quiet.state.session} == {ping.session for ping in quiet.answered}
    assert 1 <= len(flooded.answered) < 400
    assert 1 == len(again.answered)
