"""The edge and cloud nodes that decisions have named: whether they are there, by their own word.

A node is watched from the first decision that names it, not before: with a thousand devices, everybody watching
everybody would be a million subscriptions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from broker.client import Handler, Inbound, MqttClient
from broker.messages import Birth, State
from broker.topics import Channel, filter_for
from broker.vocabulary import NodeId, NodeState, Tier

MOST = 64  # so that forged decisions cannot make a device watch without end


@dataclass(slots=True)
class _Known:
    birth: Birth | None = None
    state: State | None = None


class ServingNodes:
    """Retained birth and state of the nodes that were watched. A state counts only under its birth's session.

    `went(node, state)` is called whenever one says that it is no longer online. This node's own state, which shares
    the channel, goes to `own_state`.
    """

    def __init__(self, client: MqttClient, own_state: Handler, went: Callable[[NodeId, NodeState], None]) -> None:
        self._client = client
        self._own_state = own_state
        self._went = went
        self._known: dict[NodeId, _Known] = {}

    def watch(self, node: NodeId) -> None:
        """Subscribe to its birth and state, once."""
        if node in self._known or len(self._known) >= MOST:
            return
        self._known[node] = _Known()
        for channel, handler in ((Channel.BIRTH, self.birth), (Channel.STATE, self.state)):
            self._client.subscribe(filter_for(self._client.site, channel, node), channel, handler)

    def tier(self, node: NodeId) -> Tier | None:
        """The tier that it announced; None while it is not known."""
        known = self._known.get(node)
        return known.birth.tier if known is not None and known.birth is not None else None

    def gone(self, node: NodeId) -> NodeState | None:
        """`stopped` or `offline` if it said so in its present session; None if it is there, or not known."""
        known = self._known.get(node)
        if known is None or known.birth is None or known.state is None:
            return None
        if known.state.session != known.birth.session or known.state.state is NodeState.ONLINE:
            return None
        return known.state.state

    def birth(self, inbound: Inbound) -> None:
        """A watched node announced itself."""
        known = self._known.get(inbound.address.node)
        if known is not None and isinstance(inbound.body, Birth):
            known.birth = inbound.body
            self._tell(inbound.address.node)

    def state(self, inbound: Inbound) -> None:
        """A watched node, or this one, changed its state."""
        if inbound.address.node == self._client.node:
            self._own_state(inbound)
            return
        known = self._known.get(inbound.address.node)
        if known is not None and isinstance(inbound.body, State):
            known.state = inbound.body
            self._tell(inbound.address.node)

    def _tell(self, node: NodeId) -> None:
        if (state := self.gone(node)) is not None:
            self._went(node, state)
