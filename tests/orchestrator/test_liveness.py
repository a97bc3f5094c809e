"""Nodes that join, leave and are lost: one log event each, and an alarm while one is lost."""

from __future__ import annotations

import logging

import pytest

from broker.clock import ManualClock
from broker.messages import Birth, Heartbeat, State
from broker.vocabulary import NodeId, NodeState, Tier
from orchestrator.alarms import Alarms
from orchestrator.liveness import NEW_SESSION_S, NODE_LOST, Liveness
from orchestrator.nodes import Registry

S1 = NodeId("s1")
TIMEOUT_S = 2.5


class Site:
    """A registry, and what is logged and alarmed about its nodes."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.alarms = Alarms(self.clock)
        self.connected = True
        self.liveness = Liveness(self.alarms, self.clock, lambda: self.connected)
        self.registry = Registry(TIMEOUT_S, on_change=self.liveness.changed)

    def born(self, node: NodeId, session: int = 1, tier: Tier = Tier.END) -> None:
        self.registry.on_birth(node, Birth(session=session, tier=tier, agent_version="1.2.3", vcpus=1, models={}))

    def says(self, node: NodeId, state: NodeState, session: int = 1) -> None:
        self.registry.on_state(node, State(session=session, state=state))

    def beats(self, node: NodeId, session: int = 1) -> None:
        self.registry.on_heartbeat(node, Heartbeat(session=session, seq=0), self.clock.monotonic())

    def joins(self, node: NodeId, session: int = 1, tier: Tier = Tier.END) -> None:
        self.born(node, session, tier)
        self.says(node, NodeState.ONLINE, session)
        self.beats(node, session)

    def passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.registry.end_silent(self.clock.monotonic())
        self.liveness.check(self.registry.nodes)


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "orchestrator")
    return caplog


def test_a_node_that_comes_online_is_logged_with_tier_and_version(site: Site, lines: pytest.LogCaptureFixture) -> None:
    """Once, however often it beats; and again when it is back."""
    site.joins(S1)
    site.beats(S1)
    site.says(S1, NodeState.STOPPED)
    site.joins(S1, session=2)

    assert [
        "node_joined node=s1 tier=end version=1.2.3 reason='first seen'",
        "node_left node=s1 tier=end version=1.2.3 reason='stopped cleanly'",
        "node_joined node=s1 tier=end version=1.2.3 reason=back",
    ] == lines.messages


def test_a_clean_end_is_no_alarm_and_a_last_will_is_one(site: Site, lines: pytest.LogCaptureFixture) -> None:
    """Which ends when the node is back."""
    site.joins(S1)
    site.says(S1, NodeState.STOPPED)
    assert not site.alarms.is_raised(NODE_LOST, S1)

    site.joins(S1, session=2)
    site.says(S1, NodeState.OFFLINE, session=2)
    assert site.alarms.is_raised(NODE_LOST, S1)
    assert "node_lost node=s1 tier=end version=1.2.3 reason='its connection broke (last will)'" == lines.messages[-1]

    site.joins(S1, session=3)
    assert not site.alarms.is_raised(NODE_LOST, S1)


def test_a_node_that_falls_silent_is_lost(site: Site, lines: pytest.LogCaptureFixture) -> None:
    """Found by looking at the clock alone: no message and no round is needed."""
    site.joins(S1)
    site.passes(TIMEOUT_S + 0.1)

    assert "node_lost node=s1 tier=end version=1.2.3 reason='its heartbeat is overdue'" == lines.messages[-1]
    assert site.liveness.since_s(S1) == site.clock.wall()


def test_a_restart_between_two_heartbeats_is_one_event(site: Site, lines: pytest.LogCaptureFixture) -> None:
    """A birth of a new session loses nobody, if its state and heartbeat follow."""
    site.joins(S1)
    site.joins(S1, session=2)
    site.passes(NEW_SESSION_S - 0.1)

    assert "node_joined node=s1 tier=end version=1.2.3 reason='new session'" == lines.messages[-1]
    assert len(lines.messages) == 2


def test_a_new_session_that_is_never_complete_is_a_lost_node(site: Site, lines: pytest.LogCaptureFixture) -> None:
    """It was born and said no more."""
    site.joins(S1)
    site.born(S1, session=2)
    for _ in range(4):
        site.passes(1.0)
        site.beats(S1, session=2)

    assert "node_lost node=s1 tier=end version=1.2.3 reason='its new session is incomplete'" == lines.messages[-1]


def test_nodes_that_are_lost_with_the_orchestrators_own_link_say_so(
    site: Site, lines: pytest.LogCaptureFixture
) -> None:
    """They may be well: it hears none of them."""
    site.joins(S1)
    site.connected = False
    site.passes(TIMEOUT_S + 0.1)

    assert lines.messages[-1].endswith("reason='the orchestrator has no link to the broker'")


def test_a_thousand_nodes_that_go_together_are_few_lines(site: Site, lines: pytest.LogCaptureFixture) -> None:
    """Each is alarmed all the same."""
    for number in range(1000):
        site.joins(NodeId(f"n{number}"))
    lines.clear()
    site.passes(TIMEOUT_S + 0.1)

    assert len(lines.messages) <= 20
    assert len(site.alarms) == 1000
