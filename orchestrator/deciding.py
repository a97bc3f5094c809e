"""One joint decision: the agent's choice, checked, with a fallback model for each device. Pure."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from broker.errors import TierwiseError
from broker.events import event
from broker.vocabulary import Action, ModelName, Tier
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Agent, Choice, Observation
from orchestrator.errors import UnfitChoice
from orchestrator.fallback import joint_fallback, safe_local
from orchestrator.observe import local_models

log = logging.getLogger(__name__)

SAFE = "safe_fallback"  # the policy's name where the agent could not decide


@dataclass(frozen=True, slots=True)
class JointDecision:
    """What was decided for an observation, by whom. `agent` is None where the agent could not; it learns nothing.

    `place`: where only that device was decided, on arrival of its request, around what the others were told last:
    `held`, with None for each that was told nothing. None where all were decided together.
    `beside`: where that is one of a large site, of the observation that one alone: how many others hold something, and
    the sum of its accuracies in tenths; `teach` takes what was executed and its ms, in place of the agent itself.
    """

    observation: Observation
    choice: Choice
    fallbacks: tuple[ModelName, ...]
    policy: str
    agent: Agent | None
    place: int | None = None
    held: tuple[Action | None, ...] = ()
    beside: tuple[int, int] | None = None
    teach: Callable[[Action | None, float | None], None] | None = field(default=None, compare=False, repr=False)

    @property
    def places(self) -> Sequence[int]:
        """The devices, by their place in the observation, that are told their action."""
        return range(len(self.observation.devices)) if self.place is None else (self.place,)


def decide(agent: Agent, observation: Observation, accuracies: Accuracies) -> JointDecision:
    """Let `agent` choose; if it cannot, every device runs the local model that keeps the floor. Never raises."""
    try:
        choice = agent.act(observation)
        check_shape(choice, observation)
        check_actions(choice, observation)
    except TierwiseError as error:
        event(log, logging.ERROR, "agent_cannot_decide", policy=agent.name, error=error)
        return _without_agent(observation, accuracies)
    except Exception:  # a defect in an agent must not cost the devices their decisions
        log.exception("agent_failed policy=%s", agent.name)
        return _without_agent(observation, accuracies)
    fallbacks = choice.fallbacks or fallbacks_of(choice, observation, accuracies)
    return JointDecision(observation, choice, fallbacks, agent.name, agent)


def _without_agent(observation: Observation, accuracies: Accuracies) -> JointDecision:
    """Every device runs the cheapest local model such that all of them together keep the floor."""
    choice = _safe_choice(observation, accuracies)
    return JointDecision(observation, choice, fallbacks_of(choice, observation, accuracies), SAFE, None)


def check_shape(choice: Choice, observation: Observation) -> None:
    """Raise UnfitChoice unless there is one action, and one fallback or none at all, for each device."""
    if len(choice.actions) != len(observation.devices):
        raise UnfitChoice(f"{len(choice.actions)} actions for {len(observation.devices)} devices")
    if choice.fallbacks is not None and len(choice.fallbacks) != len(observation.devices):
        raise UnfitChoice(f"{len(choice.fallbacks)} fallback models for {len(observation.devices)} devices")


def check_actions(choice: Choice, observation: Observation) -> None:
    """Raise UnfitChoice unless each device can do its action."""
    for device, action, able in zip(observation.devices, choice.actions, observation.actions, strict=True):
        if action not in able:
            raise UnfitChoice(f"{device} cannot do {action}")


def fallbacks_of(choice: Choice, observation: Observation, accuracies: Accuracies) -> tuple[ModelName, ...]:
    """The joint fallback assignment of a choice: a model for each device."""
    # Many devices share one list of actions: each list is looked through once.
    each = {id(actions): actions for actions in observation.actions}
    lists = {key: local_models(actions) for key, actions in each.items()}
    able = [lists[id(actions)] for actions in observation.actions]
    assigned = joint_fallback(choice.actions, able, observation.floor_tenths, accuracies)
    # A device without any local model cannot fall back; the message must name one all the same.
    return tuple(
        action.model if model is None else model for model, action in zip(assigned, choice.actions, strict=True)
    )


def _safe_choice(observation: Observation, accuracies: Accuracies) -> Choice:
    able = [local_models(actions) for actions in observation.actions]
    safe = safe_local(able, observation.floor_tenths, accuracies)
    return Choice(
        tuple(
            actions[0] if model is None else Action(Tier.END, model)
            for model, actions in zip(safe, observation.actions, strict=True)
        )
    )
