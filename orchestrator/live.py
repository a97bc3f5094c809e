"""The live loop: the shell between the pure parts and broker, clock and disk.

It checks who says what, folds it into the registry, hands requests and reports to the conductor and reports to the
log, and acknowledges what is stored.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Any, TypeVar

from broker.client import Inbound, MqttClient
from broker.clock import Clock, SystemClock
from broker.errors import MessageTooLarge, NotConnected, Refused, TierwiseError
from broker.events import event, set_level
from broker.messages import (
    Birth,
    Decision,
    ExplainAsk,
    GoalAck,
    GoalSet,
    Heartbeat,
    Message,
    Ping,
    Report,
    Request,
    RoundSummary,
    State,
    Telemetry,
    cut,
)
from broker.pings import PingAnswering
from broker.rate_limit import RateLimit, RefusalLog
from broker.request_statistics import RequestStatistics
from broker.tickets import ticket_key_of
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import NodeId, NodeState, RequestId, Tier
from configs.orchestrator import OrchestratorConfig
from configs.watching import Watch
from model_zoo.fitting import SiteTask
from model_zoo.local_manifest import site_manifest
from orchestrator.accuracy import accuracies_of
from orchestrator.acknowledging import Acknowledging
from orchestrator.alarms import Alarms
from orchestrator.answering import answer
from orchestrator.conductor import Conductor, Doors, SiteParts
from orchestrator.directory import held
from orchestrator.finishing import MEMORY_NAME
from orchestrator.goal import check_models, goal_at_start, read_memory
from orchestrator.hearing_again import HearingAgain
from orchestrator.lag import PING_PERIOD_S, Lag
from orchestrator.liveness import Liveness
from orchestrator.log_rows import Answered, Listener, QuestionRow, ReportRow, Stored, TelemetryRow
from orchestrator.log_writer import LogWriter
from orchestrator.nodes import Registry
from orchestrator.offered import FaultLog, faults_of, fitting_part
from orchestrator.plausible import plausible_report
from orchestrator.policies import Policies
from orchestrator.process import answer_soon
from orchestrator.response_log import LOG_NAME, last_round
from orchestrator.retention import Retention
from orchestrator.shipping.supervisor import ShippingProcess
from orchestrator.site_summary import SiteSummary, SummaryParts

log = logging.getLogger(__name__)

ROWS_PER_S_LATE = 300_000  # 9,000 rows that wait for the disk make answers cheap, 30,000 end them
HEARTBEAT_S = 1.0
BIRTH_ALARMS = {  # why a birth was refused, and what mends it
    "not_a_serving_node": "if it may serve, add it to serving_nodes in orchestrator.yaml; else examine that node",
    "tier_changed": "give the node its former tier, or change serving_nodes in orchestrator.yaml",
}

M = TypeVar("M", bound=Message)
T = TypeVar("T")


def serve(watch: Watch[OrchestratorConfig]) -> int:
    """Run the orchestrator until SIGTERM or SIGINT; 0 after a clean end. Raises TierwiseError."""
    return asyncio.run(_serve(watch))


async def _serve(watch: Watch[OrchestratorConfig]) -> int:
    config = watch.in_force
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with held(config.files.directory):
        orchestrator = Orchestrator(config, SystemClock())
        async with watch.followed(orchestrator.reconfigure):
            await orchestrator.run(stop)
    return 0


class Orchestrator:
    """One site's Intelligent Orchestrator. Make it inside a running loop, then `run`."""

    def __init__(self, config: OrchestratorConfig, clock: Clock) -> None:
        """Raises TierwiseError when a file that it depends on cannot be used."""
        directory = config.files.directory
        self._config = config
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._manifest = site_manifest(config.files.manifest)
        self._task = SiteTask(config.goal.label_set, config.goal.metric)
        self._accuracies = accuracies_of(self._manifest, self._task)
        self._alarms = Alarms(clock)
        self._liveness = Liveness(self._alarms, clock, lambda: self._client.connected)
        timeout_s = config.liveness.heartbeat_timeout_s
        self._registry = Registry(timeout_s, config.serving_by_tier(), self._liveness.changed)
        self._policies = Policies(config, self._accuracies)
        memory = read_memory(directory / MEMORY_NAME)
        goal = goal_at_start(config.goal, memory)
        check_models(config.goal, goal, self._accuracies)
        self._policies.agent(goal.policy)  # a checkpoint that is refused is refused before anybody asks
        listener = Listener(
            stored=lambda ids: self._in_loop(self._acknowledging.stored, ids),
            foreign=lambda ids: self._in_loop(self._refuse_foreign, ids),
            deferred=lambda ids: self._in_loop(self._refuse_deferred, ids),
            answered=lambda answers: self._in_loop(self._explain, answers),
        )
        self._acknowledging = Acknowledging(lambda node, ack: self._publish(node, Channel.REPORT_ACK, ack), clock)
        self._log = LogWriter(
            directory / LOG_NAME,
            config.site,
            self._accuracies.tenths,
            listener,
            clock,
            config.files.telemetry_rows,
            Retention.of(config),
        )
        next_round = max(memory.next_round if memory else 1, last_round(self._log.connection) + 1)
        limit = RateLimit(config.limits.messages_per_s, config.limits.burst)
        endpoint = config.broker.endpoint()
        self._client = MqttClient(endpoint, config.site, config.node, "orchestrator", clock=clock, limit=limit)
        self._lag = Lag()
        doors = Doors(
            self._publish,
            self._log.put,
            lambda: self._client.connected,
            self._late_s,
            ticket_key_of(endpoint),
            self._round_ended,
        )
        parts = SiteParts(self._registry, self._accuracies, self._policies, self._alarms)
        self._conductor = Conductor(config, parts, goal, next_round, doors, clock)
        self._statistics = RequestStatistics(clock.monotonic())
        self._rounds_ended, self._below_floor = 0, 0
        self._summary = SiteSummary(self._summary_parts(), clock)
        self._shipping = None if config.influxdb is None else ShippingProcess(config, config.influxdb, clock)
        self._unpublished = RefusalLog()
        self._faults = FaultLog(clock)
        self._longest_deadline_ms = config.rounds.deadline_ms
        self._stopping = False
        self._subscribe()
        PingAnswering(self._client, clock, self._lag.heard)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop`, then end cleanly. A background task that dies ends it too, with its error."""
        self._log.start()
        link = asyncio.create_task(self._client.run(), name="link")
        finisher = asyncio.create_task(self._conductor.finisher.run(), name="finisher")
        heartbeat = asyncio.create_task(self._beat(), name="heartbeat")
        measuring = asyncio.create_task(self._measure(), name="lag")
        stopped = asyncio.create_task(stop.wait(), name="stop")
        tasks: list[asyncio.Task[Any]] = [link, finisher, heartbeat, measuring, stopped]
        if self._shipping is not None:
            tasks.append(asyncio.create_task(self._shipping.run(), name="shipping"))
        event(log, logging.INFO, "orchestrator_started", site=self._config.site, policy=self._conductor.goal.policy)
        if self._config.serving_nodes is None:
            hint = "name the nodes of edge and cloud in orchestrator.yaml: serving_nodes"
            event(log, logging.WARNING, "any_node_may_serve_a_tier", hint=hint)
        self._conductor.start()
        answer_soon()
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        died = [task for task in tasks if task.done() and task is not stopped]
        try:
            await self._end(finisher_lives=not finisher.done())
        finally:
            for task in tasks[1:]:  # the link has ended by itself
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in died:
            task.result()

    async def _end(self, finisher_lives: bool) -> None:
        self._stopping = True
        self._conductor.stop()
        await asyncio.sleep(0)  # the decisions leave, and their rows go to the log
        await asyncio.to_thread(self._conductor.close)
        if finisher_lives:
            await self._conductor.finisher.close()
        await asyncio.to_thread(self._log.close)
        if self._shipping is not None:
            await self._shipping.stop()  # after the last row was stored
        await asyncio.sleep(0)  # the acknowledgements of the last rows
        self._acknowledging.close()
        self._log_requests(self._statistics.take(self._clock.monotonic()))
        figures = self._conductor.figures()
        refused, dropped = dict(self._client.refused), dict(self._log.dropped)
        event(log, logging.INFO, "orchestrator_stopped", **figures, refused=refused, dropped=dropped)
        await self._client.stop()

    # -- messages ---------------------------------------------------------------------------------------------

    def _subscribe(self) -> None:
        own = self._config.node
        self._on(Channel.BIRTH, Birth, self._on_birth)
        self._on(Channel.STATE, State, self._on_state)
        self._on(Channel.HEARTBEAT, Heartbeat, HearingAgain(self._registry, self._hear_again).on_heartbeat)
        self._on(Channel.TELEMETRY, Telemetry, self._on_telemetry)
        self._on(Channel.REQUEST, Request, self._on_request)
        self._on(Channel.REPORT, Report, self._on_report)
        self._on(Channel.GOAL_SET, GoalSet, self._on_goal_set, own)
        self._on(Channel.EXPLAIN_ASK, ExplainAsk, self._on_explain_ask)
        self._client.on_connect.append(self._on_connect)

    def _on(
        self, channel: Channel, kind: type[M], handler: Callable[[NodeId, M, float], None], node: NodeId | None = None
    ) -> None:
        own_too = channel in (Channel.STATE, Channel.GOAL_SET)

        def take(inbound: Inbound) -> None:
            sender, body = inbound.address.node, inbound.body
            if not isinstance(body, kind) or (sender == self._config.node and not own_too):
                return
            try:
                handler(sender, body, inbound.received_s)
            except Refused as refusal:
                self._client.refuse(refusal, node=sender, channel=channel)

        self._client.subscribe(filter_for(self._config.site, channel, node), channel, take)

    def _on_connect(self) -> None:
        self._lag.reset()
        self._conductor.reconnected()
        if not self._stopping:
            self._client.publish_state(NodeState.ONLINE)
            self._publish(self._config.node, Channel.GOAL, self._conductor.goal.message())
            self._summary.again()

    def _on_birth(self, node: NodeId, birth: Birth, _received_s: float) -> None:
        faults = faults_of(birth, self._manifest, self._task)
        try:
            self._registry.on_birth(node, fitting_part(birth, faults))
        except Refused as refusal:
            if refusal.reason in BIRTH_ALARMS:
                self._alarms.raise_(refusal.reason, node, refusal.detail, BIRTH_ALARMS[refusal.reason])
            raise
        self._end_birth_alarms()
        self._faults.note(node, faults)

    def _end_birth_alarms(self) -> None:
        for alarm in self._alarms.current():
            if alarm.node is None or alarm.code not in BIRTH_ALARMS:
                continue
            known = self._registry.get(alarm.node)
            if known is not None and known.refused_birth is None:
                self._alarms.clear(alarm.code, alarm.node)

    def _on_state(self, node: NodeId, state: State, _received_s: float) -> None:
        if node != self._config.node:
            self._registry.on_state(node, state)
        elif state.session != self._client.session and self._client.connected and not self._stopping:
            self._client.publish_state(NodeState.ONLINE)  # a late will of an earlier session of ours

    def _on_telemetry(self, node: NodeId, telemetry: Telemetry, _received_s: float) -> None:
        self._registry.on_telemetry(node, telemetry)
        known = self._registry.get(node)
        tier = known.birth.tier if known is not None and known.birth is not None else None
        self._log.put(TelemetryRow(node, tier, telemetry))

    def _on_request(self, node: NodeId, request: Request, received_s: float) -> None:
        self._end_device(node)
        self._conductor.ask(node, RequestId(request.request_id), received_s)

    def _on_report(self, node: NodeId, report: Report, received_s: float) -> None:
        self._end_device(node)
        plausible = plausible_report(report, self._longest_deadline_ms)
        if plausible is not report:
            detail = f"{report.response_ms:.0f} ms of {report.request_id}"
            self._client.refuse(Refused("implausible_time", detail), node=node)
        if not self._log.put(ReportRow(node, plausible)):
            self._client.refuse(Refused("report_not_taken", "too many rows wait for the disk"), node=node)
            return
        report = plausible
        self._statistics.add(report)
        self._summary.reported(node, report)
        self._conductor.report(node, report, received_s)

    def _on_goal_set(self, _node: NodeId, wanted: GoalSet, _received_s: float) -> None:
        try:
            self._set_goal(wanted)
        except Refused as refusal:
            self._acknowledge_goal(wanted, cut(refusal.detail or refusal.reason))
            raise
        self._acknowledge_goal(wanted)

    def _acknowledge_goal(self, wanted: GoalSet, reason: str | None = None) -> None:
        version = self._conductor.goal.policy_version
        ack = GoalAck(accepted=reason is None, policy_version=version, ask_id=wanted.ask_id, reason=reason)
        self._publish(self._config.node, Channel.GOAL_ACK, ack)

    def _set_goal(self, wanted: GoalSet) -> None:
        goal = self._conductor.goal.changed(wanted, self._accuracies)
        try:
            self._policies.agent(goal.policy)
        except TierwiseError as error:
            raise Refused("bad_goal", str(error)) from error
        self._conductor.goal = goal
        event(log, logging.INFO, "goal", floor=goal.floor_tenths / 10, policy=goal.policy, version=goal.policy_version)
        self._publish(self._config.node, Channel.GOAL, goal.message())
        self._conductor.finisher.remember()

    def reconfigure(self, config: OrchestratorConfig) -> None:
        """Take the live values of `config`; what else differs needs a new process. A changed goal wins over one set."""
        set_level(config.log_level)
        goal_changed = config.goal != self._config.goal
        self._config = config
        self._longest_deadline_ms = max(self._longest_deadline_ms, config.rounds.deadline_ms)
        self._registry.reconfigure(config.liveness.heartbeat_timeout_s, config.serving_by_tier())
        self._end_birth_alarms()
        self._policies.reconfigure(config)
        self._log.reconfigure(config.files.telemetry_rows, Retention.of(config))
        self._conductor.reconfigure(config)
        if goal_changed:
            try:
                self._set_goal(GoalSet(accuracy_floor_percent=config.goal.accuracy_floor, policy=config.goal.policy))
            except Refused as refusal:
                event(log, logging.ERROR, "goal_refused", reason=refusal.detail)

    def _on_explain_ask(self, node: NodeId, ask: ExplainAsk, _received_s: float) -> None:
        request_id = None if ask.request_id is None else RequestId(ask.request_id)
        # Through the writer's thread: it answers after the rows of all decisions that have left.
        if not self._log.put(QuestionRow(node, request_id)):
            event(log, logging.ERROR, "question_not_taken", node=node, reason="too many rows wait for the disk")

    def _hear_again(self, node: NodeId) -> None:
        for channel in (Channel.BIRTH, Channel.STATE):
            self._client.hear_again(filter_for(self._config.site, channel, node))

    def _end_device(self, node: NodeId) -> None:
        known = self._registry.get(node)
        if known is None or known.birth is None:
            raise Refused("unknown_node", f"{node} has sent no birth")
        if known.birth.tier is not Tier.END:
            raise Refused("not_an_end_device", f"{node} is on tier {known.birth.tier}")

    # -- the writer's answers, and what goes out --------------------------------------------------------------

    def _in_loop(self, callback: Callable[[T], None], told: T) -> None:
        self._loop.call_soon_threadsafe(callback, told)

    def _refuse_foreign(self, foreign: Stored) -> None:
        for node, request_id in foreign:
            self._client.refuse(Refused("foreign_request", f"{request_id} was decided for another"), node=node)

    def _refuse_deferred(self, deferred: Stored) -> None:
        for node, request_id in deferred:
            detail = f"{request_id} has no decision; it is taken when it comes again later"
            self._client.refuse(Refused("too_many_reports", detail), node=node)

    def _explain(self, answers: Answered) -> None:
        for asked, decision in answers:
            self._publish(asked.node, Channel.EXPLAIN, answer(asked.request_id, decision))

    def _publish(self, node: NodeId, channel: Channel, body: Message) -> bool:
        """False when it could not leave; everything here is sent again, asked again, or survived by its receiver."""
        try:
            self._client.publish(Address(self._config.site, node, channel), body)
        except (NotConnected, MessageTooLarge) as error:
            says, unsaid = self._unpublished.says(self._clock.monotonic())
            if says:
                event(log, logging.WARNING, "not_published", channel=channel, to=node, error=error, more_before=unsaid)
            return False
        if channel is Channel.DECISION and isinstance(body, Decision):
            self._summary.decided(node, body)
        return True

    async def _beat(self) -> None:
        sequence = 0
        while True:
            self._log.check()
            if self._client.connected:
                body = Heartbeat(session=self._client.session, seq=sequence)
                self._publish(self._config.node, Channel.HEARTBEAT, body)
                sequence += 1
            self._look_around()
            await asyncio.sleep(HEARTBEAT_S)

    def _look_around(self) -> None:
        """What is looked at each second: who has fallen silent, and what there is to say about the site."""
        now_s = self._clock.monotonic()
        self._registry.end_silent(now_s)
        self._liveness.check(self._registry.nodes)
        self._log_requests(self._statistics.due(now_s))
        if self._client.connected and not self._stopping and (summary := self._summary.due()) is not None:
            self._publish(self._config.node, Channel.SUMMARY, summary)

    def _log_requests(self, statistics: dict[str, object] | None) -> None:
        if statistics is not None:
            level = logging.WARNING if statistics["failed"] else logging.INFO
            rounds = {"rounds": self._rounds_ended, "below_floor": self._below_floor}
            self._rounds_ended, self._below_floor = 0, 0
            event(log, level, "requests", **statistics, **rounds, **self._conductor.figures())

    def _round_ended(self, summary: RoundSummary) -> None:
        self._rounds_ended += 1
        self._below_floor += not summary.floor_met
        self._summary.round_ended(summary)

    def _summary_parts(self) -> SummaryParts:
        conductor = self._conductor
        return SummaryParts(
            registry=self._registry,
            liveness=self._liveness,
            alarms=self._alarms,
            goal=lambda: conductor.goal,
            round=lambda: conductor.last_round,
            learns=lambda: self._policies.agent(conductor.goal.policy).stateful,
        )

    def _late_s(self, now_s: float) -> float:
        """How long messages wait, for the loop or for the disk."""
        return max(self._lag.seconds(now_s), self._log.waiting / ROWS_PER_S_LATE)

    async def _measure(self) -> None:
        while True:
            if self._client.connected and not self._stopping:
                ping = Ping(ping_id=self._lag.next_ping(self._clock.monotonic()))
                self._publish(self._config.node, Channel.PING, ping)
            await asyncio.sleep(PING_PERIOD_S)
