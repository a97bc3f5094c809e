"""Who is online: birth, matching state, recent heartbeat."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import Any

import pytest

from broker.errors import Refused
from broker.messages import Birth, Heartbeat, State
from broker.vocabulary import NodeId, NodeState, Tier
from orchestrator.nodes import Registry

S1 = NodeId("s1")


def _birth(session: int, tier: Tier = Tier.END) -> Birth:
    return Birth(session=session, tier=tier, agent_version="1", vcpus=1, models={})


def _joined(registry: Registry, node: NodeId, session: int, now_s: float, tier: Tier = Tier.END) -> None:
    registry.on_birth(node, _birth(session, tier))
    registry.on_state(node, State(session=session, state=NodeState.ONLINE))
    registry.on_heartbeat(node, Heartbeat(session=session, seq=0), now_s)


def test_a_node_is_online_after_birth_state_and_heartbeat_of_one_session() -> None:
    """None of the three alone is enough, in whatever order they come."""
    registry = Registry(3.0)
    registry.on_heartbeat(S1, Heartbeat(session=5, seq=0), 10.0)
    assert frozenset() == registry.online_devices(10.0)
    registry.on_state(S1, State(session=5, state=NodeState.ONLINE))
    assert frozenset() == registry.online_devices(10.0)
    registry.on_birth(S1, _birth(5))
    assert frozenset({S1}) == registry.online_devices(10.0)


def test_a_silent_node_is_gone_after_the_timeout() -> None:
    """Up to the timeout it is online, from then on not, and with a heartbeat it is back."""
    registry = Registry(3.0)
    _joined(registry, S1, 5, 10.0)
    assert frozenset({S1}) == registry.online_devices(12.9)
    assert frozenset() == registry.online_devices(13.0)
    registry.on_heartbeat(S1, Heartbeat(session=5, seq=1), 14.0)
    assert frozenset({S1}) == registry.online_devices(14.0)


def test_a_late_will_of_an_old_session_does_not_end_a_live_node() -> None:
    """It is not of the session of the latest birth: refused, and the node stays online."""
    registry = Registry(3.0)
    _joined(registry, S1, 6, 10.0)
    with pytest.raises(Refused, match="other_session"):
        registry.on_state(S1, State(session=5, state=NodeState.OFFLINE))
    assert frozenset({S1}) == registry.online_devices(11.0)


def test_a_node_whose_clock_went_back_joins_again() -> None:
    """A board without a battery clock reboots in the past: sessions are compared for equality, not by size."""
    registry = Registry(3.0)
    _joined(registry, S1, 6, 10.0)
    _joined(registry, S1, 5, 10.5)
    assert frozenset({S1}) == registry.online_devices(10.5)


def test_a_state_that_comes_before_its_birth_counts_once_the_birth_is_there() -> None:
    """Retained messages of a new session may arrive in any order."""
    registry = Registry(3.0)
    _joined(registry, S1, 6, 10.0)
    with pytest.raises(Refused, match="other_session"):
        registry.on_state(S1, State(session=7, state=NodeState.ONLINE))
    registry.on_birth(S1, _birth(7))
    registry.on_heartbeat(S1, Heartbeat(session=7, seq=0), 10.5)
    assert frozenset({S1}) == registry.online_devices(10.5)


@pytest.mark.parametrize("state", [NodeState.STOPPED, NodeState.OFFLINE])
def test_a_node_that_says_it_left_is_gone_at_once(state: NodeState) -> None:
    """Its recent heartbeat does not matter then."""
    registry = Registry(3.0)
    _joined(registry, S1, 6, 10.0)
    assert frozenset({S1}) == registry.online_devices(10.1)
    registry.on_state(S1, State(session=6, state=state))
    assert frozenset() == registry.online_devices(10.1)


def test_a_heartbeat_of_another_session_does_not_keep_a_node_online() -> None:
    """Session 7 beats, but nothing was born in it."""
    registry = Registry(3.0)
    _joined(registry, S1, 6, 10.0)
    assert frozenset({S1}) == registry.online_devices(10.0)
    registry.on_heartbeat(S1, Heartbeat(session=7, seq=0), 10.5)
    assert frozenset() == registry.online_devices(10.5)


def test_the_first_online_node_by_id_serves_a_tier() -> None:
    """edge-a serves while it is there, then edge-b, then nobody."""
    registry = Registry(3.0)
    _joined(registry, NodeId("edge-b"), 1, 12.0, Tier.EDGE)
    _joined(registry, NodeId("edge-a"), 1, 10.0, Tier.EDGE)
    serving = [registry.serving(Tier.EDGE, now_s) for now_s in (12.5, 13.5, 15.5)]

    assert ["edge-a", "edge-b", None] == [node.node if node else None for node in serving]
    assert frozenset() == registry.online_devices(12.5)


EDGE_A, EDGE_B = NodeId("edge-a"), NodeId("edge-b")


def test_a_birth_on_a_serving_tier_of_a_node_that_is_not_named_is_refused() -> None:
    """The edge node keeps its tier beside an end device with a lower id that says it is the edge."""
    registry = Registry(3.0, {Tier.EDGE: [EDGE_A]})
    _joined(registry, EDGE_A, 1, 10.0, Tier.EDGE)
    impostor = NodeId("a-device")
    _joined(registry, impostor, 1, 10.0)
    with pytest.raises(Refused, match=r"not_a_serving_node.*serving_nodes\.edge .* names edge-a"):
        _joined(registry, impostor, 2, 10.0, Tier.EDGE)
    with pytest.raises(Refused, match=r"not_a_serving_node.*serving_nodes\.cloud .* names none"):
        _joined(registry, impostor, 3, 10.0, Tier.CLOUD)

    assert EDGE_A == registry.serving(Tier.EDGE, 10.0).node  # type: ignore[union-attr]
    assert registry.serving(Tier.CLOUD, 10.0) is None
    assert Tier.END is registry.get(impostor).tier  # type: ignore[union-attr]


def test_serving_nodes_serve_in_the_order_in_which_they_are_named() -> None:
    """edge-b, which is named first, though edge-a comes first by its id; edge-a while edge-b is silent."""
    registry = Registry(3.0, {Tier.EDGE: [EDGE_B, EDGE_A]})
    _joined(registry, EDGE_A, 1, 12.0, Tier.EDGE)
    _joined(registry, EDGE_B, 1, 10.0, Tier.EDGE)
    serving = [registry.serving(Tier.EDGE, now_s) for now_s in (12.5, 13.5)]

    assert [EDGE_B, EDGE_A] == [node.node if node else None for node in serving]


@pytest.mark.parametrize(
    ("named", "first", "then"), [(None, Tier.END, Tier.EDGE), ({Tier.EDGE: [S1]}, Tier.EDGE, Tier.END)]
)
def test_a_change_of_tier_is_refused(named: Any, first: Tier, then: Tier) -> None:
    """In any later session, whether serving nodes are named or not; the node is as it was."""
    registry = Registry(3.0, named)
    _joined(registry, S1, 1, 10.0, first)
    with pytest.raises(Refused, match="tier_changed"):
        registry.on_birth(S1, _birth(2, then))

    assert first is registry.get(S1).tier  # type: ignore[union-attr]


def test_changed_serving_nodes_count_for_births_that_are_known_already() -> None:
    """A refused one is accepted when its node is named, and one that is not named any more serves no longer."""
    registry = Registry(3.0, {Tier.EDGE: [EDGE_A]})
    _joined(registry, EDGE_A, 1, 10.0, Tier.EDGE)
    with suppress(Refused):
        registry.on_birth(EDGE_B, _birth(1, Tier.EDGE))
    registry.on_state(EDGE_B, State(session=1, state=NodeState.ONLINE))
    registry.on_heartbeat(EDGE_B, Heartbeat(session=1, seq=0), 10.0)
    registry.reconfigure(3.0, {Tier.EDGE: [EDGE_B]})
    changed = registry.serving(Tier.EDGE, 10.0)
    registry.reconfigure(3.0, {Tier.EDGE: [EDGE_A, EDGE_B]})
    back = registry.serving(Tier.EDGE, 10.0)
    registry.reconfigure(3.0, {Tier.EDGE: []})

    assert [EDGE_B, EDGE_A] == [node.node if node else None for node in (changed, back)]
    assert registry.serving(Tier.EDGE, 10.0) is None


def test_who_is_online_is_what_counting_all_would_say() -> None:
    """Over 2,000 random births, states, heartbeats and silences of six nodes on three tiers."""
    random, registry, now_s = Random(3), Registry(3.0), 0.0
    said: dict[NodeId, dict[str, Any]] = {NodeId(f"n{number}"): {} for number in range(6)}
    tiers = dict(zip(said, (Tier.END, Tier.END, Tier.END, Tier.EDGE, Tier.EDGE, Tier.CLOUD), strict=True))
    for _ in range(2000):
        now_s += random.choice((0.0, 0.1, 0.5, 1.0))
        node, session = random.choice(list(said)), random.randrange(2)
        kind = random.choice(("birth", "online", "stopped", "beat", "beat", "beat"))
        if kind == "birth":
            registry.on_birth(node, _birth(session, tiers[node]))
            said[node].update(birth=session, state=None)
            said[node]["state"] = registry.get(node).state  # type: ignore[union-attr]  # an early one may count now
        elif kind == "beat":
            registry.on_heartbeat(node, Heartbeat(session=session, seq=0), now_s)
            said[node]["beat"] = (session, now_s)
        else:
            state = State(session=session, state=NodeState.ONLINE if kind == "online" else NodeState.STOPPED)
            with suppress(Refused):
                registry.on_state(node, state)
                said[node]["state"] = state
        online = {node for node, what in said.items() if _counts(what, now_s)}

        assert {node for node in online if tiers[node] is Tier.END} == registry.online_devices(now_s)
        for tier in (Tier.EDGE, Tier.CLOUD):
            serving = registry.serving(tier, now_s)
            expected = min((node for node in online if tiers[node] is tier), default=None)
            assert expected == (None if serving is None else serving.node)


def _counts(what: dict[str, Any], now_s: float) -> bool:
    session, beat_s = what.get("beat", (None, 0.0))
    state = what.get("state")
    born = "birth" in what and state is not None and what["birth"] == state.session == session
    return born and state.state is NodeState.ONLINE and now_s - beat_s < 3.0
