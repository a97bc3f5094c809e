"""Reading PUBLISH packets, judged by paho's own encoder."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers

from broker.publish_packet import MalformedPacket, Publish, frame_length, read_publish, write_publish

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=3)


def optional(strategy: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | strategy


@st.composite
def packets(draw) -> tuple[bytes, Publish]:
    """A PUBLISH as paho packs it, with any properties that may occur, and what it says."""
    properties = Properties(PacketTypes.PUBLISH)
    for name, strategy in {
        "MessageExpiryInterval": st.integers(0, 2**32 - 1),
        "PayloadFormatIndicator": st.integers(0, 1),
        "ContentType": TEXT,
        "ResponseTopic": TEXT,
        "TopicAlias": st.integers(1, 65535),
        "SubscriptionIdentifier": st.integers(1, 268_435_455),
    }.items():
        if (value := draw(optional(strategy))) is not None:
            setattr(properties, name, value)
    if (correlation := draw(optional(st.binary(max_size=64)))) is not None:
        properties.CorrelationData = correlation
    pairs = draw(PAIRS)
    if pairs:
        properties.UserProperty = pairs
    topic, payload = draw(TEXT).encode(), draw(st.binary(max_size=300))
    packet_id, retain = draw(optional(st.integers(1, 65535))), draw(st.booleans())
    body = struct.pack("!H", len(topic)) + topic
    body += b"" if packet_id is None else struct.pack("!H", packet_id)
    body += properties.pack() + payload
    flags = 0x30 | (0 if packet_id is None else 0x02) | retain
    packet = bytes([flags]) + VariableByteIntegers.encode(len(body)) + body
    expiry_s = getattr(properties, "MessageExpiryInterval", None)
    return packet, Publish(topic, payload, retain, packet_id, correlation, tuple(pairs), expiry_s)


@given(packets(), st.binary(max_size=10))
def test_a_packet_of_paho_reads_as_what_went_in(packed, following):
    """Whatever properties it has, and whatever follows it in the stream."""
    packet, expected = packed
    header, rest = frame_length(packet + following, 0)

    assert len(packet) == header + rest
    assert expected == read_publish(packet[0], packet[header:]) == read_publish(packet[0], packet, header)


@given(packets())
def test_the_length_is_known_from_the_header_alone(packed):
    """Before, it is not known yet; the rest of the packet may still be on its way."""
    packet, _ = packed
    header, rest = frame_length(packet, 0)

    assert all(frame_length(packet[:cut], 0) is None for cut in range(header))
    assert (header, rest) == frame_length(packet[:header], 0)


@given(st.integers(0x30, 0x3F), st.binary(max_size=100))
def test_arbitrary_bytes_are_read_or_malformed(flags, body):
    """Nothing else is ever raised."""
    try:
        publish = read_publish(flags, body)
    except MalformedPacket:
        return
    assert isinstance(publish, Publish)


@given(packets(), st.data())
def test_a_packet_cut_short_is_malformed_or_has_a_shorter_payload(packed, data):
    """A cut in the header or the properties is noticed."""
    packet, expected = packed
    header, _ = frame_length(packet, 0)
    cut = data.draw(st.integers(header, len(packet) - 1))
    try:
        publish = read_publish(packet[0], packet[header:cut])
    except MalformedPacket:
        return

    assert expected.payload.startswith(publish.payload)
    assert (expected.topic, expected.pairs) == (publish.topic, publish.pairs)


@pytest.mark.parametrize(
    ("flags", "body", "says"),
    [
        (0x34, b"\x00\x01a\x00\x01\x00", "QoS 2"),
        (0x30, b"\x00\x05a", "a length beyond its end"),
        (0x30, b"\x00\x01a\x05\x02", "properties beyond its end"),
        (0x30, b"\x00\x01a\x02\x02\x00", "beyond the end of the properties"),
        (0x30, b"\x00\x01a\x01\x7f", "property 0x7f"),
        (0x30, b"\x00\x01a\xff\xff\xff\xff\x01", "more than four bytes"),
        (0x30, b"\x00\x01a\x07\x26\x00\x01\xff\x00\x01b", "codec can't decode"),
        (0x30, b"", "out of range"),
    ],
)
def test_what_is_wrong_is_named(flags, body, says):
    """The reason goes to the log with the end of the link."""
    with pytest.raises(MalformedPacket, match=says):
        read_publish(flags, body)


def test_a_length_without_end_is_malformed():
    """MQTT has at most four bytes for it."""
    with pytest.raises(MalformedPacket, match="four bytes"):
        frame_length(b"\x30\xff\xff\xff\xff", 0)


def test_properties_without_end_are_passed_over():
    """A stranger's packet of thousands of empty pairs costs nothing, and its payload is whole."""
    properties = b"\x26\x00\x00\x00\x00" * 3000
    length = bytes([len(properties) & 0x7F | 0x80, len(properties) >> 7])
    packet = write_publish(b"a", b"payload", length + properties, 1, retain=False)
    header, _ = frame_length(packet, 0)

    assert Publish(b"a", b"payload", False, 1) == read_publish(packet[0], packet, header)
