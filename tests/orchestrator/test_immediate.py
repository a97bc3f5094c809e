"""One request decided around what is held: the agent's choice, or the safe one."""

from __future__ import annotations

from typing import Any

import pytest

from broker.errors import TierwiseError
from broker.vocabulary import Action, ModelName, NodeId, Tier
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Choice, Immediate
from orchestrator.deciding import SAFE
from orchestrator.immediate import Assignments, decide_one

EDGE = Action(Tier.EDGE, ModelName("d0"))
D0, D4, D5, D7 = (Action(Tier.END, ModelName(name)) for name in ("d0", "d4", "d5", "d7"))
HELD = (EDGE, None, D7)


def _told(*held: Action | None, fallback: str | None = None) -> Assignments:
    """What s1, s2 and s3 were told last, with a fallback model, or the same model again."""
    assignments = Assignments()
    for place, action in enumerate(held):
        if action is not None:
            assignments.tell(NodeId(f"s{place + 1}"), action, ModelName(fallback or action.model))
    return assignments


class Stubborn:
    """Gives one answer, or raises it."""

    name = "stubborn"
    stateful = False

    def __init__(self, answer: Choice | Exception) -> None:
        self.answer = answer

    def act_one(self, *_: Any) -> Choice:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    act = act_one

    def learn(self, *_: Any) -> None: ...

    learn_one = save = load = learn


def test_the_stub_agents_are_immediate(averages: Any) -> None:
    """Both have all that the live loop calls."""
    assert isinstance(averages, Immediate)
    assert isinstance(Stubborn(Choice(())), Immediate)


def test_only_the_asking_device_is_told(accuracies: Accuracies, observe: Any) -> None:
    """Its own part of the choice, and its part of the joint fallback assignment: 49 tenths each at 85 %."""
    agent: Any = Stubborn(Choice((D5, EDGE, D0)))
    joint = decide_one(agent, observe(3, 850), 1, _told(D5, None, D0), accuracies)

    assert ((1,), EDGE, "stubborn") == (joint.places, joint.choice.actions[1], joint.policy)
    assert accuracies.meets([action.model for action in (D5, D0)] + [joint.fallbacks[1]], 850)


def test_an_agents_own_fallbacks_are_taken(accuracies: Accuracies, observe: Any) -> None:
    """It may know better than the joint assignment."""
    models = tuple(ModelName(name) for name in ("d0", "d4", "d0"))
    agent: Any = Stubborn(Choice((EDGE, EDGE, D7), fallbacks=models))
    joint = decide_one(agent, observe(3, 850), 1, _told(*HELD), accuracies)

    assert models == joint.fallbacks


@pytest.mark.parametrize(
    "answer",
    [
        TierwiseError("cannot"),
        ZeroDivisionError("a defect"),
        Choice(()),
        Choice((EDGE, D5)),
        Choice((EDGE, Action(Tier.EDGE, ModelName("d7")), D7)),
        Choice((D0, D5, D7)),
        Choice((EDGE, D5, D0)),
        Choice((EDGE, D5, D7), fallbacks=()),
    ],
)
def test_an_agent_that_cannot_or_may_not_is_replaced_by_a_safe_local_model(
    accuracies: Accuracies, observe: Any, answer: Choice | Exception
) -> None:
    """An error, a defect, too few actions, an impossible one, another action for a device that is held, too few
    fallbacks. d7 is held, 122 tenths below 85 %: with the edge's 49 above, no model keeps the floor, so d0 it is."""
    agent: Any = Stubborn(answer)
    joint = decide_one(agent, observe(3, 850), 1, _told(*HELD), accuracies)

    assert (D0, SAFE, None, (1,)) == (joint.choice.actions[1], joint.policy, joint.agent, joint.places)
    assert joint.fallbacks[1] == "d0"


@pytest.mark.parametrize(
    ("held", "own"), [((None, None, None), D5), ((D5, None, D5), D5), ((D4, None, D7), D0), ((EDGE, D0, EDGE), D5)]
)
def test_the_safe_model_is_the_cheapest_that_keeps_the_floor_alone_and_beside_the_others(
    accuracies: Accuracies, observe: Any, held: Any, own: Action
) -> None:
    """At 85 % 49 tenths each may be lost. What others leave unused is not taken: they may fall back."""
    agent: Any = Stubborn(TierwiseError("cannot"))
    joint = decide_one(agent, observe(3, 850), 1, _told(*held), accuracies)

    assert own == joint.choice.actions[1]


def test_a_device_without_models_is_still_decided(accuracies: Accuracies, observe: Any) -> None:
    """It can only offload; its fallback is named all the same."""
    agent: Any = Stubborn(TierwiseError("cannot"))
    joint = decide_one(agent, observe(1, 850, actions=[(EDGE,)]), 0, Assignments(), accuracies)

    assert ((EDGE,), ("d0",)) == (joint.choice.actions, joint.fallbacks)


def test_what_was_told_is_held_while_it_is_possible(observe: Any, ten_actions: Any) -> None:
    """The last action of each device; none while its tier is away, and the same again when that is back."""
    assignments = Assignments()
    local = tuple(action for action in ten_actions if action.tier is Tier.END)
    for device, action in (("s1", D7), ("s1", EDGE), ("s3", D4)):
        assignments.tell(NodeId(device), action, ModelName("d0"))

    assert (EDGE, None, D4) == assignments.held(observe(3))
    assert (EDGE, None, D4) == assignments.held(observe(3))
    assert (None, None, D4) == assignments.held(observe(3, actions=[local] * 3))
    assert (EDGE, None, D4) == assignments.held(observe(3))


def test_a_fallback_leaves_room_for_those_that_the_others_were_told(accuracies: Accuracies, observe: Any) -> None:
    """At 85 % three devices on the edge may lose 147 tenths. Two were told d6 (67 each) when there was more to lose, so
    13 are left: d1 needs 17, d4 needs 10. Whoever falls back then, the floor holds."""
    agent: Any = Stubborn(Choice((EDGE, EDGE, EDGE)))
    joint = decide_one(agent, observe(3, 850), 1, _told(EDGE, None, EDGE, fallback="d6"), accuracies)

    assert "d4" == joint.fallbacks[1]
    assert accuracies.meets([ModelName("d6"), joint.fallbacks[1], ModelName("d6")], 850)
    assert not accuracies.meets([ModelName("d6"), ModelName("d1"), ModelName("d6")], 850)


def test_a_fallback_is_the_joint_one_where_the_others_leave_enough(accuracies: Accuracies, observe: Any) -> None:
    """All three may fall back to d5, 29 tenths below the best, of 49 that each may lose."""
    agent: Any = Stubborn(Choice((EDGE, EDGE, EDGE)))
    joint = decide_one(agent, observe(3, 850), 1, _told(EDGE, None, EDGE, fallback="d5"), accuracies)

    assert "d5" == joint.fallbacks[1]
