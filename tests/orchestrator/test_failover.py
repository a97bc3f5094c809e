"""Which node of a tier serves after missing results, and when the first one is tried again."""

from __future__ import annotations

import pytest

from broker.messages import Birth, Heartbeat, State
from broker.vocabulary import NodeId, NodeState, Tier
from orchestrator.failover import FIRST_PAUSE_S, MAX_PAUSE_S
from orchestrator.nodes import Registry, ServingNodes

EDGE_A, EDGE_B = NodeId("edge-a"), NodeId("edge-b")
S1, S2, S3 = (NodeId(f"s{number}") for number in (1, 2, 3))


class _Site:
    """Two edge nodes that beat for ever, and a clock that is set by hand."""

    def __init__(self, serving_nodes: ServingNodes | None = None, nodes: tuple[NodeId, ...] = (EDGE_A, EDGE_B)) -> None:
        self.now_s = 100.0
        self.registry = Registry(1e9, serving_nodes)
        for node in nodes:
            self.registry.on_birth(node, Birth(session=1, tier=Tier.EDGE, agent_version="1", vcpus=1, models={}))
            self.registry.on_state(node, State(session=1, state=NodeState.ONLINE))
            self.registry.on_heartbeat(node, Heartbeat(session=1, seq=0), 0.0)
        self.registry.on_requests([S1, S2, S3], self.now_s)

    @property
    def serving(self) -> NodeId | None:
        node = self.registry.serving(Tier.EDGE, self.now_s)
        return None if node is None else node.node

    def results(self, *, served: tuple[NodeId, ...] = (), missing: tuple[NodeId, ...] = ()) -> None:
        """Of the node that serves now, decided now."""
        node = self.serving
        assert node is not None
        self.registry.on_results(node, served, missing, self.now_s, self.now_s)

    def fail(self) -> None:
        self.results(missing=(S1, S2))


@pytest.mark.parametrize("named", [None, {Tier.EDGE: [EDGE_A, EDGE_B]}])
@pytest.mark.parametrize("rounds", [[(S1, S2)], [(S1,), (S2,)]])
def test_after_missing_results_of_two_devices_the_next_node_serves(
    named: ServingNodes | None, rounds: list[tuple[NodeId, ...]]
) -> None:
    """In one round or one after the other, whether serving nodes are named or not."""
    site = _Site(named)
    assert EDGE_A == site.serving
    for missing in rounds:
        site.results(missing=missing)

    assert EDGE_B == site.serving


def test_one_device_of_several_takes_no_node_away() -> None:
    """However often its results are missing, in between others' or not."""
    site = _Site()
    for _ in range(10):
        site.results(missing=(S1,))
    site.results(served=(S2,), missing=(S1,))
    for _ in range(10):
        site.results(missing=(S1,))

    assert EDGE_A == site.serving


def test_a_liar_that_was_contradicted_twice_does_not_count_beside_another() -> None:
    """One missing result of an honest device would be the second witness."""
    site = _Site()
    for _ in range(2):
        site.results(missing=(S1,))
        site.results(served=(S2,))
    site.results(missing=(S1,))
    site.results(missing=(S3,))

    assert EDGE_A == site.serving


def test_the_only_device_that_makes_requests_needs_two_missing_results() -> None:
    """Others made none for more than a minute."""
    site = _Site()
    site.now_s += 61.0
    site.registry.on_requests([S1], site.now_s)
    site.results(missing=(S1,))
    assert EDGE_A == site.serving
    site.results(missing=(S1,))

    assert EDGE_B == site.serving


def test_the_first_node_is_tried_again_after_a_pause_that_doubles() -> None:
    """10 s, 20 s, ... up to ten minutes, as long as it fails each time."""
    site, pause_s = _Site(), FIRST_PAUSE_S
    for _ in range(9):
        assert EDGE_A == site.serving
        site.fail()
        site.now_s += pause_s - 0.1
        assert EDGE_B == site.serving
        site.now_s += 0.1
        pause_s = min(MAX_PAUSE_S, 2 * pause_s)

    assert MAX_PAUSE_S == pause_s


def test_a_node_that_served_for_longer_than_its_pause_begins_with_the_first_pause() -> None:
    """It was back for 21 s after a pause of 20 s."""
    site = _Site()
    for pause_s in (FIRST_PAUSE_S, 2 * FIRST_PAUSE_S):
        site.fail()
        site.now_s += pause_s
    site.results(served=(S1, S2))
    site.now_s += 21.0
    site.fail()
    site.now_s += FIRST_PAUSE_S

    assert EDGE_A == site.serving


def test_where_all_nodes_fail_each_is_tried_in_turn() -> None:
    """The one whose pause ends first serves; there is always one."""
    site = _Site()
    site.fail()
    site.now_s += 1.0
    site.fail()
    assert EDGE_A == site.serving  # avoided until 110, edge-b until 111
    site.fail()

    assert EDGE_B == site.serving


def test_the_only_node_of_a_tier_serves_whatever_is_missing() -> None:
    """There is no next one."""
    site = _Site(nodes=(EDGE_A,))
    site.fail()
    site.fail()

    assert EDGE_A == site.serving


def test_results_that_were_decided_before_a_node_came_back_do_not_count() -> None:
    """They are of the time in which it failed."""
    site = _Site()
    decided_s = site.now_s
    site.fail()
    site.now_s += FIRST_PAUSE_S
    assert EDGE_A == site.serving
    site.registry.on_results(EDGE_A, (), (S1, S2), decided_s, site.now_s)

    assert EDGE_A == site.serving
