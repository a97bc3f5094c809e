"""The raw state of equation 3: CPU, memory and link of the edge, the cloud, and each active device, in that order.

Making it discrete is the Q-table's business (`orchestrator.agents.discretisation`); other agents take it as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from broker.messages import Telemetry
from broker.vocabulary import Link


@dataclass(frozen=True, slots=True)
class Resources:
    """P, M and B of one node (section 4.1), in % and as its monitoring classified and measured the link."""

    cpu_percent: float
    memory_percent: float
    link: Link
    rtt_ms: float | None = None
    uplink_mbit_s: float | None = None
    queue_length: int = 0


@dataclass(frozen=True, slots=True)
class SystemState:
    """Equation 3. None: no telemetry yet, or no such node online. `devices` is in the order of the observation."""

    edge: Resources | None
    cloud: Resources | None
    devices: tuple[Resources | None, ...]


def resources(telemetry: Telemetry) -> Resources:
    """What one node's last telemetry says of its resources."""
    return Resources(
        telemetry.cpu_percent,
        telemetry.memory_percent,
        telemetry.link,
        telemetry.rtt_ms,
        telemetry.uplink_mbit_s,
        telemetry.queue_length,
    )
