"""One device that attacks with its own certificate: what the broker's rules let it say, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from broker.client import Inbound, MqttClient
from broker.endpoint import Endpoint
from broker.errors import NotConnected
from broker.messages import (
    Birth,
    Decision,
    ExplainAsk,
    Heartbeat,
    Message,
    Report,
    Request,
    Round,
    Stages,
    Telemetry,
)
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import Link, NodeId, NodeState, Outcome, SiteId, Tier, new_request_id
from testbed.malicious.schedule import Attack

BEAT_S = 1.0
DAY_MS = 86_400_000.0
PER_S = {
    Attack.INFER_FLOOD: 100,
    Attack.BIRTH_FLOOD: 100,
    Attack.REPORT_FLOOD: 100,
    Attack.FORGED_REPORTS: 100,
    Attack.HEARTBEAT_FLOOD: 180,
    Attack.EXPLAIN_FLOOD: 100,
}
TICK_S = 0.05


class Attacker:
    """Online as an honest device would be; `attack` says what it does beside that, None: nothing."""

    def __init__(self, endpoint: Endpoint, site: SiteId, node: NodeId, edge: NodeId, image: bytes) -> None:
        self.attack: Attack | None = None
        self.sent = 0
        self._edge, self._image = edge, image
        self._sequence = 0
        self._tier = Tier.END
        self._asked: set[int] = set()
        self._client = MqttClient(endpoint, site, node, "agent")
        self._client.on_connect.append(self._announce)
        self._client.subscribe(filter_for(site, Channel.ROUND), Channel.ROUND, self._on_round)
        self._client.subscribe(filter_for(site, Channel.DECISION, node), Channel.DECISION, self._on_decision)
        self._flood: dict[Attack, Callable[[], None]] = {
            Attack.INFER_FLOOD: self._infer,
            Attack.BIRTH_FLOOD: self._strange_birth,
            Attack.REPORT_FLOOD: lambda: self._report(new_request_id(), decided=False),
            Attack.FORGED_REPORTS: lambda: self._report(new_request_id(), decided=True, response_ms=DAY_MS),
            Attack.HEARTBEAT_FLOOD: self._beat,
            Attack.EXPLAIN_FLOOD: lambda: self._publish(Channel.EXPLAIN_ASK, ExplainAsk()),
        }

    async def run(self) -> None:
        """Until cancelled."""
        link = asyncio.create_task(self._client.run(), name=f"{self._client.node} link")
        try:
            await self._live()
        finally:
            with contextlib.suppress(Exception):
                await self._client.stop()
            await asyncio.gather(link, return_exceptions=True)

    def become(self, attack: Attack | None) -> None:
        """Do this from now on."""
        was, self.attack = self._tier, attack
        self._tier = Tier.EDGE if attack is Attack.IMPOSTOR else Tier.END
        if self._tier is not was:
            with contextlib.suppress(NotConnected):
                self._announce()

    async def _live(self) -> None:
        beat_s = due_s = time.monotonic()
        while True:
            now_s = time.monotonic()
            if now_s >= beat_s:
                beat_s = now_s + BEAT_S
                self._beat()
                reading = Telemetry(seq=self._sequence, cpu_percent=5.0, memory_percent=20.0, link=Link.REGULAR)
                self._publish(Channel.TELEMETRY, reading)
            if self.attack is not None and (per_s := PER_S.get(self.attack)) is not None:
                due_s = max(due_s, now_s - 1.0)
                while due_s <= now_s:
                    due_s += 1.0 / per_s
                    self._flood[self.attack]()
                    self.sent += 1
            else:
                due_s = now_s
            await asyncio.sleep(TICK_S)

    # -- what it says -------------------------------------------------------------------------------------------

    def _publish(self, channel: Channel, body: Message) -> None:
        with contextlib.suppress(NotConnected):
            self._client.publish(Address(self._client.site, self._client.node, channel), body)

    def _announce(self) -> None:
        self._birth({f"d{number}": "0" * 64 for number in range(8)})
        with contextlib.suppress(NotConnected):
            self._client.publish_state(NodeState.ONLINE)
        self._beat()

    def _birth(self, models: dict[str, str]) -> None:
        session = self._client.session
        body = Birth(session=session, tier=self._tier, agent_version="malicious", vcpus=1, models=models, emulated=True)
        self._publish(Channel.BIRTH, body)

    def _beat(self) -> None:
        self._sequence += 1
        self._publish(Channel.HEARTBEAT, Heartbeat(session=self._client.session, seq=self._sequence))

    def _strange_birth(self) -> None:
        self._birth({f"net-{self.sent}-{number}": "0" * 64 for number in range(256)})

    def _infer(self) -> None:
        with contextlib.suppress(NotConnected):
            self._client.publish(
                Address(self._client.site, self._edge, Channel.INFER, self._client.node),
                self._image,
                correlation=new_request_id().encode("ascii"),
                properties={"model": "d0", "deadline_ms": "5000"},
            )

    def _report(
        self, request: str, *, decided: bool, response_ms: float = 50.0, decision: Decision | None = None
    ) -> None:
        """What it claims of a request; of one that was offloaded, that it failed."""
        failed = decision is not None and decision.tier is not Tier.END
        model = "d0" if decision is None else decision.fallback_model if failed else decision.model
        body = Report(
            request_id=request,
            outcome=Outcome.FAILED if failed else Outcome.DONE,
            decided=decided,
            tier=Tier.END,
            model=model,
            serving_node=self._client.node,
            response_ms=response_ms,
            stages=Stages(),
            emulated=True,
        )
        self._publish(Channel.REPORT, body)

    # -- what it is told ----------------------------------------------------------------------------------------

    def _on_round(self, inbound: Inbound) -> None:
        said = inbound.body
        asks = self.attack in (Attack.SILENT, Attack.LIAR)
        if asks and isinstance(said, Round) and said.open and said.round not in self._asked:
            self._asked.add(said.round)
            self._publish(Channel.REQUEST, Request(request_id=new_request_id()))

    def _on_decision(self, inbound: Inbound) -> None:
        decision = inbound.body
        if isinstance(decision, Decision) and self.attack is Attack.LIAR:
            self._report(decision.request_id, decided=True, response_ms=100.0, decision=decision)
