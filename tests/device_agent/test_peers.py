"""Who of the others is there: judged by state, last will and heartbeat, each under the present session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from broker.client import Endpoint, Inbound, MqttClient
from broker.messages import Birth, Goal, Heartbeat, Message, State
from broker.ports import free_port
from broker.topics import Address, Channel
from broker.vocabulary import NodeId, NodeState, SiteId, Tier
from device_agent.requester.peers import Peers

SITE, EDGE, ORCHESTRATOR = SiteId("home"), NodeId("edge"), NodeId("orchestrator")
OFFLINE, ONLINE, STOPPED = NodeState.OFFLINE, NodeState.ONLINE, NodeState.STOPPED


class Told:
    """Peers of a device that is linked to nobody, and what it is told of them."""

    def __init__(self) -> None:
        client = MqttClient(Endpoint(port=free_port()), SITE, NodeId("s1"), "agent")
        self.went: list[tuple[NodeId, str]] = []
        self.peers = Peers(client, lambda _own: None, lambda node, how: self.went.append((node, how)))

    def birth(self, session: int) -> None:
        body = Birth(session=session, tier=Tier.EDGE, agent_version="1", vcpus=1, models={})
        self.peers.birth(self._inbound(EDGE, Channel.BIRTH, body))

    def state(self, session: int, state: NodeState, node: NodeId = EDGE) -> None:
        self.peers.state(self._inbound(node, Channel.STATE, State(session=session, state=state)))

    def beat(self, session: int, node: NodeId = EDGE) -> None:
        self.peers.heartbeat(self._inbound(node, Channel.HEARTBEAT, Heartbeat(session=session, seq=1)))

    def goal(self, node: NodeId = ORCHESTRATOR) -> None:
        body = Goal(accuracy_floor_percent=85.0, policy="factored", policy_version=1)
        self.peers.goal(self._inbound(node, Channel.GOAL, body))

    def _inbound(self, node: NodeId, channel: Channel, body: Message) -> Inbound:
        return Inbound(Address(SITE, node, channel), body, 0.0)


def hearing(tell: Callable[[Told], None]) -> Told:
    """What is known after `tell`, inside a loop."""

    async def scenario() -> Told:
        told = Told()
        told.peers.watch(EDGE)
        tell(told)
        return told

    return asyncio.run(scenario())


def test_a_serving_node_that_says_goodbye_is_gone() -> None:
    """`stopped` in its present session, and the device is told once it is heard."""

    def tell(told: Told) -> None:
        told.birth(7)
        told.state(7, ONLINE)
        told.state(7, STOPPED)

    told = hearing(tell)

    assert ("stopped", [(EDGE, "stopped")]) == (told.peers.gone(EDGE), told.went)


@pytest.mark.parametrize("beats", [False, True])
def test_a_late_will_of_a_former_session_changes_nothing(beats: bool) -> None:
    """Whether or not a heartbeat of the new session has come yet."""

    def tell(told: Told) -> None:
        told.birth(7)
        told.birth(8)
        told.state(8, ONLINE)
        if beats:
            told.beat(8)
        told.state(7, OFFLINE)

    assert None is hearing(tell).peers.gone(EDGE)


def test_a_node_that_dies_before_its_first_heartbeat_is_gone() -> None:
    """The former session's heartbeats say nothing about the new one."""

    def tell(told: Told) -> None:
        told.birth(7)
        told.beat(7)
        told.birth(8)
        told.state(8, OFFLINE)

    assert "offline" == hearing(tell).peers.gone(EDGE)


def test_a_node_whose_birth_and_state_were_dropped_is_there_by_its_heartbeat() -> None:
    """A broker may drop them from a full queue; the next heartbeat of the new session tells."""

    def tell(told: Told) -> None:
        told.birth(7)
        told.state(7, OFFLINE)
        told.beat(8)

    assert None is hearing(tell).peers.gone(EDGE)


def test_an_orchestrator_whose_new_state_was_dropped_is_there_by_its_heartbeat() -> None:
    """Otherwise a device would run everything itself until the orchestrator connects again."""

    def tell(told: Told) -> None:
        told.goal()
        told.state(7, OFFLINE, ORCHESTRATOR)
        assert "offline" == told.peers.orchestrator_gone()
        told.beat(8, ORCHESTRATOR)

    assert None is hearing(tell).peers.orchestrator_gone()


def test_an_orchestrator_is_gone_only_when_all_that_published_a_goal_are() -> None:
    """One that had another name once does not count against the one that is there."""

    def tell(told: Told) -> None:
        told.goal(NodeId("old"))
        told.state(3, OFFLINE, NodeId("old"))
        told.goal()
        told.state(7, ONLINE, ORCHESTRATOR)

    told = hearing(tell)

    assert ("offline", None) == (told.peers.gone(NodeId("old")), told.peers.orchestrator_gone())
