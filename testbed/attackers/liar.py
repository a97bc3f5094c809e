"""A device that lies in its reports: every offloaded request failed, or took absurdly long or short."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from broker.messages import Report
from broker.vocabulary import NodeId, Outcome, Tier
from orchestrator.agent import Experience

LONG, SHORT = 1000.0, 0.001


class Lie(StrEnum):
    """What it says of each offloaded request."""

    FAILED = "failed"
    SLOW = "slow"
    FAST = "fast"


def false_report(report: Report, lie: Lie) -> Report:
    """What a liar sends in place of a true report; local ones stay true."""
    if report.tier is Tier.END:
        return report
    if lie is Lie.FAILED:
        return Report(
            request_id=report.request_id, outcome=Outcome.FAILED, decided=report.decided, tier=report.tier,
            model=report.model, serving_node=report.serving_node, response_ms=report.response_ms, stages=report.stages,
            reason="lie",
        )  # fmt: skip
    factor = LONG if lie is Lie.SLOW else SHORT
    return Report(
        request_id=report.request_id, outcome=report.outcome, decided=report.decided, tier=report.tier,
        model=report.model, serving_node=report.serving_node, response_ms=report.response_ms * factor,
        stages=report.stages,
    )  # fmt: skip


def falsified(experience: Experience, liars: frozenset[NodeId], lie: Lie) -> Experience:
    """A simulated round as the agent hears of it when these devices lie."""
    executed, times_ms = list(experience.executed), list(experience.response_ms)
    for place, device in enumerate(experience.observation.devices):
        ms = times_ms[place]
        if device not in liars or ms is None or experience.choice.actions[place].tier is Tier.END:
            continue
        if lie is Lie.FAILED:
            executed[place], times_ms[place] = None, None
        else:
            times_ms[place] = ms * (LONG if lie is Lie.SLOW else SHORT)
    return replace(experience, executed=tuple(executed), response_ms=tuple(times_ms))
