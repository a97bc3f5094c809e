"""What came of one complete round: response times, accuracy, equation 4's reward. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from broker.messages import LONGEST_MS, Report, RoundSummary
from broker.vocabulary import Action, ModelName, NodeId, Outcome
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Experience, Observation
from orchestrator.deciding import JointDecision
from orchestrator.reward import reward
from orchestrator.rounds import RoundEntry


@dataclass(frozen=True, slots=True)
class Decided:
    """A joint decision with what was in force when it was made."""

    joint: JointDecision
    policy_version: int
    deadline_ms: float
    maximum_response_ms: float


def settle(
    entry: RoundEntry, decided: Decided, accuracies: Accuracies, next_observation: Observation
) -> tuple[Experience, RoundSummary]:
    """The experience for the agent and the summary for everybody.

    A missing or failed result counts with the deadline as its response time. The reward judges the joint action that
    was *chosen* (section 4.2: "when the selected action satisfies the average accuracy constraint"); the summary's
    accuracy is that of what really *ran*, and of the choice where nothing is known to have run.
    """
    joint = decided.joint
    observation, choice = joint.observation, joint.choice
    reports = [_delivered(entry, device) for device in observation.devices]
    executed = tuple(_executed(report) for report in reports)
    response_ms = tuple(None if report is None else report.response_ms for report in reports)
    counted_ms = [decided.deadline_ms if ms is None else ms for ms in response_ms]
    chosen_meets = accuracies.meets((action.model for action in choice.actions), observation.floor_tenths)
    earned = reward(counted_ms, chosen_meets, decided.maximum_response_ms)
    ran = [
        done.model if done is not None and done.model in accuracies.tenths else wanted.model
        for done, wanted in zip(executed, choice.actions, strict=True)
    ]
    summary = RoundSummary(
        policy=joint.policy,
        policy_version=decided.policy_version,
        explored=choice.explored,
        devices=len(observation.devices),
        missing=sum(ms is None for ms in response_ms),
        mean_response_ms=min(LONGEST_MS, sum(counted_ms) / len(counted_ms)),
        accuracy_percent=accuracies.mean_percent(ran),
        accuracy_floor_percent=observation.floor_tenths / 10,
        floor_met=accuracies.meets(ran, observation.floor_tenths),
        reward=earned,
    )
    return Experience(observation, choice, executed, response_ms, earned, next_observation), summary


def _delivered(entry: RoundEntry, device: NodeId) -> Report | None:
    asked = entry.asked.get(device)
    report = asked.report if asked is not None else None
    return report if report is not None and report.outcome is not Outcome.FAILED else None


def _executed(report: Report | None) -> Action | None:
    return None if report is None else Action(report.tier, ModelName(report.model))
