"""When a node's birth or state is asked for once more."""

from __future__ import annotations

import pytest

from broker.messages import Birth, Heartbeat, State
from broker.vocabulary import NodeId, NodeState, Tier
from orchestrator.hearing_again import FIRST_AFTER_S, MOST_S, HearingAgain
from orchestrator.nodes import Registry

S1, S2 = NodeId("s1"), NodeId("s2")


@pytest.fixture
def asked() -> list[NodeId]:
    """The nodes that were asked about."""
    return []


@pytest.fixture
def registry() -> Registry:
    return Registry(3.0)


@pytest.fixture
def hearing(registry: Registry, asked: list[NodeId]) -> HearingAgain:
    return HearingAgain(registry, asked.append)


def _birth(registry: Registry, session: int) -> None:
    registry.on_birth(S1, Birth(session=session, tier=Tier.END, agent_version="1", vcpus=1, models={}))


def _beats(hearing: HearingAgain, node: NodeId, session: int, from_s: int, to_s: int) -> None:
    for second in range(from_s, to_s):
        hearing.on_heartbeat(node, Heartbeat(session=session, seq=second), float(second))


def test_a_node_that_is_known_is_never_asked_about(
    registry: Registry, hearing: HearingAgain, asked: list[NodeId]
) -> None:
    """Birth, state and heartbeat of one session."""
    _birth(registry, 5)
    registry.on_state(S1, State(session=5, state=NodeState.ONLINE))
    _beats(hearing, S1, 5, 0, 100)

    assert [] == asked
    assert frozenset({S1}) == registry.online_devices(100.0)


def test_what_is_late_by_less_than_two_seconds_is_waited_for(
    registry: Registry, hearing: HearingAgain, asked: list[NodeId]
) -> None:
    """Retained messages and heartbeats arrive in any order after a connect."""
    _beats(hearing, S1, 5, 0, int(FIRST_AFTER_S))
    _birth(registry, 5)
    registry.on_state(S1, State(session=5, state=NodeState.ONLINE))
    _beats(hearing, S1, 5, int(FIRST_AFTER_S), 100)

    assert [] == asked


@pytest.mark.parametrize("missed", ["both", "state", "the new birth"])
def test_what_was_missed_is_asked_for_with_growing_pauses(
    registry: Registry, hearing: HearingAgain, asked: list[NodeId], missed: str
) -> None:
    """After 2 s, 4 s later, 8 s later, and at last once a minute; of another node nothing."""
    if missed != "both":
        _birth(registry, 5)
    if missed == "the new birth":
        registry.on_state(S1, State(session=5, state=NodeState.ONLINE))
    _beats(hearing, S1, 6 if missed == "the new birth" else 5, 0, 15)
    assert [S1] * 3 == asked

    asked.clear()
    _beats(hearing, S1, 7, 15, 15 + 10 * int(MOST_S))
    assert 9 <= len(asked) <= 14


def test_a_node_that_was_missed_twice_is_asked_about_soon_again(
    registry: Registry, hearing: HearingAgain, asked: list[NodeId]
) -> None:
    """Long pauses belong to one miss, not to the node."""
    _beats(hearing, S1, 5, 0, 60)
    _birth(registry, 5)
    registry.on_state(S1, State(session=5, state=NodeState.ONLINE))
    _beats(hearing, S1, 5, 60, 62)
    asked.clear()
    _beats(hearing, S1, 6, 62, 65)

    assert [S1] == asked
