"""Messages on their way to the broker: checked against its limits, packed, and kept until they are acknowledged."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache

from msgspec import Struct
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from broker.codec import CARRIAGE, encode
from broker.errors import MessageTooLarge
from broker.messages import Message
from broker.topics import Address, Channel, topic_for

PACKET_OVERHEAD_BYTES = 21  # fixed header, lengths, packet id, and expiry, at their longest
CORRELATION_OVERHEAD_BYTES = 3
USER_PROPERTY_OVERHEAD_BYTES = 5
# What a later session does not repeat: it has a birth and state of its own, and a device whose link broke has run its
# request by itself; whoever got it late would work, or hold a round, for nobody.
# A ping or pong that waited for a broker would tell of the broker's absence, not of the way.
OF_ONE_SESSION = (Channel.BIRTH, Channel.STATE, Channel.REQUEST, Channel.INFER, Channel.PING, Channel.PONG)


class _PackedOnce(Properties):
    """Properties that never change once they were packed: paho needs longer for them than for the rest of a message."""

    def pack(self) -> bytes:
        if "packed" not in self.__dict__:
            self.__dict__["packed"] = super().pack()  # type: ignore[no-untyped-call]  # paho's
        packed: bytes = self.__dict__["packed"]
        return packed


def _properties(
    expiry_s: int | None, correlation: bytes | None = None, pairs: Mapping[str, str] | None = None
) -> Properties:
    properties = _PackedOnce(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho's
    if expiry_s is not None:
        properties.MessageExpiryInterval = expiry_s
    if correlation is not None:
        properties.CorrelationData = correlation
    if pairs:
        properties.UserProperty = list(pairs.items())
    return properties


_expiry_only = lru_cache(maxsize=64)(_properties)


class Outgoing(Struct, frozen=True):
    """One publish. `expires_s` is on the sender's monotonic clock; None for never."""

    channel: Channel
    topic: str
    payload: bytes
    expires_s: float | None
    correlation: bytes | None = None
    pairs: Mapping[str, str] | None = None
    on_puback: Callable[[], None] | None = None

    def properties(self, now_s: float) -> Properties:
        """The MQTT properties to send it with now: what is left of its expiry, at least 1 s."""
        expiry_s = None if self.expires_s is None else max(1, math.ceil(self.expires_s - now_s))
        if self.correlation is None and not self.pairs:
            return _expiry_only(expiry_s)
        return _properties(expiry_s, self.correlation, self.pairs)

    def is_worth_repeating(self, now_s: float) -> bool:
        """Whether a later session of the same node should still publish it."""
        return self.channel not in OF_ONE_SESSION and (self.expires_s is None or self.expires_s > now_s)


def outgoing(
    address: Address,
    body: Message | bytes,
    now_s: float,
    *,
    packet_limit: int | None,
    expiry_s: int | None = None,
    correlation: bytes | None = None,
    pairs: Mapping[str, str] | None = None,
    on_puback: Callable[[], None] | None = None,
) -> Outgoing:
    """`body` ready to be sent to `address`. Raises MessageTooLarge for what channel or broker will never take."""
    carriage = CARRIAGE[address.channel]
    topic = topic_for(address)
    payload = body if isinstance(body, bytes) else encode(body)
    size = len(topic) + len(payload) + PACKET_OVERHEAD_BYTES
    if correlation is not None:
        size += len(correlation) + CORRELATION_OVERHEAD_BYTES
    if pairs:
        size += sum(len(key) + len(value) + USER_PROPERTY_OVERHEAD_BYTES for key, value in pairs.items())
    if len(payload) > carriage.limit_bytes:
        raise MessageTooLarge(f"{len(payload)} bytes on {address.channel}, which takes at most {carriage.limit_bytes}")
    if packet_limit is not None and size > packet_limit:
        raise MessageTooLarge(f"{size} bytes on {address.channel}; the broker takes at most {packet_limit}")
    expiry = expiry_s if expiry_s is not None else carriage.expiry_s
    expires_s = None if expiry is None else now_s + expiry
    return Outgoing(address.channel, topic, payload, expires_s, correlation, pairs, on_puback)
