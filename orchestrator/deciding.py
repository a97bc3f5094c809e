"""One joint decision: the agent's choice, checked, with a fallback model for each device. Pure."""

from __future__ import annotations

import logging
from dataclasses import dataclass

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
    """What was decided for an observation, by whom. `agent` is None where the agent could not; it learns nothing."""

    observation: Observation
    choice: Choice
    fallbacks: tuple[ModelName, ...]
    policy: str
    agent: Agent | None


def decide(agent: Agent, observation: Observation, accuracies: Accuracies) -> JointDecision:
    """Let `agent` choose; if it cannot, every device runs the local model that keeps the floor. Never raises."""
    try:
        choice = agent.act(observation)
        _check(choice, observation)
    except TierwiseError as error:
        event(log, logging.ERROR, "agent_cannot_decide", policy=agent.name, error=error)
        return _without_agent(observation, accuracies)
    except Exception:  # a defect in an agent must not cost the devices their decisions
        log.exception("agent_failed policy=%s", agent.name)
        return _without_agent(observation, accuracies)
    fallbacks = choice.fallbacks or _fallbacks(choice, observation, accuracies)
    return JointDecision(observation, choice, fallbacks, agent.name, agent)


def _without_agent(observation: Observation, accuracies: Accuracies) -> JointDecision:
    choice = _safe_choice(observation, accuracies)
    return JointDecision(observation, choice, _fallbacks(choice, observation, accuracies), SAFE, None)


def _check(choice: Choice, observation: Observation) -> None:
    if len(choice.actions) != len(observation.devices):
        raise UnfitChoice(f"{len(choice.actions)} actions for {len(observation.devices)} devices")
    for device, action, able in zip(observation.devices, choice.actions, observation.actions, strict=True):
        if action not in able:
            raise UnfitChoice(f"{device} cannot do {action}")
    if choice.fallbacks is not None and len(choice.fallbacks) != len(observation.devices):
        raise UnfitChoice(f"{len(choice.fallbacks)} fallback models for {len(observation.devices)} devices")


def _fallbacks(choice: Choice, observation: Observation, accuracies: Accuracies) -> tuple[ModelName, ...]:
    able = [local_models(actions) for actions in observation.actions]
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
