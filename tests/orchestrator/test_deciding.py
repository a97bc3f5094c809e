"""A joint decision: the agent's choice, or the safe one."""

from __future__ import annotations

from typing import Any

import pytest

from broker.errors import TierwiseError
from broker.vocabulary import Action, ModelName, Tier
from configs.orchestrator import QLearningSection, StateSection
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Choice, Experience, Observation
from orchestrator.agents.fixed import FixedStrategy
from orchestrator.agents.q_learning import QLearning
from orchestrator.checkpoint import Checkpoint
from orchestrator.deciding import SAFE, decide


class Stubborn:
    """Gives one answer, or raises it."""

    name = "stubborn"
    stateful = False

    def __init__(self, answer: Choice | Exception) -> None:
        self.answer = answer

    def act(self, observation: Observation) -> Choice:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def learn(self, experience: Experience) -> None: ...

    def save(self) -> Checkpoint:
        return Checkpoint(self.name, 1)

    def load(self, checkpoint: Checkpoint) -> None: ...


def test_the_agents_choice_stands_with_a_fallback_for_each(accuracies: Accuracies, observe: Any) -> None:
    """Edge only at 85 %: 49 tenths each may be lost, so all fall back to d5."""
    joint = decide(FixedStrategy("edge_only", Tier.EDGE), observe(3, 850), accuracies)

    assert ["d0@edge"] * 3 == [str(action) for action in joint.choice.actions]
    assert (("d5",) * 3, "edge_only") == (joint.fallbacks, joint.policy)


def test_an_agents_own_fallbacks_are_taken(accuracies: Accuracies, observe: Any) -> None:
    """It may know better than the joint assignment."""
    edge = Action(Tier.EDGE, ModelName("d0"))
    joint = decide(Stubborn(Choice((edge,), fallbacks=(ModelName("d4"),))), observe(1, 850), accuracies)

    assert ("d4",) == joint.fallbacks


@pytest.mark.parametrize(
    "answer",
    [
        TierwiseError("cannot"),
        ZeroDivisionError("a defect"),
        Choice(()),
        Choice((Action(Tier.EDGE, ModelName("d7")),) * 2),
        Choice((Action(Tier.EDGE, ModelName("d0")),) * 2, fallbacks=()),
    ],
)
def test_an_agent_that_cannot_or_may_not_is_replaced_by_the_safe_assignment(
    accuracies: Accuracies, observe: Any, answer: Choice | Exception
) -> None:
    """An error, a defect, too few actions, an impossible one, too few fallbacks: devices run what keeps the floor."""
    joint = decide(Stubborn(answer), observe(2, 850), accuracies)

    assert (["d5@end"] * 2, SAFE, None) == ([str(a) for a in joint.choice.actions], joint.policy, joint.agent)


def test_a_q_table_is_served_around_when_there_are_too_many_devices(accuracies: Accuracies, observe: Any) -> None:
    """Ten devices have 10^10 joint actions. At 89 % d4 (88.9) will not do for all, so each runs d0."""
    agent = QLearning(QLearningSection(), StateSection(), dict(accuracies.tenths))
    joint = decide(agent, observe(10, 890), accuracies)

    assert (SAFE, ["d0@end"] * 10) == (joint.policy, [str(action) for action in joint.choice.actions])


def test_a_device_without_models_is_still_decided(accuracies: Accuracies, observe: Any) -> None:
    """It can only offload; its fallback is named all the same."""
    edge = Action(Tier.EDGE, ModelName("d0"))
    joint = decide(Stubborn(TierwiseError("cannot")), observe(1, 850, actions=[(edge,)]), accuracies)

    assert ((edge,), ("d0",)) == (joint.choice.actions, joint.fallbacks)
