"""The `summary` message: what the orchestrator alone knows of its site, for `tierwise status` and other readers.

It is published when something in it has changed, at most once a second, and more rarely where it is long. Its lists are
cut to what the channel carries; what is left out is counted in it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

import msgspec

from broker.clock import Clock
from broker.codec import CARRIAGE, encode
from broker.messages import Decision, Report, RoundSummary, Summary, SummaryAlarm, SummaryNode
from broker.topics import Channel
from broker.vocabulary import NodeId, NodeState, Outcome, Tier
from orchestrator.alarms import Alarms
from orchestrator.goal import GoalInForce
from orchestrator.liveness import Liveness
from orchestrator.nodes import Node, Registry

MIN_INTERVAL_S = 1.0
INTERVAL_S_PER_NODE = 0.005  # 5 s for a thousand devices: 100 kB a second would cost every reader its link
MAX_NODES, MAX_ALARMS = 1000, 16  # of one message, as its type says
ROUNDS_OF_PHASE = 20


class Phase:
    """Words of `phase`."""

    WAITING = "waiting"  # no round has been decided yet
    FIXED = "fixed"  # the policy does not learn
    EXPLORING = "exploring"  # at least one of the last 20 rounds was decided in order to learn something
    SETTLED = "settled"  # none of them was


class Learning(Protocol):
    """Of the policy in force: whether it learns at all."""

    def __call__(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class SummaryParts:
    """What a summary is made of. `goal`, `round` and `learns` are asked when one is made."""

    registry: Registry
    liveness: Liveness
    alarms: Alarms
    goal: Callable[[], GoalInForce]
    round: Callable[[], int]
    learns: Learning


class SiteSummary:
    """Collects what passes, and makes the message when it is time. Mutable; used by the loop's thread alone."""

    def __init__(self, parts: SummaryParts, clock: Clock) -> None:
        self._parts = parts
        self._clock = clock
        self._version = _installed_version()
        self._started_s = clock.wall()
        self._told: dict[NodeId, tuple[Tier, str]] = {}
        self._response_ms: dict[NodeId, float] = {}
        self._explored: deque[bool] = deque(maxlen=ROUNDS_OF_PHASE)
        self._last_round: RoundSummary | None = None
        self._sent: Summary | None = None
        self._next_s = float("-inf")

    def decided(self, device: NodeId, decision: Decision) -> None:
        """A decision has left for `device`."""
        self._told[device] = (decision.tier, decision.model)

    def reported(self, device: NodeId, report: Report) -> None:
        """A report of `device` was taken; a failed request has no response time."""
        if report.outcome is not Outcome.FAILED:
            self._response_ms[device] = report.response_ms

    def round_ended(self, summary: RoundSummary) -> None:
        """A round is complete."""
        if self._last_round is not None and self._last_round.policy_version != summary.policy_version:
            self._explored.clear()
        self._last_round = summary
        self._explored.append(summary.explored)

    def again(self) -> None:
        """Publish the next one whatever has changed: the connection is new."""
        self._sent, self._next_s = None, float("-inf")

    def due(self) -> Summary | None:
        """What to publish now; None: nothing has changed, or the last one was a moment ago."""
        now_s = self._clock.monotonic()
        if now_s < self._next_s:
            return None
        summary = self.message()
        self._next_s = now_s + max(MIN_INTERVAL_S, INTERVAL_S_PER_NODE * len(summary.nodes))
        unchanged = self._sent is not None and msgspec.structs.replace(summary, time_s=self._sent.time_s) == self._sent
        if unchanged:
            return None
        self._sent = summary
        return summary

    def message(self) -> Summary:
        """The summary as of now, within the channel's size."""
        goal, last, alarms = self._parts.goal(), self._last_round, self._parts.alarms.current()
        nodes = self._parts.registry.nodes
        alarmed = {alarm.node for alarm in alarms}
        shown = sorted(nodes.values(), key=lambda known: _rank(known, alarmed))[:MAX_NODES]
        rows = [self._row(known) for known in sorted(shown, key=lambda known: known.node)]
        summary = Summary(
            time_s=_seconds(self._clock.wall()),
            started_s=_seconds(self._started_s),
            agent_version=self._version,
            round=self._parts.round(),
            accuracy_floor_percent=goal.floor_tenths / 10,
            policy=goal.policy,
            policy_version=goal.policy_version,
            phase=self._phase(),
            nodes=rows,
            nodes_left_out=len(nodes) - len(rows),
            alarms=[
                SummaryAlarm(
                    code=alarm.code,
                    since_s=_seconds(alarm.since_s),
                    detail=alarm.detail,
                    node=alarm.node,
                    hint=alarm.hint or None,
                )
                for alarm in alarms[-MAX_ALARMS:]
            ],
            alarms_left_out=max(0, len(alarms) - MAX_ALARMS) + self._parts.alarms.discarded,
            accuracy_percent=None if last is None else last.accuracy_percent,
        )
        return _fitted(summary)

    def _row(self, known: Node) -> SummaryNode:
        node = known.node
        since_s = self._parts.liveness.since_s(node)
        tier, model = self._told.get(node, (None, None))
        return SummaryNode(
            node=node,
            state=_state(known),
            since_s=_seconds(self._started_s if since_s is None else since_s),
            tier=tier,
            model=model,
            response_ms=self._response_ms.get(node),
        )

    def _phase(self) -> str:
        if not self._parts.learns():
            return Phase.FIXED
        if not self._explored:
            return Phase.WAITING
        return Phase.EXPLORING if any(self._explored) else Phase.SETTLED


def _rank(known: Node, alarmed: set[NodeId | None]) -> tuple[bool, bool, bool, str]:
    """Which nodes come first where not all have room: alarmed, serving, online, by id."""
    return (known.node not in alarmed, known.tier in (None, Tier.END), not known.online, known.node)


def _state(known: Node) -> NodeState:
    if known.online:
        return NodeState.ONLINE
    stopped = known.state is not None and known.state.state is NodeState.STOPPED
    return NodeState.STOPPED if stopped else NodeState.OFFLINE


def _seconds(wall_s: float) -> int:
    return max(0, int(wall_s))


def _fitted(summary: Summary) -> Summary:
    """`summary` with as many nodes, from the first, as the channel carries."""
    limit_bytes = CARRIAGE[Channel.SUMMARY].limit_bytes
    while summary.nodes and len(encode(summary)) > limit_bytes:
        kept = summary.nodes[: len(summary.nodes) * 3 // 4]
        left_out = summary.nodes_left_out + len(summary.nodes) - len(kept)
        summary = msgspec.structs.replace(summary, nodes=kept, nodes_left_out=left_out)
    return summary


def _installed_version() -> str:
    try:
        return version("tierwise")
    except PackageNotFoundError:
        return "0+source"
