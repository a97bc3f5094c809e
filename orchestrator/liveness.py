"""When nodes join, leave and are lost: a log event and a time for each, and an alarm while a node is lost.

It follows the registry, which calls `changed`, and waits a little where a node only begins a new session.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from broker.clock import Clock
from broker.events import event
from broker.rate_limit import RefusalLog
from broker.vocabulary import NodeId, NodeState
from orchestrator.alarms import Alarms
from orchestrator.nodes import Node

log = logging.getLogger(__name__)

NODE_LOST = "node_lost"
HINT = (
    "see whether the node has power and network, and what its own log says; one that is gone for good: tierwise clean, "
    "then start the orchestrator again"
)
NEW_SESSION_S = 2.5  # from a birth to its state and heartbeat


class Liveness:
    """Logs `node_joined`, `node_left` (stopped cleanly) and `node_lost` (its will came, or its heartbeat is overdue).

    Mutable; times that it returns are wall clock, seconds since 1970.
    """

    def __init__(self, alarms: Alarms, clock: Clock, connected: Callable[[], bool] = lambda: True) -> None:
        """`connected`: whether the orchestrator has a link itself; without one it hears no heartbeat at all."""
        self._alarms = alarms
        self._clock = clock
        self._connected = connected
        self._online: set[NodeId] = set()
        self._since_s: dict[NodeId, float] = {}
        self._new_session: dict[NodeId, float] = {}  # online under an old session, and born again at this time
        self._lines = RefusalLog()
        self.version = 0

    def since_s(self, node: NodeId) -> float | None:
        """When its state changed last; None if it never did while this process ran."""
        return self._since_s.get(node)

    def changed(self, known: Node) -> None:
        """What is known of a node has changed, and with it perhaps whether it is online."""
        node = known.node
        if known.online:
            restarted = self._new_session.pop(node, None) is not None
            if node not in self._online or restarted:
                self._join(known, "new session" if restarted else "back" if node in self._since_s else "first seen")
        elif node in self._online:
            reason = _reason(known)
            if reason is None:
                self._new_session.setdefault(node, self._clock.monotonic())
            else:
                self._leave(known, reason)

    def check(self, nodes: dict[NodeId, Node]) -> None:
        """Count as lost what began a new session and did not complete it. Call it each second."""
        now_s = self._clock.monotonic()
        for node, since_s in list(self._new_session.items()):
            if now_s - since_s >= NEW_SESSION_S and (known := nodes.get(node)) is not None:
                self._leave(known, _reason(known) or "its new session is incomplete")

    def _join(self, known: Node, reason: str) -> None:
        self._note(known.node)
        self._online.add(known.node)
        self._alarms.clear(NODE_LOST, known.node)
        birth = known.birth
        version = "?" if birth is None else birth.agent_version
        self._log(logging.INFO, "node_joined", node=known.node, tier=known.tier, version=version, reason=reason)

    def _leave(self, known: Node, reason: str) -> None:
        if not self._connected():
            reason = "the orchestrator has no link to the broker"
        self._note(known.node)
        self._online.discard(known.node)
        self._new_session.pop(known.node, None)
        stopped = known.state is not None and known.state.state is NodeState.STOPPED
        name = "node_left" if stopped else "node_lost"
        level = logging.INFO if stopped else logging.WARNING
        version = "?" if known.birth is None else known.birth.agent_version
        self._log(level, name, node=known.node, tier=known.tier, version=version, reason=reason)
        if stopped:
            self._alarms.clear(NODE_LOST, known.node)
        else:
            self._alarms.raise_(NODE_LOST, known.node, f"{known.node} is lost: {reason}", HINT, quiet=True)

    def _note(self, node: NodeId) -> None:
        self._since_s[node] = self._clock.wall()
        self.version += 1

    def _log(self, level: int, name: str, **told: object) -> None:
        allowed, suppressed = self._lines.says(self._clock.monotonic())
        if allowed:
            event(log, level, name, **told, **({"more_before": suppressed} if suppressed else {}))


def _reason(known: Node) -> str | None:
    """Why a node that was online is not; None: a new session has begun."""
    birth, state = known.birth, known.state
    if birth is not None and state is not None and state.session == birth.session:
        if state.state is NodeState.STOPPED:
            return "stopped cleanly"
        if state.state is NodeState.OFFLINE:
            return "its connection broke (last will)"
    if not known.beats:
        return "its heartbeat is overdue"
    return None
