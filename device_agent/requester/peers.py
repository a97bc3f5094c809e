"""The other nodes that a device depends on, and whether they are there: the edge and cloud nodes that decisions have
named, and the orchestrator.

Three things tell that a node is gone: it said so (`stopped`), the broker said so (`offline`, its last will, which a
frozen process takes 7 to 18 s to cause), or its heartbeat is overdue (`silent`).

A serving node is watched from the first decision that names it, not before: with a thousand devices, everybody
watching everybody would be a million subscriptions. The orchestrator is known by its retained goal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from broker.client import Handler, Inbound, MqttClient
from broker.messages import Birth, Goal, Heartbeat, State
from broker.topics import Channel, filter_for
from broker.vocabulary import NodeId, NodeState, Tier

MOST = 64  # so that forged decisions cannot make a device watch without end
MOST_ORCHESTRATORS = 4  # a site has one; a retained goal may be left of another that had another name
SILENT_S = 2.5  # heartbeats come each second, so a frozen peer is known within 3 s
SILENT = "silent"


@dataclass(slots=True)
class _Peer:
    birth: Birth | None = None
    state: State | None = None
    is_orchestrator: bool = False  # it has a state and heartbeats, but no birth
    beat_session: int | None = None  # of its latest heartbeat
    silent: bool = False
    timer: asyncio.TimerHandle | None = None

    @property
    def session(self) -> int | None:
        """The one in which it is now, as far as it is known.

        A broker may drop its birth or state from a full queue; its heartbeats come again each second.
        """
        if self.beat_session is not None:
            return self.beat_session
        if self.is_orchestrator:
            return self.state.session if self.state is not None else None
        return self.birth.session if self.birth is not None else None


class Peers:
    """Birth, state and heartbeat of the nodes that are watched. State and heartbeat count under the present session.

    `went(node, how)` is called whenever one is found to be gone. This node's own state, which shares the channel, goes
    to `own_state`. Made inside the loop.
    """

    def __init__(
        self,
        client: MqttClient,
        own_state: Handler,
        went: Callable[[NodeId, str], None],
        silent_s: float = SILENT_S,
        on_goal: Callable[[Goal], None] = lambda _goal: None,
    ) -> None:
        self._client = client
        self._own_state = own_state
        self._went = went
        self._on_goal = on_goal
        self._silent_s = silent_s
        self._loop = asyncio.get_running_loop()
        self._known: dict[NodeId, _Peer] = {}
        client.subscribe(filter_for(client.site, Channel.GOAL), Channel.GOAL, self.goal)
        client.on_connect.append(self._listen_anew)
        client.on_disconnect.append(self._listen_no_more)

    def watch(self, node: NodeId, *, is_orchestrator: bool = False) -> None:
        """Subscribe to what it says of itself, once."""
        if node in self._known or len(self._known) >= MOST:
            return
        self._known[node] = peer = _Peer(is_orchestrator=is_orchestrator)
        handlers = [(Channel.STATE, self.state), (Channel.HEARTBEAT, self.heartbeat)]
        for channel, handler in handlers if is_orchestrator else [(Channel.BIRTH, self.birth), *handlers]:
            self._client.subscribe(filter_for(self._client.site, channel, node), channel, handler)
        self._listen(node, peer)

    def tier(self, node: NodeId) -> Tier | None:
        """The tier that it announced; None while it is not known."""
        peer = self._known.get(node)
        return peer.birth.tier if peer is not None and peer.birth is not None else None

    def gone(self, node: NodeId) -> str | None:
        """`stopped` or `offline` if that is its state in its present session, `silent`; None if it is there, or new."""
        peer = self._known.get(node)
        if peer is None:
            return None
        if peer.state is not None and peer.state.session == peer.session and peer.state.state is not NodeState.ONLINE:
            return peer.state.state
        return SILENT if peer.silent else None

    def orchestrator_gone(self) -> str | None:
        """How the orchestrator is gone; None if it is there, or not known: then one asks, and waits."""
        found = [self.gone(node) for node, peer in self._known.items() if peer.is_orchestrator]
        return None if None in found else next(iter(found), None)

    def is_orchestrator(self, node: NodeId) -> bool:
        """Whether `node` has published a goal."""
        peer = self._known.get(node)
        return peer is not None and peer.is_orchestrator

    def birth(self, inbound: Inbound) -> None:
        """A watched node announced itself."""
        peer = self._known.get(inbound.address.node)
        if peer is not None and isinstance(inbound.body, Birth):
            peer.birth, peer.beat_session = inbound.body, None
            self._tell(inbound.address.node)

    def state(self, inbound: Inbound) -> None:
        """A watched node, or this one, changed its state."""
        if inbound.address.node == self._client.node:
            self._own_state(inbound)
            return
        peer = self._known.get(inbound.address.node)
        if peer is not None and isinstance(inbound.body, State):
            peer.state = inbound.body
            if peer.is_orchestrator and inbound.body.state is NodeState.ONLINE:
                peer.beat_session = None
            self._tell(inbound.address.node)

    def heartbeat(self, inbound: Inbound) -> None:
        """A watched node is not frozen."""
        peer = self._known.get(inbound.address.node)
        if peer is not None and isinstance(inbound.body, Heartbeat):
            peer.beat_session = inbound.body.session
            self._listen(inbound.address.node, peer)

    def goal(self, inbound: Inbound) -> None:
        """Only the orchestrator has one to publish."""
        known = sum(peer.is_orchestrator for peer in self._known.values())
        if isinstance(inbound.body, Goal) and known < MOST_ORCHESTRATORS:
            self.watch(inbound.address.node, is_orchestrator=True)
        if isinstance(inbound.body, Goal) and self.is_orchestrator(inbound.address.node):
            self._on_goal(inbound.body)

    def _listen(self, node: NodeId, peer: _Peer) -> None:
        peer.silent = False
        if peer.timer is not None:
            peer.timer.cancel()
        peer.timer = (
            self._loop.call_later(self._silent_s, self._fell_silent, node, peer) if self._client.connected else None
        )

    def _fell_silent(self, node: NodeId, peer: _Peer) -> None:
        peer.silent = True
        self._tell(node)

    def _listen_anew(self) -> None:
        for node, peer in self._known.items():
            self._listen(node, peer)

    def _listen_no_more(self) -> None:
        """Without a link everybody is silent, and nobody is to blame for it."""
        for peer in self._known.values():
            if peer.timer is not None:
                peer.timer.cancel()
                peer.timer = None

    def _tell(self, node: NodeId) -> None:
        if (how := self.gone(node)) is not None:
            self._went(node, how)
