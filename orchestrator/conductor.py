"""Conducts the rounds: opens, collects, decides, and hands what is complete to the finisher.

In immediate mode each request is a round of its own, decided on arrival around what the other devices were told last.
Whatever a message or the clock makes due is done at once. A round's decisions are handed to the client before
anything about them is written anywhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

from broker.clock import Clock
from broker.events import event
from broker.messages import Decision, Message, Report, Round, RoundSummary
from broker.rate_limit import RefusalLog
from broker.tickets import TicketKey
from broker.topics import Channel
from broker.vocabulary import Action, ModelName, NodeId, Outcome, RequestId, Tier
from configs.orchestrator import OrchestratorConfig, RoundsMode
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Agent, Immediate
from orchestrator.alarms import Alarms
from orchestrator.deciding import JointDecision, decide
from orchestrator.decision_log import DecisionLog
from orchestrator.finishing import Finisher, Surroundings
from orchestrator.goal import GoalInForce, Memory, memory_of
from orchestrator.immediate import Assignments, decide_one
from orchestrator.large_site import LargeSite
from orchestrator.latency import Latencies
from orchestrator.log_rows import DecisionRow, ExplanationRow
from orchestrator.nodes import Node, Registry
from orchestrator.observe import Observer
from orchestrator.overload import Answer, Overload
from orchestrator.pace import Pace
from orchestrator.policies import Policies
from orchestrator.rounds import Asked, RoundBook, RoundEntry
from orchestrator.settling import Decided

log = logging.getLogger(__name__)

SILENT_DEVICE = "reports_missing"
MAX_LINES_PER_S = 1  # about rounds of which no device can do anything: one device makes many
RESULTS_MISSING = "results_missing"
LOOK_AROUND_S = 0.25  # nodes fall silent without a message; so often we look
CHECKPOINT_PAUSE_S = 1.0  # where each request is a round
NUMBERS_AHEAD = 20_000  # more than are decided in that time: no number is announced twice, whatever is killed


@dataclass(frozen=True, slots=True)
class Doors:
    """The ways out: publish (False when it could not leave), log a decision or why, whether there is a link, and
    how long messages wait, in seconds; the key of tickets, if this site has one; and whom to tell of ended rounds."""

    publish: Callable[[NodeId, Channel, Message], bool]
    log_decision: Callable[[DecisionRow | ExplanationRow], object]
    connected: Callable[[], bool]
    late_s: Callable[[float], float] = lambda _now_s: 0.0
    tickets: TicketKey | None = None
    round_ended: Callable[[RoundSummary], None] = lambda _summary: None


@dataclass(frozen=True, slots=True)
class SiteParts:
    """What the conductor reads and asks: who is there, what models are worth, who decides, and what is alarmed."""

    registry: Registry
    accuracies: Accuracies
    policies: Policies
    alarms: Alarms


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
        self._alarms = site.alarms
        self._doors = doors
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._observer = Observer(site.registry, site.accuracies, config.action_space)
        rounds = config.rounds
        self._assignments = Assignments() if rounds.mode is RoundsMode.IMMEDIATE else None
        at_once = self._assignments is not None
        times_s = rounds.window_ms / 1000, rounds.deadline_ms / 1000
        self._book = RoundBook(next_round, *times_s, at_once=at_once, changed=self._note_silent)
        self._pace = Pace(rounds)
        around = Surroundings(
            lambda seen: replace(seen, state=self._observer.state(seen.devices, clock.monotonic())),
            self._memory,
            self._announce,
        )
        files = config.files
        saving = (files.directory, files.checkpoint_every_rounds)
        pause_s = CHECKPOINT_PAUSE_S if at_once else 0.0
        self.finisher = Finisher(*saving, site.policies, site.accuracies, around, pause_s)
        self._large = LargeSite(site.registry, self._observer, site.accuracies, self.finisher.save)
        self._decided: dict[int, Decided] = {}
        self._latencies = Latencies()
        self._without_agent = 0
        self._undecidable = RefusalLog(MAX_LINES_PER_S)
        self._overload = Overload(doors.late_s)
        self._log = DecisionLog(doors.log_decision, self._forget_why)
        self._stopping = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0
        self._wakes = False
        self._asked_agent: Agent | None = None
        self._decides_one = False

    def ask(self, device: NodeId, request_id: RequestId, received_s: float) -> None:
        """Take a request. Raises Refused (`duplicate`, `too_many_requests`)."""
        if self._stopping:
            return
        how = Answer.DECIDED if self._assignments is None else self._overload.answer(received_s)
        if how is not Answer.DECIDED:
            self._book.answer(device, request_id)
            if how is Answer.CHEAP:
                self._answer_cheaply(device, request_id, received_s)
            return
        self._book.ask(device, request_id, received_s)
        self._look(received_s)

    def report(self, device: NodeId, report: Report, received_s: float) -> None:
        """Take a report into its round, if a round still waits for it."""
        if self._book.report(device, report):
            self._look(received_s)

    def reconnected(self) -> None:
        """The link to the broker was lost and is back."""
        self._book.reconnected(self._clock.monotonic())

    def _note_silent(self, device: NodeId, alone: bool) -> None:
        if alone:
            detail = f"{device} asks and does not report: it is decided alone, with a safe local model, until it does"
            self._alarms.raise_(SILENT_DEVICE, device, detail, f"examine {device}, and its link to the broker")
        else:
            self._alarms.clear(SILENT_DEVICE, device)

    def _note_results(self, entry: RoundEntry, now_s: float) -> None:
        """What each serving node did in a complete round. A request that nothing was reported of says nothing."""
        self._registry.on_requests(entry.asked, now_s)
        reported = [asked for asked in entry.asked.values() if asked.report is not None and asked.report.decided]
        for node in {asked.server for asked in reported if asked.server is not None}:
            served = {asked.device for asked in reported if asked.server == node and _served(asked)}
            missing = {asked.device for asked in reported if asked.server == node} - served
            decided_s = now_s if entry.decided_s is None else entry.decided_s
            instead = self._registry.on_results(node, served, missing, decided_s, now_s)
            if instead is not None:
                detail = f"results of {node} are missing for all that asked it: {instead.node} serves for now"
                self._alarms.raise_(RESULTS_MISSING, node, detail, f"examine {node}, and its link to the broker")
            elif served:
                self._alarms.clear(RESULTS_MISSING, node)

    def reconfigure(self, config: OrchestratorConfig) -> None:
        """Take the live values of `config`, but for the goal, which is set beside it."""
        self._config = config
        self._book.reconfigure(config.rounds.window_ms / 1000, config.rounds.deadline_ms / 1000)
        self._pace.reconfigure(config.rounds)
        self.finisher.reconfigure(config.files.checkpoint_every_rounds)
        if self._timer is not None:
            self._wake(self._clock.monotonic())

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

    def close(self) -> None:
        """End what still learns; after that the agents are the finisher's to save. Blocks."""
        self._large.close()

    @property
    def last_round(self) -> int:
        """The number of the last round that has begun; 0 before the first one of a new site."""
        return self._book.next_number - 1

    def figures(self) -> dict[str, object]:
        """How long decisions took, over the last thousand rounds, and how many were made without the agent."""
        return {
            "decide_median_ms": self._latencies.percentile(50),
            "decide_p99_ms": self._latencies.percentile(99),
            "without_agent": self._without_agent,
            "answered_cheaply": self._overload.cheap,
            "not_answered": self._overload.unanswered,
        }

    def _memory(self) -> Memory:
        # One more than the next: that number may have been announced already; at once, those of the next pause, too.
        ahead = 1 if self._assignments is None or self._stopping else NUMBERS_AHEAD
        return memory_of(self.goal, self._config.goal, self._book.next_number + ahead)

    def _look(self, since_s: float) -> None:
        """Do what a message has made due. At once: decide; the rest is done together for all that came together."""
        if self._assignments is None:
            self._wake(since_s)
            return
        now_s = self._clock.monotonic()
        for entry in self._book.close_all(now_s):
            self._decide(entry, since_s)
        self._wake_soon()

    def _answer_cheaply(self, device: NodeId, request_id: RequestId, received_s: float) -> None:
        """Refusal over delay: at once a safe local model, which asks no agent, teaches nobody and is no round."""
        now_s = self._clock.monotonic()
        joint = self._large.cheaply(device, self.goal.floor_tenths, now_s)
        if joint is None:
            return
        entry = RoundEntry(self._book.collecting_number, received_s, {device: Asked(device, request_id)})
        for row in self._decisions(entry, joint, now_s):
            if self._doors.publish(row.node, Channel.DECISION, row.decision):
                self._note_told(row)
                self._log.put(row)

    def _note_told(self, row: DecisionRow) -> None:
        if self._assignments is not None:
            action = Action(row.decision.tier, ModelName(row.decision.model))
            fallback = ModelName(row.decision.fallback_model)
            self._assignments.tell(row.node, action, fallback)
            self._large.tell(row.node, action, fallback)

    def _wake_soon(self) -> None:
        if not self._wakes:
            self._wakes = True
            self._loop.call_soon(self._wake_by_time)

    def _wake(self, since_s: float) -> None:
        """Do all that is due. `since_s`: when what made it due arrived."""
        if self._stopping:
            return
        now_s = self._clock.monotonic()
        for entry in self._book.due(self._registry.online_devices(now_s), now_s):
            self._decide(entry, since_s)
        for entry in self._book.complete(now_s):
            self._note_results(entry, now_s)
            self.finisher.finish(entry, self._decided.pop(entry.number, None))
        self._open(now_s)
        next_s = min(self._book.next_event_s() or float("inf"), now_s + LOOK_AROUND_S)
        if self._timer is not None:
            if self._timer_s <= next_s:
                return  # it wakes us soon enough, and then looks again: a timer for each message costs more than that
            self._timer.cancel()
        self._timer, self._timer_s = self._loop.call_later(max(0.0, next_s - now_s), self._wake_at), next_s

    def _wake_at(self) -> None:
        self._timer = None
        self._wake_by_time()

    def _wake_by_time(self) -> None:
        self._wakes = False
        self._wake(self._clock.monotonic())

    def _decide(self, entry: RoundEntry, since_s: float) -> None:
        goal, now_s = self.goal, self._clock.monotonic()
        joint = self._joint(entry, now_s)
        if joint is None:
            says, unsaid = self._undecidable.says(now_s)
            if says:
                told = {"round": entry.number, "devices": len(entry.asked), "more_before": unsaid}
                event(log, logging.WARNING, "nothing_to_decide", **told)
            return
        self._without_agent += joint.agent is None
        decisions = self._decisions(entry, joint, now_s)
        sent = [row for row in decisions if self._doors.publish(row.node, Channel.DECISION, row.decision)]
        self._latencies.add((self._clock.monotonic() - since_s) * 1000)
        for row in sent:
            self._note_told(row)
        self._decided[entry.number] = Decided(
            joint,
            goal.policy_version,
            self._config.rounds.deadline_ms,
            self._config.reward.maximum_response_ms,
        )
        # After the client's own write at the end of this turn: why, and the disk, come last.
        self._log.note(joint, sent)

    def _joint(self, entry: RoundEntry, now_s: float) -> JointDecision | None:
        """The decision for all that asked; None where none of them can do anything."""
        goal = self.goal
        if entry.alone:
            return self._large.cheaply(next(iter(entry.asked)), goal.floor_tenths, now_s)
        agent = self._policies.agent(goal.policy)
        if agent is not self._asked_agent:  # whether it has all methods of a protocol takes long to tell
            self._asked_agent, self._decides_one = agent, isinstance(agent, Immediate)
        if self._assignments is None or not self._decides_one:
            observation = self._observer.observe(entry.asked, goal.floor_tenths, now_s)
            return decide(agent, observation, self._accuracies) if observation.devices else None
        (device,) = entry.asked
        laps = self._large.laps_of(agent, now_s)
        if laps is not None:
            return self._large.decide(laps, agent, device, goal.floor_tenths, now_s)
        everybody = self._registry.online_devices(now_s)
        observation = self._observer.observe({*everybody, device}, goal.floor_tenths, now_s)
        if device not in observation.devices:
            return None
        place = observation.devices.index(device)
        return decide_one(cast(Immediate, agent), observation, place, self._assignments, self._accuracies)

    def _decisions(self, entry: RoundEntry, joint: JointDecision, now_s: float) -> list[DecisionRow]:
        rows = []
        seen = joint.observation
        for place in joint.places:
            device, action = seen.devices[place], joint.choice.actions[place]
            server = None if action.tier is Tier.END else self._registry.serving(action.tier, now_s)
            entry.asked[device].server = None if server is None else server.node
            decision = Decision(
                request_id=entry.asked[device].request_id,
                round=entry.number,
                tier=action.tier,
                model=action.model,
                serving_node=device if server is None else server.node,
                fallback_model=joint.fallbacks[place],
                deadline_ms=self._config.rounds.deadline_ms,
                policy=joint.policy,
                policy_version=self.goal.policy_version,
                explored=joint.choice.explored,
                ticket=self._ticket(server, device, entry.asked[device].request_id),
            )
            rows.append(DecisionRow(device, seen.floor_tenths, decision))
        return rows

    def _ticket(self, server: Node | None, device: NodeId, request_id: RequestId) -> str | None:
        tickets = self._doors.tickets
        return None if tickets is None or server is None else tickets.ticket(server.node, device, request_id)

    def _forget_why(self, number: int) -> None:
        """What it would take to say why again need not wait for the reports: it is large, for large sites."""
        if (decided := self._decided.get(number)) is not None:
            forgotten = replace(decided.joint, choice=replace(decided.joint.choice, why=None, whys=None))
            self._decided[number] = replace(decided, joint=forgotten)

    def _open(self, now_s: float) -> None:
        few = len(self._registry.online_devices(now_s)) < self._config.rounds.min_devices
        if few or not self._doors.connected():
            return
        idle = not self._book.in_flight and not self.finisher.busy
        opening = self._pace.opening(self._book.collecting_number, idle, now_s)
        if opening is not None:
            self._doors.publish(self._config.node, Channel.ROUND, opening)

    def _announce(self, number: int, summary: RoundSummary | None) -> None:
        now_s = self._clock.monotonic()
        told = self._pace.tells_end(now_s)
        if told:
            self._doors.publish(self._config.node, Channel.ROUND, Round(round=number, open=False, summary=summary))
        if summary is not None:
            self._doors.round_ended(summary)
        if told and summary is not None:
            event(
                log, logging.DEBUG, "round", round=number, policy=summary.policy, devices=summary.devices,
                missing=summary.missing, mean_ms=summary.mean_response_ms, accuracy=summary.accuracy_percent,
                floor_met=summary.floor_met, explored=summary.explored,
            )  # fmt: skip
        if not self.finisher.busy:  # of rounds that end together the last one is enough
            self._wake(now_s)


def _served(asked: Asked) -> bool:
    report = asked.report
    return report is not None and report.outcome is Outcome.DONE and report.serving_node == asked.server
