"""Nodes whose heartbeat is heard but whose birth or state was missed: both are retained, so the broker is asked again.

A broker drops what a full queue cannot take, without a word, and a birth is said once a connection. Without this, all
that such a node asks and reports would be refused (`unknown_node`) until it happened to connect again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from broker.events import event
from broker.messages import Heartbeat
from broker.vocabulary import NodeId
from orchestrator.nodes import Registry

log = logging.getLogger(__name__)

FIRST_AFTER_S = 2.0  # birth and state may be on their way behind the heartbeat
MOST_S = 60.0  # the pauses double up to this, for a node that never said them


@dataclass(slots=True)
class _Missed:
    next_s: float
    pause_s: float = FIRST_AFTER_S


class HearingAgain:
    """Passes heartbeats on to the registry, and calls `ask(node)` when a node's birth or state has to be asked for."""

    def __init__(self, registry: Registry, ask: Callable[[NodeId], None]) -> None:
        self._registry = registry
        self._ask = ask
        self._missed: dict[NodeId, _Missed] = {}

    def on_heartbeat(self, node: NodeId, heartbeat: Heartbeat, received_s: float) -> None:
        """Raises Refused (`too_many_nodes`)."""
        self._registry.on_heartbeat(node, heartbeat, received_s)
        if self._known(node, heartbeat.session):
            self._missed.pop(node, None)
            return
        missed = self._missed.setdefault(node, _Missed(received_s + FIRST_AFTER_S))
        if received_s >= missed.next_s:
            missed.pause_s = min(2 * missed.pause_s, MOST_S)
            missed.next_s = received_s + missed.pause_s
            event(log, logging.WARNING, "birth_or_state_missed", node=node, session=heartbeat.session)
            self._ask(node)

    def _known(self, node: NodeId, session: int) -> bool:
        known = self._registry.get(node)
        if known is not None and known.refused_birth is not None and known.refused_birth.session == session:
            return True  # refused again, whenever it is asked for
        if known is None or known.birth is None or known.state is None:
            return False
        return known.birth.session == known.state.session == session
