"""Which serving node of a tier is avoided after missing results, and for how long. Pure; the time is passed in.

A node is avoided after at least two missing results, nobody being served in between, of at least two devices, or of the
only device that makes requests: one device alone cannot take a node from the others. After a pause it is tried again;
the pause doubles each time that it fails soon after. A device whose missing results others contradicted does not count
until it was served itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from broker.vocabulary import NodeId

MIN_MISSING = 2  # results, nobody being served in between
MIN_DEVICES = 2  # whose results are missing
MAX_CONTRADICTED = 2  # missing results of a device, while others were served: the next ones do not count
ONLY_DEVICE_S = 60.0  # a device that nobody but itself has made requests beside for so long is the only one
FIRST_PAUSE_S, MAX_PAUSE_S = 10.0, 600.0


@dataclass(slots=True)
class _Health:
    """Of one serving node. `missing`: results by device since somebody was served; `until_s`: avoided before that."""

    missing: Counter[NodeId] = field(default_factory=Counter)
    contradicted: Counter[NodeId] = field(default_factory=Counter)
    pause_s: float = 0.0
    until_s: float = float("-inf")


class Failover:
    """Mutable. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._nodes: dict[NodeId, _Health] = {}
        self._requested_s: dict[NodeId, float] = {}

    def on_requests(self, devices: Iterable[NodeId], now_s: float) -> None:
        """These devices have made requests, wherever they were decided to run."""
        self._requested_s.update(dict.fromkeys(devices, now_s))

    def on_results(self, node: NodeId, served: Collection[NodeId], missing: Collection[NodeId], now_s: float) -> bool:
        """Take what `node` did in one round: devices that it served, and those whose result is missing.

        Returns whether the node is avoided from now on.
        """
        health = self._nodes.setdefault(node, _Health())
        if served:
            self._contradict(health, served, missing)
            return False
        for device in missing:
            if health.contradicted[device] < MAX_CONTRADICTED or self._is_only_device(device, now_s):
                health.missing[device] += 1
        if health.missing.total() < MIN_MISSING:
            return False
        if len(health.missing) < MIN_DEVICES and not self._is_only_device(next(iter(health.missing)), now_s):
            return False
        again = now_s - health.until_s <= health.pause_s  # it did not last longer than it was avoided before
        health.pause_s = min(MAX_PAUSE_S, 2 * health.pause_s) if again else FIRST_PAUSE_S
        health.until_s = now_s + health.pause_s
        health.missing.clear()
        return True

    def avoided_until_s(self, node: NodeId) -> float:
        """The node is avoided before that time, where its tier has another one."""
        health = self._nodes.get(node)
        return float("-inf") if health is None else health.until_s

    def _contradict(self, health: _Health, served: Collection[NodeId], missing: Collection[NodeId]) -> None:
        # Missing results of two devices may be the node's, which has recovered; that of one alone is contradicted.
        contradicted = {*health.missing, *missing} if len(health.missing) < MIN_DEVICES else set(missing)
        for device in contradicted.difference(served):
            health.contradicted[device] += 1
        for device in served:
            del health.contradicted[device]
        health.missing.clear()

    def _is_only_device(self, device: NodeId, now_s: float) -> bool:
        since_s = now_s - ONLY_DEVICE_S
        return not any(at_s >= since_s for other, at_s in self._requested_s.items() if other != device)
