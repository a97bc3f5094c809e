"""The summary of a site: what is in it, when it is published, and that it always fits its channel."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from broker.clock import ManualClock
from broker.codec import CARRIAGE, decode, encode
from broker.messages import (
    Birth,
    Decision,
    Heartbeat,
    Report,
    RoundSummary,
    Stages,
    State,
    Summary,
    SummaryNode,
)
from broker.topics import Channel
from broker.vocabulary import NodeId, NodeState, Outcome, Tier
from configs.orchestrator import Policy
from orchestrator.alarms import Alarms
from orchestrator.goal import GoalInForce
from orchestrator.liveness import Liveness
from orchestrator.nodes import Registry
from orchestrator.site_summary import MIN_INTERVAL_S, ROUNDS_OF_PHASE, SiteSummary, SummaryParts

S1, S2 = NodeId("s1"), NodeId("s2")


@dataclass
class Site:
    """What a summary is made of, under a clock that is moved by hand."""

    clock: ManualClock = field(default_factory=ManualClock)
    goal: GoalInForce = field(default_factory=lambda: GoalInForce(850, Policy.FACTORED, 3))
    round: int = 12
    learns: bool = True

    def __post_init__(self) -> None:
        self.alarms = Alarms(self.clock)
        self.liveness = Liveness(self.alarms, self.clock)
        self.registry = Registry(1e9, on_change=self.liveness.changed)
        parts = SummaryParts(
            self.registry, self.liveness, self.alarms, lambda: self.goal, lambda: self.round, lambda: self.learns
        )
        self.summary = SiteSummary(parts, self.clock)

    def joins(self, node: NodeId, tier: Tier = Tier.END) -> None:
        self.registry.on_birth(node, Birth(session=1, tier=tier, agent_version="1", vcpus=1, models={}))
        self.registry.on_state(node, State(session=1, state=NodeState.ONLINE))
        self.registry.on_heartbeat(node, Heartbeat(session=1, seq=0), self.clock.monotonic())

    def due(self) -> Summary | None:
        self.clock.advance(10.0)
        return self.summary.due()


@pytest.fixture
def site() -> Site:
    return Site()


def decision(model: str = "d0", tier: Tier = Tier.EDGE) -> Decision:
    return Decision(
        request_id="12345678", round=12, tier=tier, model=model, serving_node="e", fallback_model="d7",
        deadline_ms=1000.0, policy="factored", policy_version=3, explored=False,
    )  # fmt: skip


def report(response_ms: float, outcome: Outcome = Outcome.DONE) -> Report:
    return Report(
        request_id="12345678", outcome=outcome, decided=True, tier=Tier.EDGE, model="d0", serving_node="e",
        response_ms=response_ms, stages=Stages(),
    )  # fmt: skip


def ended(*, explored: bool = False, version: int = 3) -> RoundSummary:
    return RoundSummary(
        policy="factored", policy_version=version, explored=explored, devices=1, missing=0, mean_response_ms=10.0,
        accuracy_percent=89.1, accuracy_floor_percent=85.0, floor_met=True, reward=-10.0,
    )  # fmt: skip


def test_a_summary_has_each_nodes_state_action_and_last_response_time(site: Site) -> None:
    """And the goal, the round, and since when each state is so."""
    site.joins(S1)
    joined_s = int(site.clock.wall())
    site.joins(S2)
    site.summary.decided(S1, decision())
    site.summary.reported(S1, report(312.4))
    site.summary.reported(S1, report(0.0, Outcome.FAILED))
    site.clock.advance(60.0)
    site.registry.on_state(S2, State(session=1, state=NodeState.STOPPED))
    made = site.summary.message()

    assert [
        SummaryNode(node="s1", state=NodeState.ONLINE, since_s=joined_s, tier=Tier.EDGE, model="d0", response_ms=312.4),
        SummaryNode(node="s2", state=NodeState.STOPPED, since_s=joined_s + 60),
    ] == made.nodes
    assert (85.0, "factored", 3, 12) == (
        made.accuracy_floor_percent,
        made.policy,
        made.policy_version,
        made.round,
    )


def test_it_is_published_on_change_and_at_most_once_a_second(site: Site) -> None:
    """The clock alone is no change."""
    assert site.due() is not None
    assert site.due() is None

    site.round += 1
    assert site.due() is not None

    site.round += 1
    site.clock.advance(MIN_INTERVAL_S / 2)
    assert site.summary.due() is None
    site.clock.advance(MIN_INTERVAL_S / 2)
    assert site.summary.due() is not None


def test_a_new_connection_gets_it_whatever_has_changed(site: Site) -> None:
    """The broker may have lost what it retained."""
    site.due()
    site.summary.again()

    assert site.summary.due() is not None


def test_a_thousand_devices_are_published_every_five_seconds(site: Site) -> None:
    """A long summary each second would cost every reader its link."""
    for number in range(1000):
        site.joins(NodeId(f"n{number}"))
    site.due()
    site.round += 1

    site.clock.advance(4.9)
    assert site.summary.due() is None
    site.clock.advance(0.2)
    assert site.summary.due() is not None


def test_the_longest_summary_fits_its_channel(site: Site) -> None:
    """2000 nodes and alarms with the longest names and texts: it decodes, and says what is left out."""
    for number in range(2000):
        node = NodeId(f"{number:04d}" + "x" * 59)
        site.joins(node)
        site.summary.decided(node, decision("m" * 32, Tier.CLOUD))
        site.summary.reported(node, report(86_399_999.123456))
        site.alarms.raise_("c" * 300, node, "\x00" * 300, "\u4e2d" * 300)
    payload = encode(site.summary.message())
    read = decode(Channel.SUMMARY, payload)

    assert len(payload) <= CARRIAGE[Channel.SUMMARY].limit_bytes
    assert isinstance(read, Summary)
    assert len(read.nodes) + read.nodes_left_out == 2000
    assert len(read.nodes) >= 700
    assert len(read.alarms) + read.alarms_left_out == 2000


def test_nodes_with_an_alarm_and_serving_nodes_are_never_left_out(site: Site) -> None:
    """Of 1200 nodes the last by id are listed if they are alarmed or serve."""
    for number in range(1200):
        site.joins(NodeId(f"n{number:04d}"))
    site.joins(NodeId("zz-edge"), Tier.EDGE)
    site.alarms.raise_("silent", NodeId("n1199"), "it asks and does not report")
    made = site.summary.message()

    assert {"zz-edge", "n1199"} <= {row.node for row in made.nodes}
    assert (1000, 201) == (len(made.nodes), made.nodes_left_out)


def test_the_phase_says_how_far_learning_is(site: Site) -> None:
    """Waiting, exploring while one of the last 20 rounds was, settled after that; fixed if nothing is learned."""
    assert site.summary.message().phase == "waiting"
    site.summary.round_ended(ended(explored=True))
    assert site.summary.message().phase == "exploring"
    for _ in range(ROUNDS_OF_PHASE):
        site.summary.round_ended(ended())
    assert site.summary.message().phase == "settled"
    site.learns = False
    assert site.summary.message().phase == "fixed"
