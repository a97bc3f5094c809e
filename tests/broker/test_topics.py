"""`topic_for` and `parse` undo each other, and filters match what they should."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from broker.errors import InvalidName, Refused
from broker.topics import Address, Channel, filter_for, filter_for_everything, parse, topic_for
from broker.vocabulary import NAME_PATTERN, NodeId, SiteId, node_id

NAMES = st.from_regex(NAME_PATTERN, fullmatch=True)


@st.composite
def addresses(draw) -> Address:
    """Any address that may exist."""
    channel = draw(st.sampled_from(Channel))
    device = NodeId(draw(NAMES)) if channel is Channel.INFER else None
    return Address(SiteId(draw(NAMES)), NodeId(draw(NAMES)), channel, device)


@given(addresses())
def test_parse_undoes_topic_for(address):
    """Every address survives the way to a topic and back."""
    assert address == parse(topic_for(address))


@given(st.text() | st.lists(st.sampled_from(["tierwise", "v1", "site", "infer", "+", "#", "", *Channel])).map("/".join))
def test_topic_for_undoes_parse_or_the_topic_is_refused(topic):
    """Whatever parses is exactly the topic of its address; the rest is `unknown_topic`."""
    try:
        address = parse(topic)
    except Refused as refusal:
        assert "unknown_topic" == refusal.reason
    else:
        assert topic == topic_for(address)


@given(addresses(), addresses())
def test_a_filter_takes_its_channel_of_its_node_and_nothing_else(address, other):
    """As MQTT matches topics, a subscription yields exactly what its arguments say."""
    every_node = filter_for(address.site, address.channel)
    one_node = filter_for(address.site, address.channel, address.node)

    assert topic_matches_sub(every_node, topic_for(address))
    assert topic_matches_sub(one_node, topic_for(address))
    assert topic_matches_sub(filter_for_everything(address.site), topic_for(address))
    fits = (other.site, other.channel) == (address.site, address.channel)
    assert fits == topic_matches_sub(every_node, topic_for(other))
    assert (fits and other.node == address.node) == topic_matches_sub(one_node, topic_for(other))


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "tierwise/v1/site/node",
        "tierwise/v2/site/node/state",
        "tierwise/v1/site/node/state/extra",
        "tierwise/v1/site/node/infer",
        "tierwise/v1/site/node/infer/+",
        "tierwise/v1/site/node/infer/device/extra",
        "tierwise/v1/Site/node/state",
        "tierwise/v1/site/node\n/state",
        "tierwise/v1/site//state",
        "/tierwise/v1/site/node/state",
        "tierwise/v1/site/node/report/set",
    ],
)
def test_a_foreign_topic_is_refused(topic):
    """Another version, a missing or surplus level, or a name that is none."""
    with pytest.raises(Refused, match="unknown_topic"):
        parse(topic)


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a/b", "a+", "#", "a b", "a\n", "ä", "a" * 64, ".."])
def test_a_name_that_could_widen_a_topic_is_refused(name):
    """An id cannot carry a separator, a wildcard, a path or a line feed."""
    with pytest.raises(InvalidName, match=re.escape("1 to 63 of a-z, 0-9 and -")):
        node_id(name)


@pytest.mark.parametrize(("channel", "device"), [(Channel.INFER, None), (Channel.STATE, NodeId("device-1"))])
def test_a_device_stands_where_it_belongs_and_nowhere_else(channel, device):
    """`infer` needs the requester; no other channel takes one."""
    with pytest.raises(InvalidName, match="device"):
        topic_for(Address(SiteId("site"), NodeId("node"), channel, device))
