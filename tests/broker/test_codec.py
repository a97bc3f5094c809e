"""Whatever arrives, decoding either gives a message or refuses it."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from broker.codec import CARRIAGE, JSON_LIMIT, decode
from broker.errors import Refused
from broker.messages import Heartbeat
from broker.topics import Channel

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
FIELDS = sorted(
    {field for carriage in CARRIAGE.values() if carriage.message for field in carriage.message.__annotations__}
)


@given(channel=st.sampled_from(Channel), payload=st.binary(max_size=300))
@example(channel=Channel.HEARTBEAT, payload=b'{"session":1,"seq":1,"x":' + b"[" * 8000 + b"]" * 8000 + b"}")
@example(channel=Channel.HEARTBEAT, payload=b'{"a":' * 2000 + b"1" + b"}" * 2000)
@example(channel=Channel.HEARTBEAT, payload=b"[" * JSON_LIMIT)
@example(channel=Channel.HEARTBEAT, payload=b'{"session":1,"seq":' + b"9" * 16_000 + b"}")
@example(channel=Channel.GOAL_SET, payload=b'{"accuracy_floor_percent":' + b"1" * 16_000 + b"}")
@example(channel=Channel.GOAL_SET, payload=b'{"accuracy_floor_percent":1e' + b"9" * 16_000 + b"}")
def test_arbitrary_bytes_only_ever_raise_refused(channel, payload):
    """No bytes make the decoder raise anything else."""
    try:
        message = decode(channel, payload)
    except Refused as refusal:
        assert refusal.reason in {"malformed", "empty", "oversized"}
    else:
        assert isinstance(message, CARRIAGE[channel].message or bytes)


@given(
    channel=st.sampled_from([channel for channel, carriage in CARRIAGE.items() if carriage.message]),
    value=st.dictionaries(st.sampled_from(FIELDS), JSON_VALUES),
)
def test_arbitrary_values_in_known_fields_only_ever_raise_refused(channel, value):
    """Nor does JSON whose fields are ours and whose values are not; Python writes NaN and Infinity into it."""
    try:
        message = decode(channel, json.dumps(value).encode())
    except Refused as refusal:
        assert refusal.reason in {"malformed", "oversized"}
    else:
        assert isinstance(message, CARRIAGE[channel].message)


def test_of_a_key_given_twice_the_last_counts():
    """As most decoders do it; the bounds hold for both."""
    assert Heartbeat(session=1, seq=2) == decode(Channel.HEARTBEAT, b'{"session": 1, "seq": 1, "seq": 2}')
    with pytest.raises(Refused, match="malformed"):
        decode(Channel.HEARTBEAT, b'{"session": 1, "seq": -1, "seq": 2}')


@pytest.mark.parametrize("channel", list(Channel))
def test_a_payload_beyond_its_channels_limit_is_refused_unread(channel):
    """One byte more than the limit is `oversized`; nothing at all is `empty`."""
    with pytest.raises(Refused, match="oversized"):
        decode(channel, bytes(CARRIAGE[channel].limit_bytes + 1))
    with pytest.raises(Refused, match="empty"):
        decode(channel, b"")


def test_an_image_stays_bytes():
    """`infer` carries no JSON; what is in the image is the Intelligent Service's to judge."""
    assert b"\xff\xd8\xff" == decode(Channel.INFER, b"\xff\xd8\xff")
