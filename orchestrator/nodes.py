"""Who is there: birth, state, heartbeat and telemetry of every node, folded. Pure; the time is passed in."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from broker.errors import Refused
from broker.messages import Birth, Heartbeat, State, Telemetry
from broker.vocabulary import NodeId, NodeState, Tier
from orchestrator.failover import Failover

ServingNodes = Mapping[Tier, Sequence[NodeId]]  # node ids by tier, the first choice first

SERVING_TIERS = (Tier.EDGE, Tier.CLOUD)
MOST_NODES = 20_000  # a thousand devices and much room; ids come from outside and must not fill the memory


@dataclass(slots=True)
class Node:
    """What one node last said. Mutable: every message changes a part of it."""

    node: NodeId
    birth: Birth | None = None
    refused_birth: Birth | None = None  # newer than `birth`
    state: State | None = None
    early_state: State | None = None
    heartbeat_session: int | None = None
    heartbeat_s: float = 0.0
    telemetry: Telemetry | None = None
    beats: bool = False  # its last heartbeat is recent

    @property
    def online(self) -> bool:
        """Born, its state of that same session is online, and its heartbeat of that session is recent."""
        return (
            self.beats
            and self.birth is not None
            and self.state is not None
            and self.state.state is NodeState.ONLINE
            and self.birth.session == self.state.session == self.heartbeat_session
        )

    @property
    def tier(self) -> Tier | None:
        """Where it is; None before its birth."""
        return self.birth.tier if self.birth is not None else None


class Registry:
    """All nodes of the site. Times are monotonic seconds.

    With `serving_nodes` the tier of each node is known beforehand: those that it names serve their tier, in its order,
    and all others are end devices. Without it (None) a node has the tier of its first birth. A serving node whose
    results are missing is avoided for a while, where its tier has another one (`failover.py`).
    """

    def __init__(
        self,
        heartbeat_timeout_s: float,
        serving_nodes: ServingNodes | None = None,
        on_change: Callable[[Node], None] = lambda _node: None,
    ) -> None:
        """`on_change` is called with each node that comes online, goes offline, or changes its tier meanwhile."""
        self._on_change = on_change
        self._timeout_s = heartbeat_timeout_s
        self._serving_nodes = serving_nodes
        self._nodes: dict[NodeId, Node] = {}
        # Kept message by message: a thousand devices are counted neither per request nor when many come and go.
        self._online: dict[NodeId, Tier | None] = {}
        self._online_devices: frozenset[NodeId] | None = frozenset()
        self._serving: dict[Tier, Node | None] = {}
        self._serving_since_s: dict[Tier, float] = {}
        self._failover = Failover()
        self._chosen_s = float("-inf")  # nodes that were avoided until then are avoided no longer
        self._retry_s = float("inf")  # when a node that is avoided may serve again
        self._silent_s = float("-inf")  # before that nobody is silent for too long
        self._beats: list[tuple[float, NodeId]] = []  # a heap, of the heartbeats that may be the last of their nodes

    def reconfigure(self, heartbeat_timeout_s: float, serving_nodes: ServingNodes | None) -> None:
        """Count as gone what is silent for so long; judge each node's last birth again by these serving nodes."""
        self._timeout_s, self._silent_s = heartbeat_timeout_s, float("-inf")
        self._serving_nodes = serving_nodes
        self._beats = sorted((known.heartbeat_s, known.node) for known in self._nodes.values())
        for known in self._nodes.values():
            known.beats = known.heartbeat_session is not None
            self._judge_births(known)
        for tier in SERVING_TIERS:
            self._choose(tier)

    def get(self, node: NodeId) -> Node | None:
        """What is known of `node`."""
        return self._nodes.get(node)

    @property
    def nodes(self) -> dict[NodeId, Node]:
        """All that is known, by id; not to be changed."""
        return self._nodes

    def end_silent(self, now_s: float) -> None:
        """Count as offline those whose heartbeat is overdue. Every question about who is online does so too."""
        self._end_silent(now_s)

    def on_birth(self, node: NodeId, birth: Birth) -> None:
        """The node's present session. Raises Refused (`not_a_serving_node`, `tier_changed`, `too_many_nodes`).

        Sessions are compared for equality alone: a node without a battery-backed clock may come back with a lower one.
        A refused birth leaves what is known of the node as it was; a change of the serving nodes may accept it.
        """
        known = self._entry(node)
        refusal = self._refusal(known, birth)
        if refusal is not None:
            known.refused_birth = birth
            raise refusal
        self._accept(known, birth)

    def on_state(self, node: NodeId, state: State) -> None:
        """Counts under the session of the latest birth; a late will of an old session changes nothing.

        Raises Refused (`other_session`, `too_many_nodes`). A refused one counts after all if its birth comes later:
        retained messages arrive in any order.
        """
        known = self._entry(node)
        if known.birth is not None and state.session != known.birth.session:
            known.early_state = state
            raise Refused("other_session", f"state of session {state.session}, born in {known.birth.session}")
        known.state = state
        self._judge(known)

    def on_heartbeat(self, node: NodeId, heartbeat: Heartbeat, received_s: float) -> None:
        """Raises Refused (`too_many_nodes`)."""
        known = self._entry(node)
        known.heartbeat_session, known.heartbeat_s, known.beats = heartbeat.session, received_s, True
        heapq.heappush(self._beats, (received_s, node))
        self._judge(known)

    def on_telemetry(self, node: NodeId, telemetry: Telemetry) -> None:
        """Raises Refused (`too_many_nodes`)."""
        self._entry(node).telemetry = telemetry

    def online_devices(self, now_s: float) -> frozenset[NodeId]:
        """The end devices that are online."""
        self._end_silent(now_s)
        if self._online_devices is None:
            self._online_devices = frozenset(node for node, tier in self._online.items() if tier is Tier.END)
        return self._online_devices

    def serving(self, tier: Tier, now_s: float) -> Node | None:
        """The node that serves `tier` (edge or cloud): the first online one of the serving nodes, or by id.

        Those that are avoided for missing results come last, the one whose pause ends first before the others.
        """
        self._end_silent(now_s)
        if now_s >= self._retry_s:
            self._choose_again(now_s)
        return self._serving.get(tier)

    def on_requests(self, devices: Iterable[NodeId], now_s: float) -> None:
        """These devices have made requests that were decided, on whatever tier."""
        self._failover.on_requests(devices, now_s)

    def on_results(
        self, node: NodeId, served: Collection[NodeId], missing: Collection[NodeId], decided_s: float, now_s: float
    ) -> Node | None:
        """Take what a serving node did of one round, and try the tier's next node where it is to be avoided.

        `decided_s`: when the round was decided; what was decided before the node's present turn does not count.
        Returns the node that serves its tier from now on, None where that is as it was.
        """
        known = self._nodes.get(node)
        tier = None if known is None else known.tier
        if tier is None or self.serving(tier, now_s) is not known or decided_s < self._serving_since_s[tier]:
            return None
        if not self._failover.on_results(node, served, missing, now_s):
            return None
        self._choose_again(now_s)
        chosen = self._serving[tier]
        return None if chosen is known else chosen

    def _choose_again(self, now_s: float) -> None:
        """Pauses have begun or ended."""
        self._chosen_s = now_s
        for tier in SERVING_TIERS:
            self._choose(tier)

    def _entry(self, node: NodeId) -> Node:
        known = self._nodes.get(node)
        if known is None:
            if len(self._nodes) >= MOST_NODES:
                raise Refused("too_many_nodes", f"{node}: {MOST_NODES} nodes are known already")
            known = self._nodes[node] = Node(node)
        return known

    def _accept(self, known: Node, birth: Birth) -> None:
        known.birth, known.refused_birth = birth, None
        if known.early_state is not None and known.early_state.session == birth.session:
            known.state = known.early_state
        self._judge(known)

    def _judge_births(self, known: Node) -> None:
        """The serving nodes are others now."""
        if known.refused_birth is not None and self._refusal(known, known.refused_birth) is None:
            self._accept(known, known.refused_birth)
        elif known.birth is not None and self._refusal(known, known.birth) is not None:
            known.birth, known.refused_birth = None, known.refused_birth or known.birth
        self._judge(known)

    def _refusal(self, known: Node, birth: Birth) -> Refused | None:
        """Why the birth is refused; None where it is not."""
        node, tier, named = known.node, birth.tier, self._serving_nodes
        if named is None:
            if known.birth is None or known.birth.tier is tier:
                return None
            return Refused("tier_changed", f"{node} was born on {known.birth.tier}, and now on {tier}")
        if tier is not Tier.END:
            if node in named.get(tier, ()):
                return None
            names = ", ".join(named.get(tier, ())) or "none"
            return Refused(
                "not_a_serving_node",
                f"{node} was born on {tier}; serving_nodes.{tier} in orchestrator.yaml names {names}: add it if it may",
            )
        own = next((tier for tier, names in named.items() if node in names), None)
        if own is None:
            return None
        return Refused("tier_changed", f"{node} was born as an end device, but serving_nodes.{own} names it")

    def _end_silent(self, now_s: float) -> None:
        if now_s < self._silent_s:
            return  # asked several times a request
        beats = self._beats
        while beats and now_s - beats[0][0] >= self._timeout_s:
            beat_s, node = heapq.heappop(beats)
            known = self._nodes[node]
            if known.heartbeat_s == beat_s:
                known.beats = False
                self._judge(known)
        self._silent_s = beats[0][0] + self._timeout_s if beats else now_s

    def _judge(self, known: Node) -> None:
        """Whether it is online, and where, may have changed."""
        node, online = known.node, known.online
        tier, was = known.tier, self._online.get(node)
        if online == (node in self._online) and (not online or tier is was):
            return
        if online:
            self._online[node] = tier
        else:
            del self._online[node]
        for changed in SERVING_TIERS:
            if changed in (tier, was):
                self._choose(changed)
        if Tier.END in (tier, was):
            self._online_devices = None
        self._on_change(known)

    def _choose(self, tier: Tier) -> None:
        order = () if self._serving_nodes is None else self._serving_nodes.get(tier, ())
        place = {node: index for index, node in enumerate(order)}
        online = [self._nodes[node] for node, its in self._online.items() if its is tier]
        chosen = min(
            online, key=lambda one: (self._avoided_s(one.node), place.get(one.node, 0), one.node), default=None
        )
        if chosen is not self._serving.get(tier):
            self._serving[tier], self._serving_since_s[tier] = chosen, self._chosen_s
        waiting = (self._avoided_s(node) for node, its in self._online.items() if its in SERVING_TIERS)
        self._retry_s = min((until_s for until_s in waiting if until_s > self._chosen_s), default=float("inf"))

    def _avoided_s(self, node: NodeId) -> float:
        until_s = self._failover.avoided_until_s(node)
        return until_s if until_s > self._chosen_s else float("-inf")
