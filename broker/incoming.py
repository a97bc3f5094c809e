"""Messages from the broker: addressed, checked and decoded, or refused."""

from __future__ import annotations

from collections.abc import Container, Mapping
from types import MappingProxyType

from msgspec import Struct

from broker.codec import CARRIAGE, decode
from broker.errors import Refused
from broker.messages import Message
from broker.publish_packet import Publish
from broker.rate_limit import RateLimit
from broker.topics import Address, Channel, parse
from broker.vocabulary import SiteId

NO_PROPERTIES: Mapping[str, str] = MappingProxyType({})


class Inbound(Struct, frozen=True):
    """One message that was accepted: decoded, or image bytes on `infer`."""

    address: Address
    body: Message | bytes
    received_s: float
    correlation: bytes | None = None
    properties: Mapping[str, str] = NO_PROPERTIES


def accept(
    publish: Publish,
    site: SiteId,
    channels: Container[Channel],
    received_s: float,
    limit: RateLimit | None = None,
) -> Inbound:
    """What `publish` says, if it is of `site` and one of `channels`, and its sender is within `limit`.

    Raises Refused: `unknown_topic`, `too_many_messages`, `retained`, and what `decode` raises.
    """
    try:
        topic = publish.topic.decode()
    except UnicodeDecodeError as error:
        raise Refused("unknown_topic", "not UTF-8") from error
    address = parse(topic)
    channel = address.channel
    if address.site != site or channel not in channels:
        raise Refused("unknown_topic", topic[:200])
    # Before anything dear; of `infer` the requester is the sender, of the rest the node whose topic it is.
    if limit is not None and not limit.takes(address.device or address.node, received_s):
        raise Refused("too_many_messages", f"{address.device or address.node} on {channel}")
    if publish.retain and not CARRIAGE[channel].retain:
        raise Refused("retained", f"{channel} is never retained")
    body = decode(channel, publish.payload)
    pairs = dict(publish.pairs) if publish.pairs else NO_PROPERTIES
    return Inbound(address, body, received_s, publish.correlation, pairs)
