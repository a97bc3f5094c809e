"""The fixed strategies."""

from __future__ import annotations

from typing import Any

import pytest

from broker.vocabulary import Tier
from orchestrator.accuracy import Accuracies
from orchestrator.agents.fixed import FixedStrategy, UniformModel


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


@pytest.mark.parametrize(("floor", "model"), [(728, "d7"), (850, "d5"), (880, "d1"), (885, "d4"), (899, "d0")])
def test_uniform_model_is_the_cheapest_that_keeps_the_floor(
    observe: Any, accuracies: Accuracies, floor: int, model: str
) -> None:
    """Table 4: cheapest by MACs, then int8 before fp32; the same on every device."""
    choice = UniformModel("uniform_model", accuracies.cost).act(observe(3, floor))

    assert [f"{model}@end"] * 3 == [str(action) for action in choice.actions]


def test_without_a_shared_model_each_device_keeps_the_floor_by_itself(observe: Any, accuracies: Accuracies) -> None:
    """One device has d4 alone, the other has all but d4."""
    local = observe(1).actions[0][:8]
    seen = observe(2, 850, actions=[local[4:5], local[:4] + local[5:]])

    actions = UniformModel("uniform_model", accuracies.cost).act(seen).actions
    assert ["d4@end", "d5@end"] == [str(action) for action in actions]
