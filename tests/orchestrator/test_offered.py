"""What the orchestrator logs of the models that nodes offer."""

from __future__ import annotations

import pytest

from broker.clock import ManualClock
from broker.vocabulary import NodeId
from orchestrator.offered import Fault, FaultLog


def _unknown(*names: str) -> list[Fault]:
    return [Fault("models_unknown", names, "mend it")]


def test_a_fault_of_a_node_is_logged_once_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    """However often the node announces itself, and whatever it calls its models; another node's has its own line."""
    clock = ManualClock()
    faults = FaultLog(clock)
    for number in range(1000):
        faults.note(NodeId("s1"), _unknown(f"net{number}"))
        clock.advance(0.01)
    faults.note(NodeId("s2"), _unknown("net"))
    assert ["s1", "s2"] == [line.partition("node=")[2].partition(" ")[0] for line in caplog.messages]
    clock.advance(3600)
    faults.note(NodeId("s1"), _unknown("net"))

    assert 3 == len(caplog.messages)


def test_at_most_ten_names_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """A birth may have 256 models."""
    FaultLog(ManualClock()).note(NodeId("s1"), _unknown(*(f"net{number}" for number in range(256))))

    assert "net9 and 246 more" in caplog.text
    assert "net10" not in caplog.text


def test_many_nodes_with_faults_do_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A thousand at once are some lines, and the next line says how many there were."""
    clock = ManualClock()
    faults = FaultLog(clock)
    for number in range(1000):
        faults.note(NodeId(f"s{number}"), _unknown("net"))
    assert len(caplog.messages) <= 5
    clock.advance(60)
    faults.note(NodeId("late"), _unknown("net"))

    assert "not_logged=995" in caplog.messages[-1]
