"""What came of one complete round: response times, accuracy, equation 4's reward. Pure."""

from __future__ import annotations

from collections.abc import Sequence
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
    reports = [delivered(entry, device) for device in observation.devices]
    executed = tuple(executed_of(report) for report in reports)
    response_ms = tuple(None if report is None else report.response_ms for report in reports)
    chosen = [action.model for action in choice.actions]
    ran = [
        done.model if done is not None and done.model in accuracies.tenths else wanted
        for done, wanted in zip(executed, chosen, strict=True)
    ]
    summary = summary_of(decided, accuracies, response_ms, chosen, ran)
    return Experience(observation, choice, executed, response_ms, summary.reward, next_observation), summary


def summary_of(
    decided: Decided,
    accuracies: Accuracies,
    response_ms: Sequence[float | None],
    chosen: Sequence[ModelName],
    ran: Sequence[ModelName],
) -> RoundSummary:
    """The summary of a round with these response times; `chosen` and `ran` are the models that its floor is about."""
    floor = decided.joint.observation.floor_tenths
    percent, met = accuracies.mean_percent(ran), accuracies.meets(ran, floor)
    return summary_with(decided, response_ms, percent, met, accuracies.meets(chosen, floor))


def summary_with(
    decided: Decided, response_ms: Sequence[float | None], ran_percent: float, ran_met: bool, chosen_met: bool
) -> RoundSummary:
    """The summary, where accuracies and the floor are judged already."""
    joint = decided.joint
    floor = joint.observation.floor_tenths
    counted_ms = [decided.deadline_ms if ms is None else ms for ms in response_ms]
    return RoundSummary(
        policy=joint.policy,
        policy_version=decided.policy_version,
        explored=joint.choice.explored,
        devices=len(response_ms),
        missing=sum(ms is None for ms in response_ms),
        mean_response_ms=min(LONGEST_MS, sum(counted_ms) / len(counted_ms)),
        accuracy_percent=ran_percent,
        accuracy_floor_percent=floor / 10,
        floor_met=ran_met,
        reward=reward(counted_ms, chosen_met, decided.maximum_response_ms),
    )


def delivered(entry: RoundEntry, device: NodeId) -> Report | None:
    """The device's report, if there is one and it brought a result."""
    asked = entry.asked.get(device)
    report = asked.report if asked is not None else None
    return report if report is not None and report.outcome is not Outcome.FAILED else None


def executed_of(report: Report | None) -> Action | None:
    """What a device really did; None where it did not tell."""
    return None if report is None else Action(report.tier, ModelName(report.model))
