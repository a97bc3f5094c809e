"""What a site's devices may do, from what its nodes told."""

from __future__ import annotations

import pytest

from broker.messages import Birth, Heartbeat, State, Telemetry
from broker.vocabulary import Action, Link, ModelName, NodeId, NodeState, Tier
from configs.orchestrator import ActionSpace
from orchestrator.accuracy import Accuracies
from orchestrator.nodes import Registry
from orchestrator.observe import Observer

EDGE, CLOUD, S1, S2 = (NodeId(name) for name in ("edge", "cloud", "s1", "s2"))


def _joined(registry: Registry, node: NodeId, tier: Tier, models: str, session: int = 1) -> None:
    files = {f"d{digit}": "0" * 64 for digit in models}
    registry.on_birth(node, Birth(session=session, tier=tier, agent_version="1", vcpus=1, models=files))
    registry.on_state(node, State(session=session, state=NodeState.ONLINE))
    registry.on_heartbeat(node, Heartbeat(session=session, seq=0), 0.0)


def _told(node: NodeId, cpu_percent: float, registry: Registry) -> None:
    told = Telemetry(seq=0, cpu_percent=cpu_percent, memory_percent=10.0, link=Link.REGULAR)
    registry.on_telemetry(node, told)


@pytest.fixture
def registry() -> Registry:
    """An edge with three models, a cloud with two, s1 with all eight and s2 with d7 alone."""
    registry = Registry(3.0)
    _joined(registry, EDGE, Tier.EDGE, "740")
    _joined(registry, CLOUD, Tier.CLOUD, "54")
    _joined(registry, S1, Tier.END, "76543210")
    _joined(registry, S2, Tier.END, "7")
    return registry


def _texts(actions: tuple[Action, ...]) -> str:
    return " ".join(map(str, actions))


def test_in_the_papers_space_each_tier_runs_its_most_accurate_model(registry: Registry, accuracies: Accuracies) -> None:
    """d0 (89.9) on the edge, d4 (88.9) before d5 (87.0) in the cloud."""
    observation = Observer(registry, accuracies).observe([S2, S1], 890, 0.0)

    assert (S1, S2) == observation.devices
    assert "d0@end d1@end d2@end d3@end d4@end d5@end d6@end d7@end d0@edge d4@cloud" == _texts(observation.actions[0])
    assert "d7@end d0@edge d4@cloud" == _texts(observation.actions[1])


def test_in_the_full_space_each_tier_runs_any_model_that_it_has(registry: Registry, accuracies: Accuracies) -> None:
    """In the manifest's order: local ones, then the edge's, then the cloud's; at most 24."""
    observer = Observer(registry, accuracies, ActionSpace.FULL)
    observation = observer.observe([S2], 890, 0.0)
    for node, tier in ((EDGE, Tier.EDGE), (CLOUD, Tier.CLOUD)):
        _joined(registry, node, tier, "01234567", session=2)

    assert "d7@end d0@edge d4@edge d7@edge d4@cloud d5@cloud" == _texts(observation.actions[0])
    assert 24 == len(observer.observe([S1], 890, 0.0).actions[0])


def test_actions_follow_what_nodes_say_and_who_is_there(registry: Registry, accuracies: Accuracies) -> None:
    """A new birth of the device, an edge that stops, and its return with other models."""
    observer = Observer(registry, accuracies)
    seen = [observer.observe([S2], 890, 0.0).actions[0]]
    _joined(registry, S2, Tier.END, "3", session=2)
    seen.append(observer.observe([S2], 890, 0.0).actions[0])
    registry.on_state(EDGE, State(session=1, state=NodeState.STOPPED))
    seen.append(observer.observe([S2], 890, 0.0).actions[0])
    _joined(registry, EDGE, Tier.EDGE, "1", session=2)
    seen.append(observer.observe([S2], 890, 0.0).actions[0])

    assert ["d7@end d0@edge d4@cloud", "d3@end d0@edge d4@cloud", "d3@end d4@cloud", "d3@end d1@edge d4@cloud"] == [
        _texts(actions) for actions in seen
    ]


def test_equal_lists_of_actions_are_one_object(registry: Registry, accuracies: Accuracies) -> None:
    """Also across observations, for two devices with the same models."""
    _joined(registry, S2, Tier.END, "01234567", session=2)
    observer = Observer(registry, accuracies)
    first, second = observer.observe([S1, S2], 890, 0.0), observer.observe([S2], 850, 1.0)

    assert first.actions[0] is first.actions[1] is second.actions[0]


def test_the_state_is_what_telemetry_said_last(registry: Registry, accuracies: Accuracies) -> None:
    """None before the first word and of a node that is not there; the last word counts."""
    observer = Observer(registry, accuracies)
    _told(S1, 5.0, registry)
    before = observer.observe([S1, S2], 890, 0.0).state
    _told(S1, 80.0, registry)
    _told(EDGE, 33.0, registry)
    after = observer.state([S1], 0.0)

    assert (None, None, 5.0, None) == (before.edge, before.cloud, before.devices[0].cpu_percent, before.devices[1])  # type: ignore[union-attr]
    assert (33.0, 80.0) == (after.edge.cpu_percent, after.devices[0].cpu_percent)  # type: ignore[union-attr]


def test_a_device_that_can_do_nothing_is_left_out(accuracies: Accuracies) -> None:
    """No models, and no tier that serves."""
    registry = Registry(3.0)
    _joined(registry, S1, Tier.END, "")

    assert () == Observer(registry, accuracies).observe([S1], 0, 0.0).devices


def test_a_model_that_nobody_knows_is_no_action(accuracies: Accuracies) -> None:
    """A later manifest's, say."""
    registry = Registry(3.0)
    _joined(registry, S1, Tier.END, "79")
    observation = Observer(registry, accuracies).observe([S1], 0, 0.0)

    assert (Action(Tier.END, ModelName("d7")),) == observation.actions[0]
