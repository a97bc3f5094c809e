"""FILTER of `tierwise watch`: what people write, as MQTT filters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from broker.topics import Address, Channel, site_part, topic_for
from broker.vocabulary import SiteId, node_id
from tierwise.bus_filter import channel_meant, filters_for, filters_of
from tierwise.errors import WrongFilter

LAB = SiteId("lab")


def _matched(filters: list[str]) -> set[str]:
    """Which messages of two nodes they take, each once: on MQTT, overlapping filters deliver twice."""
    taken = []
    for node in ("s1", "edge-1"):
        for channel in Channel:
            device = node_id("s1") if channel is Channel.INFER else None
            topic = topic_for(Address(LAB, node_id(node), channel, device))
            taken += [topic.removeprefix(site_part(LAB)) for one in filters if topic_matches_sub(one, topic)]
    assert len(set(taken)) == len(taken)
    return set(taken)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("telemetry", {"s1/telemetry", "edge-1/telemetry"}),
        ("report/ack", {"s1/report/ack", "edge-1/report/ack"}),
        ("infer", {"s1/infer/s1", "edge-1/infer/s1"}),
        ("edge-1/infer", {"edge-1/infer/s1"}),
        ("edge-1/infer/s1", {"edge-1/infer/s1"}),
        ("edge-1/infer/s2", set()),
        ("s1/state", {"s1/state"}),
        ("+/state", {"s1/state", "edge-1/state"}),
        ("s1/goal/#", {"s1/goal", "s1/goal/set", "s1/goal/ack"}),
        ("tierwise/v1/lab/s1/state", {"s1/state"}),
    ],
)
def test_each_form_of_a_filter_takes_what_it_says(text, expected):
    """A channel, a node and a channel, an MQTT filter, and a whole topic of the site."""
    assert expected == _matched(filters_of(LAB, text))


def test_a_node_takes_all_of_its_channels():
    """And nothing of another node."""
    assert len(Channel) == len(_matched(filters_of(LAB, "s1")))
    assert all(topic.startswith("s1/") for topic in _matched(filters_of(LAB, "s1")))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("s1/telemtry", "did you mean telemetry?"),
        ("S1/state", "is not a node id"),
        ("s1/#/state", "# stands alone, as the last level"),
        ("s1/a+", "+ stands for one whole level"),
        ("", "a node (s1)"),
        ("tierwise/v1/other/s1/state", "is no channel"),
        ("a\0b", "is no filter"),
    ],
)
def test_a_filter_that_is_none_is_refused_with_what_it_could_be(text, says):
    """Before anything is subscribed to."""
    with pytest.raises(WrongFilter) as refused:
        filters_of(LAB, text)

    assert says in str(refused.value)


@given(st.text())
def test_whatever_is_written_never_leaves_the_site(text):
    """Every filter begins with the site's part, so nothing of another site is heard."""
    try:
        filters = filters_of(LAB, text)
    except WrongFilter:
        return

    assert filters
    assert all(one.startswith(site_part(LAB)) for one in filters)


@pytest.mark.parametrize(
    ("nodes", "channels", "count"),
    [([], [], 2 * len(Channel)), (["s1", "s1"], [], len(Channel)), ([], ["state", "goal"], 4), (["s1"], ["state"], 1)],
)
def test_options_take_each_message_once(nodes, channels, count):
    """Nodes and channels multiply; none of a kind is all, and one that is named twice counts once."""
    filters = filters_for(LAB, [node_id(node) for node in nodes], [Channel(channel) for channel in channels])

    assert count == len(_matched(filters))


def test_a_node_that_looks_like_a_channel_is_said_to():
    """`telemtry` may be a node; only when it stays silent one is told of the channel."""
    assert ", did you mean channel telemetry?" == channel_meant("telemtry")
    assert "" == channel_meant("telemetry") == channel_meant(None) == channel_meant("s1")
