"""Table 3."""

from __future__ import annotations

import pytest

from broker.vocabulary import Link
from configs.orchestrator import StateSection
from orchestrator.agents.discretisation import discretise
from orchestrator.state import Resources, SystemState

THRESHOLDS = StateSection(cpu_busy_percent=80.0, memory_busy_percent=90.0)


def test_values_are_in_equation_3s_order() -> None:
    """CPU, memory, link of the edge, of the cloud, of each device."""
    state = SystemState(
        Resources(50.0, 95.0, Link.REGULAR),
        Resources(99.0, 10.0, Link.WEAK),
        (Resources(80.0, 10.0, Link.REGULAR), Resources(79.9, 90.0, Link.WEAK)),
    )

    assert (4, 1, 0, 8, 0, 1, 1, 0, 0, 0, 1, 1) == discretise(state, THRESHOLDS)


@pytest.mark.parametrize(("cpu_percent", "level"), [(0.0, 0), (11.1, 0), (11.2, 1), (88.8, 7), (88.9, 8), (100.0, 8)])
def test_cpu_of_the_edge_has_nine_levels(cpu_percent: float, level: int) -> None:
    """Of equal width; all of it is level 8."""
    state = SystemState(Resources(cpu_percent, 0.0, Link.REGULAR), None, ())

    assert (level, 0, 0, 0, 0, 0) == discretise(state, THRESHOLDS)


def test_what_is_unknown_counts_as_idle() -> None:
    """No telemetry yet."""
    assert (0,) * 9 == discretise(SystemState(None, None, (None,)), THRESHOLDS)
