"""The demo: a fleet, the learned policy for some rounds, then each fixed strategy, and what came of each."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any, Protocol, TypeVar

import msgspec

from broker.client import MqttClient
from broker.errors import TierwiseError
from broker.messages import GoalSet
from broker.vocabulary import ModelName, NodeId
from configs.orchestrator import Policy
from tierwise.fleet import ORCHESTRATOR, Fleet
from tierwise.observer import ObservedRound, Observer

FIXED = (Policy.DEVICE_ONLY, Policy.EDGE_ONLY, Policy.CLOUD_ONLY)
WAIT_LIMIT_S = 120  # on an idle machine the first round is there after 5 s
LAST = 10  # rounds that tell what has been settled on
MOST_ROUNDS_OF_OTHERS = 10  # a round that was open when the policy changed was still decided by the former one

T = TypeVar("T")


class View(Protocol):
    """What shows the demo to a person."""

    def phase(self, policy: Policy, rounds: int) -> None: ...
    def change(self, round_: ObservedRound) -> None: ...
    def complete(self, round_: ObservedRound, done: int) -> None: ...


@dataclass(frozen=True, slots=True)
class PolicyFigures:
    """What one policy did: response times in ms over all devices and rounds, average Top-5 in %."""

    rounds: int
    mean_ms: float
    p95_ms: float
    accuracy: float
    floor_met: int
    fallen_back: int


@dataclass(frozen=True, slots=True)
class FinalDecision:
    """What the learned policy decides at the end, whichever of the devices does it: `actions` such as d4@end with how
    many do so. First in the `first`-th of its rounds (from 1), in `rounds` of those since; their mean in ms."""

    actions: dict[str, int]
    first: int
    rounds: int
    mean_ms: float


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The learned policy's rounds, and the comparison."""

    rounds: list[ObservedRound]
    policies: dict[Policy, PolicyFigures]
    requests: int

    def as_json(self) -> dict[str, Any]:
        """The documented form of `tierwise demo --json`."""
        return {
            "emulated": True,
            "rounds": [_round_json(round_) for round_ in self.rounds],
            "final": msgspec.to_builtins(final_decision(self.rounds)) if self.rounds else None,
            "policies": {str(policy): msgspec.to_builtins(figures) for policy, figures in self.policies.items()},
        }


async def run_demo(
    fleet: Fleet,
    view: View,
    phases: list[tuple[Policy, int]],
    top5_tenths: Mapping[ModelName, int],
    counts: Callable[[ObservedRound], bool] = lambda _round: True,
) -> DemoResult:
    """Run `phases` (policy and number of rounds that `counts`) on a started fleet; the first is the learned policy.

    Raises TierwiseError when a process dies or no round completes for two minutes.
    """
    client = MqttClient(fleet.endpoint, fleet.config.site, NodeId("demo"), "observer", announces_state=False)
    link = asyncio.create_task(client.run(), name="observer-link")
    try:
        await client.wait_connected(10.0)
        observer = Observer(client, view.change)
        rounds = {}
        for policy, count in phases:
            view.phase(policy, count)
            if policy != phases[0][0]:
                observer.set_goal(ORCHESTRATOR, GoalSet(policy=policy))
            rounds[policy] = await _run_phase(fleet, observer, view, policy, count, counts)
        stopping = asyncio.to_thread(fleet.stop_devices)
        await asyncio.gather(stopping, _wait_watching(fleet, observer.wait_gone(fleet.devices), "devices did not stop"))
    finally:
        await client.stop()
        await link
    figures = {policy: figures_of(done, top5_tenths) for policy, done in rounds.items()}
    return DemoResult(rounds[phases[0][0]], figures, len(observer.requests))


async def _run_phase(
    fleet: Fleet,
    observer: Observer,
    view: View,
    policy: Policy,
    count: int,
    counts: Callable[[ObservedRound], bool] = lambda _round: True,
) -> list[ObservedRound]:
    done: list[ObservedRound] = []
    others = 0
    while len(done) < count:
        round_ = await _wait_watching(fleet, observer.complete.get(), "no round was completed")
        decided_by = None if round_.summary is None else round_.summary.policy
        if decided_by == policy:
            if counts(round_):
                done.append(round_)
                view.complete(round_, len(done))
        elif (others := others + 1) > MOST_ROUNDS_OF_OTHERS:
            raise TierwiseError(
                f"rounds are decided by {decided_by}, not by {policy}; the orchestrator's log says why: "
                f"{fleet.directory}/orchestrator.log"
            )
    return done


async def _wait_watching(fleet: Fleet, awaited: Coroutine[Any, Any, T], what_failed: str) -> T:
    """What `awaited` gives, while the processes are watched. Raises TierwiseError when one dies, or after 120 s."""
    task = asyncio.ensure_future(awaited)
    try:
        for _ in range(WAIT_LIMIT_S):
            done, _pending = await asyncio.wait([task], timeout=1.0)
            if done:
                return task.result()
            fleet.check()
    finally:
        task.cancel()
    raise TierwiseError(f"{what_failed} for {WAIT_LIMIT_S} s; the logs are in {fleet.directory}")


def figures_of(rounds: list[ObservedRound], top5_tenths: Mapping[ModelName, int]) -> PolicyFigures:
    """Mean and 95th percentile response time, and the average accuracy of what was really run."""
    reports = [outcome.report for round_ in rounds for outcome in round_.outcomes.values() if outcome.report]
    times_ms = [report.response_ms for report in reports]
    if not times_ms:
        raise TierwiseError("no device reported a response time")
    tenths = sum(top5_tenths[ModelName(report.model)] for report in reports)
    return PolicyFigures(
        rounds=len(rounds),
        mean_ms=sum(times_ms) / len(times_ms),
        p95_ms=quantiles(times_ms, n=20, method="inclusive")[-1] if len(times_ms) > 1 else times_ms[0],
        accuracy=tenths / len(reports) / 10,
        floor_met=sum(round_.summary.floor_met for round_ in rounds if round_.summary),
        fallen_back=sum(report.outcome != "done" for report in reports),
    )


def final_decision(rounds: Sequence[ObservedRound]) -> FinalDecision:
    """The most frequent decision of the last ten rounds: single ones of them explore or probe."""
    decided = [
        tuple(sorted(f"{outcome.decision.model}@{outcome.decision.tier}" for outcome in round_.outcomes.values()))
        for round_ in rounds
    ]
    final = Counter(decided[-LAST:]).most_common(1)[0][0]
    with_it = [round_ for round_, actions in zip(rounds, decided, strict=True) if actions == final]
    means_ms = [round_.summary.mean_response_ms for round_ in with_it if round_.summary]
    mean_ms = sum(means_ms) / max(1, len(means_ms))
    return FinalDecision(dict(Counter(final)), decided.index(final) + 1, len(with_it), mean_ms)


def _round_json(round_: ObservedRound) -> dict[str, Any]:
    summary = round_.summary
    if summary is None:
        raise TierwiseError(f"round {round_.number} has no summary")
    return {
        "round": round_.number,
        "decisions": [_decision_json(round_, node) for node in sorted(round_.outcomes)],
        "average_ms": summary.mean_response_ms,
        "accuracy": summary.accuracy_percent,
        "floor": summary.accuracy_floor_percent,
        "floor_met": summary.floor_met,
        "explored": summary.explored,
    }


def _decision_json(round_: ObservedRound, node: NodeId) -> dict[str, Any]:
    outcome = round_.outcomes[node]
    report = outcome.report
    return {
        "node": node,
        "tier": outcome.decision.tier,
        "model": outcome.decision.model,
        "outcome": report.outcome if report else "missing",
        "response_ms": report.response_ms if report else None,
        "stages": msgspec.to_builtins(report.stages) if report else None,
        "label": report.label if report else None,
    }
