"""Conducts the rounds: opens, collects, decides, and hands what is complete to the finisher.

Whatever a message or the clock makes due is done at once. A round's decisions are handed to the client before
anything about them is written anywhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from broker.clock import Clock
from broker.events import event
from broker.messages import Decision, Message, Report, Round, RoundSummary
from broker.topics import Channel
from broker.vocabulary import NodeId, RequestId, Tier
from configs.orchestrator import OrchestratorConfig
from orchestrator.accuracy import Accuracies
from orchestrator.deciding import JointDecision, decide
from orchestrator.finishing import Finisher, Surroundings
from orchestrator.goal import GoalInForce, Memory, memory_of
from orchestrator.latency import Latencies
from orchestrator.log_writer import DecisionRow
from orchestrator.nodes import Registry
from orchestrator.observe import Observer
from orchestrator.policies import Policies
from orchestrator.rounds import RoundBook, RoundEntry
from orchestrator.settling import Decided

log = logging.getLogger(__name__)

LOOK_AROUND_S = 0.25  # nodes fall silent without a message; so often we look


@dataclass(frozen=True, slots=True)
class Doors:
    """The ways out: publish (False when it could not leave), log a decision, and whether there is a link."""

    publish: Callable[[NodeId, Channel, Message], bool]
    log_decision: Callable[[DecisionRow], object]
    connected: Callable[[], bool]


@dataclass(frozen=True, slots=True)
class SiteParts:
    """What the conductor reads and asks: who is there, what models are worth, who decides."""

    registry: Registry
    accuracies: Accuracies
    policies: Policies


class Conductor:
    """The rounds of one site, under the goal in force. All calls are made in the loop's thread."""

    def __init__(
        self,
        config: OrchestratorConfig,
        site: SiteParts,
        goal: GoalInForce,
        next_round: int,
        doors: Doors,
        clock: Clock,
    ) -> None:
        self.goal = goal
        self._config = config
        self._registry = site.registry
        self._accuracies = site.accuracies
        self._policies = site.policies
        self._doors = doors
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._observer = Observer(site.registry, site.accuracies)
        self._book = RoundBook(next_round, config.rounds.window_ms / 1000, config.rounds.deadline_ms / 1000)
        around = Surroundings(
            lambda seen: replace(seen, state=self._observer.state(seen.devices, clock.monotonic())),
            self._memory,
            self._announce,
        )
        files = config.files
        self.finisher = Finisher(files.directory, files.checkpoint_every_rounds, site.policies, site.accuracies, around)
        self._decided: dict[int, Decided] = {}
        self._opened: tuple[int, float] = (0, float("-inf"))
        self._latencies = Latencies()
        self._without_agent = 0
        self._stopping = False
        self._timer: asyncio.TimerHandle | None = None

    def ask(self, device: NodeId, request_id: RequestId, received_s: float) -> None:
        """Take a request. Raises Refused (`duplicate`, `too_many_requests`)."""
        if not self._stopping:
            self._book.ask(device, request_id, received_s)
            self._wake(received_s)

    def report(self, device: NodeId, report: Report, received_s: float) -> None:
        """Take a report into its round, if a round still waits for it."""
        if self._book.report(device, report):
            self._wake(received_s)

    def start(self) -> None:
        """From now on look at the clock too."""
        self.finisher.remember()
        self._wake(self._clock.monotonic())

    def stop(self) -> None:
        """Take no more requests; decide those that were taken, so that nobody waits for nothing."""
        self._stopping = True
        if self._timer is not None:
            self._timer.cancel()
        now_s = self._clock.monotonic()
        for entry in self._book.close_all(now_s):
            self._decide(entry, now_s)

    def figures(self) -> dict[str, object]:
        """How long decisions took, over the last thousand rounds, and how many were made without the agent."""
        return {
            "decide_median_ms": self._latencies.percentile(50),
            "decide_p99_ms": self._latencies.percentile(99),
            "without_agent": self._without_agent,
        }

    def _memory(self) -> Memory:
        # One more than the next: that number may have been announced already.
        return memory_of(self.goal, self._config.goal, self._book.next_number + 1)

    def _wake(self, since_s: float) -> None:
        """Do all that is due. `since_s`: when what made it due arrived."""
        if self._stopping:
            return
        now_s = self._clock.monotonic()
        for entry in self._book.due(self._registry.online_devices(now_s), now_s):
            self._decide(entry, since_s)
        for entry in self._book.complete(now_s):
            self.finisher.finish(entry, self._decided.pop(entry.number, None))
        self._open_if_idle(now_s)
        next_s = min(self._book.next_event_s() or float("inf"), now_s + LOOK_AROUND_S)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(max(0.0, next_s - now_s), self._wake_by_time)

    def _wake_by_time(self) -> None:
        self._wake(self._clock.monotonic())

    def _decide(self, entry: RoundEntry, since_s: float) -> None:
        goal, now_s = self.goal, self._clock.monotonic()
        observation = self._observer.observe(entry.asked, goal.floor_tenths, now_s)
        if not observation.devices:
            event(log, logging.WARNING, "nothing_to_decide", round=entry.number, devices=len(entry.asked))
            return
        joint = decide(self._policies.agent(goal.policy), observation, self._accuracies)
        self._without_agent += joint.agent is None
        decisions = self._decisions(entry, joint, now_s)
        sent = [row for row in decisions if self._doors.publish(row.node, Channel.DECISION, row.decision)]
        self._latencies.add((self._clock.monotonic() - since_s) * 1000)
        self._decided[entry.number] = Decided(
            joint,
            goal.policy_version,
            self._config.rounds.deadline_ms,
            self._config.reward.maximum_response_ms,
        )
        # After the client's own write at the end of this turn: the disk comes last.
        self._loop.call_soon(self._log_decisions, sent)

    def _decisions(self, entry: RoundEntry, joint: JointDecision, now_s: float) -> list[DecisionRow]:
        serving = {tier: self._registry.serving(tier, now_s) for tier in (Tier.EDGE, Tier.CLOUD)}
        rows = []
        seen = joint.observation
        for device, action, fallback in zip(seen.devices, joint.choice.actions, joint.fallbacks, strict=True):
            server = serving.get(action.tier)
            decision = Decision(
                request_id=entry.asked[device].request_id,
                round=entry.number,
                tier=action.tier,
                model=action.model,
                serving_node=device if server is None else server.node,
                fallback_model=fallback,
                deadline_ms=self._config.rounds.deadline_ms,
                policy=joint.policy,
                policy_version=self.goal.policy_version,
                explored=joint.choice.explored,
            )
            rows.append(DecisionRow(device, seen.floor_tenths, decision))
        return rows

    def _log_decisions(self, rows: list[DecisionRow]) -> None:
        for row in rows:
            self._doors.log_decision(row)

    def _open_if_idle(self, now_s: float) -> None:
        if self._book.in_flight or self.finisher.busy or not self._doors.connected():
            return
        if len(self._registry.online_devices(now_s)) < self._config.rounds.min_devices:
            return
        number, (opened, opened_s) = self._book.collecting_number, self._opened
        if number == opened and now_s - opened_s < self._config.rounds.open_period_s:
            return
        self._opened = (number, now_s)
        self._doors.publish(self._config.node, Channel.ROUND, Round(round=number, open=True))

    def _announce(self, number: int, summary: RoundSummary | None) -> None:
        self._doors.publish(self._config.node, Channel.ROUND, Round(round=number, open=False, summary=summary))
        if summary is not None:
            event(
                log, logging.INFO, "round", round=number, policy=summary.policy, devices=summary.devices,
                missing=summary.missing, mean_ms=summary.mean_response_ms, accuracy=summary.accuracy_percent,
                floor_met=summary.floor_met, explored=summary.explored, **self.figures(),
            )  # fmt: skip
        self._wake(self._clock.monotonic())
