"""Who is there: birth, state, heartbeat and telemetry of every node, folded. Pure; the time is passed in."""

from __future__ import annotations

from dataclasses import dataclass

from broker.errors import Refused
from broker.messages import Birth, Heartbeat, State, Telemetry
from broker.vocabulary import NodeId, NodeState, Tier

MOST_NODES = 20_000  # a thousand devices and much room; ids come from outside and must not fill the memory


@dataclass(slots=True)
class Node:
    """What one node last said. Mutable: every message changes a part of it."""

    node: NodeId
    birth: Birth | None = None
    state: State | None = None
    early_state: State | None = None
    heartbeat_session: int | None = None
    heartbeat_s: float = 0.0
    telemetry: Telemetry | None = None

    def online(self, now_s: float, timeout_s: float) -> bool:
        """Born, its state of that same session is online, and its heartbeat of that session is recent."""
        return (
            self.birth is not None
            and self.state is not None
            and self.state.state is NodeState.ONLINE
            and self.birth.session == self.state.session == self.heartbeat_session
            and now_s - self.heartbeat_s < timeout_s
        )


class Registry:
    """All nodes of the site. Times are monotonic seconds."""

    def __init__(self, heartbeat_timeout_s: float) -> None:
        self._timeout_s = heartbeat_timeout_s
        self._nodes: dict[NodeId, Node] = {}
        self._online_devices: frozenset[NodeId] = frozenset()
        self._serving: dict[Tier, Node | None] = {}
        self._valid_until_s = float("-inf")

    def get(self, node: NodeId) -> Node | None:
        """What is known of `node`."""
        return self._nodes.get(node)

    def on_birth(self, node: NodeId, birth: Birth) -> None:
        """The node's present session. Raises Refused (`too_many_nodes`).

        Sessions are compared for equality alone: a node without a battery-backed clock may come back with a lower one.
        """
        known = self._entry(node)
        known.birth = birth
        if known.early_state is not None and known.early_state.session == birth.session:
            known.state = known.early_state
        self._changed()

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
        self._changed()

    def on_heartbeat(self, node: NodeId, heartbeat: Heartbeat, received_s: float) -> None:
        """Raises Refused (`too_many_nodes`)."""
        known = self._entry(node)
        was_online = known.online(received_s, self._timeout_s)
        known.heartbeat_session, known.heartbeat_s = heartbeat.session, received_s
        if not was_online or not known.online(received_s, self._timeout_s):
            self._changed()

    def on_telemetry(self, node: NodeId, telemetry: Telemetry) -> None:
        """Raises Refused (`too_many_nodes`)."""
        self._entry(node).telemetry = telemetry

    def online_devices(self, now_s: float) -> frozenset[NodeId]:
        """The end devices that are online."""
        self._refresh(now_s)
        return self._online_devices

    def serving(self, tier: Tier, now_s: float) -> Node | None:
        """The node that serves `tier` (edge or cloud): the online one whose id comes first."""
        self._refresh(now_s)
        return self._serving.get(tier)

    def _entry(self, node: NodeId) -> Node:
        known = self._nodes.get(node)
        if known is None:
            if len(self._nodes) >= MOST_NODES:
                raise Refused("too_many_nodes", f"{node}: {MOST_NODES} nodes are known already")
            known = self._nodes[node] = Node(node)
        return known

    def _changed(self) -> None:
        self._valid_until_s = float("-inf")

    def _refresh(self, now_s: float) -> None:
        """Only when a node came, went, or may have fallen silent: a thousand devices are not counted per request."""
        if now_s < self._valid_until_s:
            return
        online = [node for node in self._nodes.values() if node.online(now_s, self._timeout_s)]
        self._online_devices = frozenset(node.node for node in online if _tier(node) is Tier.END)
        self._serving = {
            tier: min((node for node in online if _tier(node) is tier), key=lambda node: node.node, default=None)
            for tier in (Tier.EDGE, Tier.CLOUD)
        }
        earliest_s = min((node.heartbeat_s for node in online), default=float("inf"))
        self._valid_until_s = earliest_s + self._timeout_s


def _tier(node: Node) -> Tier | None:
    return node.birth.tier if node.birth is not None else None
