"""What arrives for this device's requests: decisions, results, and the loss of who would have sent them.

A message counts only if it fits a request that waits for exactly that; everything else is refused and counted
(`late`, `repeated`, `unknown_request`, `inconsistent`).
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from broker.client import Handler, Inbound, MqttClient
from broker.errors import Refused
from broker.messages import Decision, Goal, Request, Result
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import ModelName, NodeId, RequestId, Tier
from device_agent.requester.peers import Peers

REMEMBERED = 256  # requests that are over, to tell a late answer from a forged one


@dataclass(frozen=True, slots=True)
class Lost:
    """Nothing will come any more, and why: the link went down, or the serving node did."""

    reason: str


class Pending:
    """One request that waits, first for its decision, then (if it is offloaded) for its result."""

    def __init__(self, request_id: RequestId) -> None:
        loop = asyncio.get_running_loop()
        self.request_id = request_id
        self.decision: asyncio.Future[Decision | Lost] = loop.create_future()
        self.result: asyncio.Future[Result | Lost] | None = None  # once it is offloaded
        self.serving_node: NodeId | None = None
        self.model: ModelName | None = None

    def lose(self, reason: str) -> None:
        """End whatever is waited for."""
        for future in (self.decision, self.result):
            if future is not None and not future.done():
                future.set_result(Lost(reason))


class Exchange:
    """Owns the requests that wait, and this device's subscriptions to `decision` and `result`."""

    def __init__(
        self, client: MqttClient, own_state: Handler, on_goal: Callable[[Goal], None] = lambda _goal: None
    ) -> None:
        self._client = client
        self._peers = Peers(client, own_state, self._node_went, on_goal=on_goal)
        self._pending: dict[str, Pending] = {}
        self._over: deque[str] = deque(maxlen=REMEMBERED)
        client.subscribe(filter_for(client.site, Channel.DECISION, client.node), Channel.DECISION, self.on_decision)
        client.subscribe(filter_for(client.site, Channel.RESULT, client.node), Channel.RESULT, self.on_result)
        client.on_disconnect.append(self._link_went)

    def request(self, pending: Pending, expiry_s: int) -> None:
        """Ask what to do with one inference; of nobody, if there is no orchestrator. Raises NotConnected."""
        self._pending[pending.request_id] = pending
        if (how := self._peers.orchestrator_gone()) is not None:
            pending.lose(f"the orchestrator is {how}")
            return
        address = Address(self._client.site, self._client.node, Channel.REQUEST)
        self._client.publish(address, Request(request_id=pending.request_id), expiry_s=expiry_s)

    def offload(
        self, pending: Pending, decision: Decision, image: bytes, deadline_ms: float, on_puback: Callable[[], None]
    ) -> asyncio.Future[Result | Lost]:
        """Send the image to its serving node. Raises NotConnected, MessageTooLarge."""
        node = NodeId(decision.serving_node)
        result: asyncio.Future[Result | Lost] = asyncio.get_running_loop().create_future()
        pending.result, pending.serving_node, pending.model = result, node, ModelName(decision.model)
        if (state := self._peers.gone(node)) is not None:
            result.set_result(Lost(f"{node} is {state}"))
            return result
        properties = {"model": decision.model, "deadline_ms": f"{deadline_ms:.1f}"}
        if decision.ticket is not None:
            properties["ticket"] = decision.ticket
        self._client.publish(
            Address(self._client.site, node, Channel.INFER, self._client.node),
            image,
            correlation=pending.request_id.encode("ascii"),
            properties=properties,
            expiry_s=max(1, math.ceil(deadline_ms / 1000)),
            on_puback=on_puback,
        )
        return result

    def close(self, pending: Pending) -> None:
        """The request is over: what comes for it from now on is late."""
        if self._pending.pop(pending.request_id, None) is not None:
            self._over.append(pending.request_id)

    def on_decision(self, inbound: Inbound) -> None:
        """Hand a decision to the request that waits for it."""
        decision = inbound.body
        if not isinstance(decision, Decision):
            return
        try:
            pending = self._waiting(decision.request_id, "decision")
            if pending.decision.done():
                raise Refused("repeated", f"decision for {decision.request_id}")
            self._check(decision)
        except Refused as refusal:
            self._client.refuse(refusal, node=self._client.node)
            return
        if decision.tier is not Tier.END:
            self._peers.watch(NodeId(decision.serving_node))
        pending.decision.set_result(decision)

    def on_result(self, inbound: Inbound) -> None:
        """Hand a result to the request that waits for it."""
        result = inbound.body
        if not isinstance(result, Result):
            return
        try:
            pending = self._waiting(result.request_id, "result")
            if pending.result is None:
                raise Refused("inconsistent", f"result for {result.request_id}, which was not sent up")
            if pending.result.done():
                raise Refused("late", f"result for {result.request_id}, which has ended already")
            if result.refused is None and (result.label is None or result.model != pending.model):
                raise Refused("inconsistent", f"result of {result.model} for {pending.model}, or without a label")
        except Refused as refusal:
            self._client.refuse(refusal, node=self._client.node)
            return
        pending.result.set_result(result)

    def _waiting(self, request_id: str, what: str) -> Pending:
        pending = self._pending.get(request_id)
        if pending is None:
            reason = "late" if request_id in self._over else "unknown_request"
            raise Refused(reason, f"{what} for {request_id}")
        return pending

    def _check(self, decision: Decision) -> None:
        local = decision.serving_node == self._client.node
        if local != (decision.tier is Tier.END):
            raise Refused("inconsistent", f"tier {decision.tier} at {decision.serving_node}")
        announced = self._peers.tier(NodeId(decision.serving_node))
        if announced is not None and announced is not decision.tier:
            raise Refused("inconsistent", f"{decision.serving_node} is on tier {announced}, not {decision.tier}")

    def _node_went(self, node: NodeId, how: str) -> None:
        decides = self._peers.is_orchestrator(node) and self._peers.orchestrator_gone() is not None
        for pending in self._pending.values():
            if decides and not pending.decision.done():
                pending.decision.set_result(Lost(f"the orchestrator is {how}"))
            if pending.serving_node == node and pending.result is not None and not pending.result.done():
                pending.result.set_result(Lost(f"{node} is {how}"))

    def _link_went(self) -> None:
        # Sessions start clean: what the broker held for this one is gone with it.
        for pending in self._pending.values():
            pending.lose("link lost")
