"""Watches a site over MQTT, as anybody may, and puts its rounds together from what passes on the wire."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

from broker.client import Inbound, MqttClient
from broker.messages import Decision, GoalSet, Report, Request, Round, RoundSummary, State
from broker.topics import Address, Channel, filter_for_everything
from broker.vocabulary import NodeId, NodeState


@dataclass(slots=True)
class Outcome:
    """One device in one round: what was decided, and what came of it once its report is there."""

    node: NodeId
    decision: Decision
    report: Report | None = None


@dataclass(slots=True)
class ObservedRound:
    """One round as seen on the wire; `summary` comes last."""

    number: int
    outcomes: dict[NodeId, Outcome] = field(default_factory=dict)
    summary: RoundSummary | None = None


class Observer:
    """Collects decisions, reports and round summaries of one site. `complete` yields each finished round once."""

    def __init__(self, client: MqttClient, on_change: Callable[[ObservedRound], None]) -> None:
        self.complete: asyncio.Queue[ObservedRound] = asyncio.Queue()
        self.requests: set[tuple[NodeId, str]] = set()
        self._gone: dict[NodeId, asyncio.Event] = defaultdict(asyncio.Event)
        self._client = client
        self._on_change = on_change
        self._rounds: dict[int, ObservedRound] = {}
        self._by_request: dict[str, Outcome] = {}
        client.subscribe_all(filter_for_everything(client.site), self._receive)

    def set_goal(self, orchestrator: NodeId, goal: GoalSet) -> None:
        """Change floor or policy, as a person would. Raises NotConnected."""
        self._client.publish(Address(self._client.site, orchestrator, Channel.GOAL_SET), goal)

    async def wait_gone(self, nodes: list[NodeId]) -> None:
        """Return when each of `nodes` has said that it stopped; all that it sent before has been seen then."""
        for node in nodes:
            await self._gone[node].wait()

    def _receive(self, inbound: Inbound) -> None:
        node, body = inbound.address.node, inbound.body
        if isinstance(body, Request):
            self.requests.add((node, body.request_id))
        elif isinstance(body, Decision):
            round_ = self._rounds.setdefault(body.round, ObservedRound(body.round))
            round_.outcomes[node] = self._by_request[body.request_id] = Outcome(node, body)
            self._on_change(round_)
        elif isinstance(body, Report):
            outcome = self._by_request.pop(body.request_id, None)
            if outcome is not None and outcome.node == node:
                outcome.report = body
                self._on_change(self._rounds.get(outcome.decision.round, ObservedRound(outcome.decision.round)))
        elif isinstance(body, State) and body.state is not NodeState.ONLINE:
            self._gone[node].set()
        elif isinstance(body, Round) and not body.open and body.summary is not None:
            round_ = self._rounds.pop(body.round, ObservedRound(body.round))
            round_.summary = body.summary
            self.complete.put_nowait(round_)
