"""The fixed strategies."""

from __future__ import annotations

from typing import Any

import pytest

from broker.vocabulary import Tier
from orchestrator.agents.fixed import FixedStrategy


@pytest.mark.parametrize(("tier", "expected"), [(Tier.END, "d0@end"), (Tier.EDGE, "d0@edge"), (Tier.CLOUD, "d0@cloud")])
def test_everything_runs_on_the_strategys_tier(observe: Any, tier: Tier, expected: str) -> None:
    """Each device does the same, with the most accurate model there."""
    choice = FixedStrategy("fixed", tier).act(observe(5))

    assert [expected] * 5 == [str(action) for action in choice.actions]
    assert not choice.explored


def test_without_the_tier_the_most_accurate_local_model_runs(observe: Any) -> None:
    """Edge only with no edge: d4 on a device that has d4 to d7."""
    seen = observe(1, actions=[observe(1).actions[0][4:8]])

    assert ["d4@end"] == [str(action) for action in FixedStrategy("edge_only", Tier.EDGE).act(seen).actions]


def test_a_device_that_can_only_offload_does_what_it_can(observe: Any) -> None:
    """Device only on a device without models: what is left."""
    seen = observe(1, actions=[observe(1).actions[0][9:]])

    assert ["d0@cloud"] == [str(action) for action in FixedStrategy("device_only", Tier.END).act(seen).actions]
