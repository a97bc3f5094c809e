"""Which retained messages may go, judged without a broker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.publish_packet import Publish
from broker.topics import Channel
from broker.vocabulary import SiteId, node_id
from tierwise.ghosts import SURELY_SILENT_S, Judgement, Survey, judge, still_ghosts

LAB = SiteId("lab")
NOW_S = 1_800_000_000.0
SESSION = int(NOW_S * 1000) - 3 * 86_400_000


def _birth(session: int = SESSION) -> str:
    return f'{{"session": {session}, "tier": "end", "agent_version": "1", "vcpus": 1, "models": {{}}}}'


def _state(state: str, session: int = SESSION) -> str:
    return f'{{"session": {session}, "state": "{state}"}}'


def _survey(*heard: tuple[str, str, bool]) -> Survey:
    survey = Survey(LAB)
    for below, payload, retain in heard:
        survey.hear(Publish(f"tierwise/v1/lab/{below}".encode(), payload.encode(), retain, 1))
    return survey


def _topics(judgement: Judgement) -> list[str]:
    return [ghost.topic.removeprefix("tierwise/v1/lab/") for ghost in judgement.ghosts]


@pytest.mark.parametrize("state", ["offline", "stopped"])
def test_what_a_silent_node_that_is_gone_left_may_go(state):
    """Its birth, its state, its goal, and what it kept on channels that are not known; with reason and age."""
    survey = _survey(
        ("s1/birth", _birth(), True), ("s1/state", _state(state), True), ("s1/goal", "{}", True), ("s1/x", "x", True)
    )
    found = judge(survey, 3, NOW_S)

    assert ["s1/birth", "s1/goal", "s1/state", "s1/x"] == _topics(found)
    assert {f"{state}, and silent"} == {ghost.reason for ghost in found.ghosts}
    assert [3 * 86_400.0] * 4 == [NOW_S - ghost.began_s for ghost in found.ghosts]


@pytest.mark.parametrize("channel", ["heartbeat", "telemetry", "report", "request", "pong"])
def test_nothing_of_a_node_that_was_heard_may_go(channel):
    """Whatever its state says: a late will of an old session may be on it."""
    survey = _survey(
        ("s1/birth", _birth(), True), ("s1/state", _state("offline"), True), (f"s1/{channel}", "{}", False)
    )

    assert Judgement((), ()) == judge(survey, SURELY_SILENT_S, NOW_S)


@pytest.mark.parametrize(
    "heard",
    [
        [("s1/birth", _birth(), True), ("s1/state", _state("online"), True)],
        [("s1/birth", _birth(), True)],
        [("s1/birth", _birth(), True), ("s1/state", _state("offline", SESSION - 1), True)],
    ],
    ids=["says online", "says nothing", "a late will of an old session"],
)
def test_a_node_that_may_be_frozen_is_gone_only_when_the_broker_would_know(heard):
    """Until then it is named as unclear, and nothing of it may go."""
    short, long = judge(_survey(*heard), 3, NOW_S), judge(_survey(*heard), SURELY_SILENT_S, NOW_S)

    assert ([], (node_id("s1"),)) == (_topics(short), short.unclear)
    assert ([below for below, *_ in heard], ()) == (_topics(long), long.unclear)


def test_what_nobody_would_act_on_may_go_though_its_node_lives():
    """A retained decision is refused by its device; what is on the node's own three channels stays."""
    survey = _survey(
        ("s1/birth", "no birth", True),
        ("s1/decision", "{}", True),
        ("s1/new", "x", True),
        ("s1/heartbeat", "{}", False),
    )

    assert ["s1/decision"] == _topics(judge(survey, 3, NOW_S))


def test_what_is_undecodable_or_no_topic_of_ours_may_go():
    """If no node is there to which it could belong."""
    survey = _survey(("s1/state", "}{", True), ("x/y/z", "hm", True), ("A B", "hm", True))
    found = judge(survey, 3, NOW_S)

    assert ["A B", "s1/state", "x/y/z"] == _topics(found)
    assert found.ghosts[1].reason.startswith("undecodable: state:")


def test_what_was_removed_meanwhile_is_no_ghost():
    """An empty retained message takes the former one away."""
    assert [] == _topics(judge(_survey(("s1/x", "x", True), ("s1/x", "", True)), 3, NOW_S))


def test_only_the_nodes_that_were_named_are_judged():
    """Others stay, however gone they are."""
    survey = _survey(("s1/state", _state("offline"), True), ("s2/state", _state("offline"), True))

    assert ["s2/state"] == _topics(judge(survey, 3, NOW_S, [node_id("s2")]))


@pytest.mark.parametrize(
    "change", [("s1/state", _state("online", SESSION + 1), True), ("s1/heartbeat", "{}", False), ("s1/state", "", True)]
)
def test_a_node_that_came_back_since_it_was_shown_is_left(change):
    """Whether it is heard, says something else, or has been cleaned by somebody else."""
    before = [("s1/state", _state("offline"), True), ("s2/state", _state("offline"), True)]
    shown = judge(_survey(*before), 3, NOW_S).ghosts
    same, changed = still_ghosts(shown, judge(_survey(*before, change), 6, NOW_S))

    assert (["tierwise/v1/lab/s2/state"], ["tierwise/v1/lab/s1/state"]) == tuple(
        [ghost.topic for ghost in ghosts] for ghosts in (same, changed)
    )


NODES = st.sampled_from(["s1", "s2", "S 3"])
CHANNELS = st.sampled_from([*map(str, Channel), "infer/s1", "later", "state/x"])
PAYLOADS = st.sampled_from(
    ["", "{}", "}{", _birth(), _birth(5), _state("offline"), _state("online"), _state("stopped", 5)]
)
SITES = st.sampled_from(["tierwise/v1/lab/", "tierwise/v1/lab2/", "tierwise/v2/lab/", "lab/", ""])
HEARD = st.lists(st.tuples(SITES, NODES, CHANNELS, PAYLOADS, st.booleans()), max_size=30)


@given(HEARD, st.sampled_from([3.0, 200.0]))
def test_whatever_was_heard_a_living_nodes_own_word_and_other_sites_are_never_touched(heard, silent_s):
    """And what may go is retained at this moment, with just these bytes."""
    survey = Survey(LAB)
    for site, node, channel, payload, retain in heard:
        survey.hear(Publish(f"{site}{node}/{channel}".encode(), payload.encode(), retain, 1))
    for ghost in judge(survey, silent_s, NOW_S).ghosts:
        assert ghost.topic.startswith("tierwise/v1/lab/")
        assert survey.retained[ghost.topic] == ghost.payload != b""
        if ghost.node in survey.alive:
            assert ghost.channel not in (None, Channel.BIRTH, Channel.STATE, Channel.GOAL)
