"""A running orchestrator takes what is changed in its file, and the file's goal wins over one that was set."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from broker.messages import Goal, GoalSet
from broker.topics import Address, Channel
from broker.vocabulary import NodeId, Tier
from configs.editing import put

pytestmark = pytest.mark.system


async def _change(process: Any, until: str, **values: Any) -> None:
    """Put the values into the file, hang up, and wait for a line of the log."""
    text = process.config_file.read_text(encoding="utf-8")
    for key, value in values.items():
        text = put(text, key.replace("__", "."), value)
    process.config_file.write_text(text, encoding="utf-8")
    process._process.send_signal(signal.SIGHUP)
    async with asyncio.timeout(120):
        while until not in process.log():
            await asyncio.sleep(0.02)


async def _goal(watcher: Any, policy: str) -> Goal:
    async with asyncio.timeout(120):
        while True:
            goal: Goal = await watcher.goals.get()
            if goal.policy == policy:
                return goal


def test_a_running_orchestrator_takes_a_changed_file(open_site: Any, orchestrator_process: Any) -> None:
    """Rounds begin, end sooner, and follow another goal; every change is in the log, and what needs a restart too."""
    sections = {"min_devices": 7, "open_period_s": 0.1, "deadline_ms": 4000.0}
    process = orchestrator_process(rounds=sections, goal={"policy": "device_only", "accuracy_floor": "min"})

    async def scenario() -> list[Any]:
        async with open_site() as site:
            watcher = await site.watcher()
            device = await site.node("s1", closed_loop=True)
            await site.node("edge", Tier.EDGE)
            await watcher.online()
            seen: list[Any] = [len(device.decisions)]  # six devices are missing
            await _change(process, "setting_changed key=rounds.min_devices old=7 new=1", rounds__min_devices=1)
            await watcher.rounds(1)
            await _change(process, "key=rounds.deadline_ms", rounds__deadline_ms=3000.0, rounds__mode="immediate")
            await device.until(lambda: device.decisions[-1].deadline_ms == 3000.0)
            seen.append(device.decisions[-1].policy)
            there = Address(site.site, NodeId("orchestrator"), Channel.GOAL_SET)
            watcher.client.publish(there, GoalSet(policy="edge_only"))
            by_hand = await _goal(watcher, "edge_only")
            await _change(
                process, "key=goal.policy old=device_only new=cloud_only", goal__policy="cloud_only",
                log_level="warning", goal__accuracy_floor=80.5,
            )  # fmt: skip
            by_file = await _goal(watcher, "cloud_only")
            return [*seen, by_hand.policy_version, by_file.policy_version, by_file.accuracy_floor_percent]

    seen = asyncio.run(scenario())
    assert 0 == process.end()

    log = process.log()
    assert [0, "device_only", 2, 3, 80.5] == seen
    assert "setting_needs_restart key=rounds.mode new=immediate" in log
    assert "orchestrator_stopped" not in log  # an event of a level that is no longer logged
