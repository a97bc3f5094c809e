"""The raw state as Table 3's discrete values: what indexes a row of the Q-table, and nobody else's business.

| component | values |
|---|---|
| CPU of the edge, of the cloud | nine levels, 0 to 8, of equal width |
| CPU of a device; memory of any node | 0 available, 1 busy (at or above a threshold of the configuration) |
| link of any node | 0 regular, 1 weak |

A node of which nothing is known yet counts as idle on a regular link; one that is absent has no actions, which is part
of the row's key as well.
"""

from __future__ import annotations

from broker.vocabulary import Link
from configs.orchestrator import StateSection
from orchestrator.state import Resources, SystemState

CPU_LEVELS = 9
DiscreteState = tuple[int, ...]  # three values per node: edge, cloud, each device


def discretise(state: SystemState, thresholds: StateSection) -> DiscreteState:
    """Table 3's values of equation 3's components, in its order."""
    values: list[int] = []
    for node in (state.edge, state.cloud):
        level = 0 if node is None else min(CPU_LEVELS - 1, int(node.cpu_percent * CPU_LEVELS / 100))
        values += (level, *_memory_and_link(node, thresholds))
    for device in state.devices:
        busy = device is not None and device.cpu_percent >= thresholds.cpu_busy_percent
        values += (int(busy), *_memory_and_link(device, thresholds))
    return tuple(values)


def _memory_and_link(node: Resources | None, thresholds: StateSection) -> tuple[int, int]:
    if node is None:
        return 0, 0
    return int(node.memory_percent >= thresholds.memory_busy_percent), int(node.link is Link.WEAK)
