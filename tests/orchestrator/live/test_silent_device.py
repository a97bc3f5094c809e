"""A device that asks and never reports, at a real broker, in each mode."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

HONEST_DECISIONS = 30


@pytest.mark.parametrize("mode", ["synchronous", "immediate"])
def test_a_silent_device_is_decided_alone_and_the_others_go_on(
    open_site: Any, orchestrator_process: Any, mode: str
) -> None:
    """After two deadlines it is told a safe local model; the others are decided by the policy, without waiting."""

    async def attacked() -> tuple[set[str], set[str]]:
        async with open_site() as site:
            honest = [await site.node(f"s{number}", closed_loop=True) for number in (1, 2, 3)]
            silent = await site.node("s4", closed_loop=True, response_ms=lambda _decision: None)
            while "safe_fallback" not in {decision.policy for decision in silent.decisions}:
                seen = len(silent.decisions)
                await silent.until(lambda seen=seen: len(silent.decisions) > seen)
            for device in honest:
                device.decisions.clear()
            for device in honest:
                await device.until(lambda device=device: len(device.decisions) >= HONEST_DECISIONS)
            policies = {decision.policy for device in honest for decision in device.decisions}
            return policies, {decision.tier for decision in silent.decisions[-3:]}

    process = orchestrator_process(
        goal={"policy": "random", "accuracy_floor": "min"},
        rounds={"mode": mode, "deadline_ms": 1000.0, "open_period_s": 0.05},
    )
    policies, tiers = asyncio.run(attacked())
    process.end()

    assert ({"random"}, {"end"}) == (policies, tiers)
    assert "alarm_raised code=reports_missing node=s4" in process.log()
