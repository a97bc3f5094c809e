"""One request decided on its arrival, around what the other devices were told last. Pure but for that memory.

Nobody waits for the slowest device: the joint action changes one part at a time. The floor is that of the joint
assignment in force: what each device was told last, and the new action.
"""

from __future__ import annotations

import logging

from broker.errors import TierwiseError
from broker.events import event
from broker.messages import RoundSummary
from broker.vocabulary import Action, ModelName, NodeId, Tier
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Choice, Immediate, Observation
from orchestrator.deciding import SAFE, JointDecision, check_shape, fallbacks_of
from orchestrator.errors import UnfitChoice
from orchestrator.observe import cheapest_local
from orchestrator.rounds import RoundEntry
from orchestrator.settling import Decided, delivered, executed_of, summary_of

log = logging.getLogger(__name__)


class Assignments:
    """What each device was told last, as long as it can still be done. Mutable; empty after a restart."""

    def __init__(self) -> None:
        # With the list of actions in which it was found: the observer keeps equal lists as one object.
        self._told: dict[NodeId, tuple[Action, tuple[Action, ...] | None]] = {}
        self._fallback: dict[NodeId, ModelName] = {}

    def tell(self, device: NodeId, action: Action, fallback: ModelName) -> None:
        """A decision has left for `device`."""
        self._told[device] = (action, None)
        self._fallback[device] = fallback

    def held(self, observation: Observation) -> tuple[Action | None, ...]:
        """Of each device of the observation; None where that is nothing, or no longer possible."""
        return tuple(map(self._of, observation.devices, observation.actions))

    def fallbacks(self, observation: Observation) -> tuple[ModelName | None, ...]:
        """The fallback model that each device was told last; None where that is nothing."""
        return tuple(map(self._fallback.get, observation.devices))

    def _of(self, device: NodeId, able: tuple[Action, ...]) -> Action | None:
        action, found_in = self._told.get(device, (None, None))
        if action is None or found_in is able:
            return action
        if action not in able:
            return None
        self._told[device] = (action, able)
        return action


def decide_one(
    agent: Immediate, observation: Observation, place: int, assignments: Assignments, accuracies: Accuracies
) -> JointDecision:
    """Let `agent` choose for the `place`-th device; if it cannot, that runs a local model. Never raises."""
    held = assignments.held(observation)
    try:
        choice = agent.act_one(observation, place, held)
        check_shape(choice, observation)
        _check_part(choice, observation, place, held)
    except TierwiseError as error:
        event(log, logging.ERROR, "agent_cannot_decide", policy=agent.name, error=error)
        return _without_agent(observation, place, held, accuracies)
    except Exception:  # a defect in an agent must not cost the device its decision
        log.exception("agent_failed policy=%s", agent.name)
        return _without_agent(observation, place, held, accuracies)
    fallbacks = choice.fallbacks
    if fallbacks is None:
        joint = list(fallbacks_of(choice, observation, accuracies))
        if choice.actions[place].tier is not Tier.END:
            told = assignments.fallbacks(observation)
            joint[place] = _beside_fallbacks(joint[place], observation, place, held, told, accuracies)
        fallbacks = tuple(joint)
    return JointDecision(observation, choice, fallbacks, agent.name, agent, place, held)


def _beside_fallbacks(
    joint: ModelName,
    observation: Observation,
    place: int,
    held: tuple[Action | None, ...],
    told: tuple[ModelName | None, ...],
    accuracies: Accuracies,
) -> ModelName:
    """What a device falls back to: `joint`, unless the others' fallbacks, as they were told, leave less than that.

    Whichever of them fall back, the worse of each one's two models is what it may cost.
    """
    tenths = accuracies.tenths
    others = [
        min(tenths[action.model], tenths[fallback or action.model])
        for index, (action, fallback) in enumerate(zip(held, told, strict=True))
        if index != place and action is not None
    ]
    # Together at least the floor: so far may this device's be below the best.
    left = accuracies.best_tenths + sum(others) - (len(others) + 1) * observation.floor_tenths
    if accuracies.deficit(joint) <= left:
        return joint
    return cheapest_local(observation.actions[place], left, accuracies) or joint


def _check_part(choice: Choice, observation: Observation, place: int, held: tuple[Action | None, ...]) -> None:
    for index, (action, before) in enumerate(zip(choice.actions, held, strict=True)):
        if index != place and before is not None:
            if action != before:
                raise UnfitChoice(f"{observation.devices[index]} was told {before}, and did not ask for {action}")
        elif action not in observation.actions[index]:
            raise UnfitChoice(f"{observation.devices[index]} cannot do {action}")


def _without_agent(
    observation: Observation, place: int, held: tuple[Action | None, ...], accuracies: Accuracies
) -> JointDecision:
    """The cheapest local model that keeps the floor by itself and beside what is held; else the most accurate."""
    others = [action for index, action in enumerate(held) if index != place and action is not None]
    budget = accuracies.budget(len(others) + 1, observation.floor_tenths)
    left = budget - sum(accuracies.deficit(action.model) for action in others)
    allowed = min(left, accuracies.budget(1, observation.floor_tenths))
    cheapest = cheapest_local(observation.actions[place], allowed, accuracies)
    own = observation.actions[place][0] if cheapest is None else Action(Tier.END, cheapest)
    actions = [able[0] if action is None else action for action, able in zip(held, observation.actions, strict=True)]
    actions[place] = own
    # It is local already, or the device has no local model; the message must name one all the same.
    fallbacks = tuple(action.model for action in actions)
    return JointDecision(observation, Choice(tuple(actions)), fallbacks, SAFE, None, place, held)


def settle_one(
    entry: RoundEntry, decided: Decided, accuracies: Accuracies
) -> tuple[Action | None, float | None, RoundSummary]:
    """What the device did, its response time in ms (None each where nothing came), and the summary of its round.

    Accuracy and floor of the summary, and whether the choice broke the floor, are of the joint assignment in force.
    """
    joint, place = decided.joint, decided.joint.places[0]
    report = delivered(entry, joint.observation.devices[place])
    chosen, executed = joint.choice.actions[place], executed_of(report)
    response_ms = None if report is None else report.response_ms
    others = [action.model for index, action in enumerate(joint.held) if index != place and action is not None]
    ran = chosen.model if executed is None or executed.model not in accuracies.tenths else executed.model
    summary = summary_of(decided, accuracies, [response_ms], [*others, chosen.model], [*others, ran])
    return executed, response_ms, summary
