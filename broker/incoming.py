"""Messages from the broker: addressed, checked and decoded, or refused."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from broker.codec import CARRIAGE, decode
from broker.errors import Refused
from broker.messages import Message
from broker.publish_packet import Publish
from broker.topics import Address, Channel, parse
from broker.vocabulary import SiteId


@dataclass(frozen=True, slots=True)
class Inbound:
    """One message that was accepted: decoded, or image bytes on `infer`."""

    address: Address
    body: Message | bytes
    received_s: float
    correlation: bytes | None = None
    properties: Mapping[str, str] = field(default_factory=dict)


def accept(publish: Publish, site: SiteId, channels: Container[Channel], received_s: float) -> Inbound:
    """What `publish` says, if it is of `site` and one of `channels`.

    Raises Refused: `unknown_topic`, `retained`, and what `decode` raises.
    """
    try:
        topic = publish.topic.decode()
    except UnicodeDecodeError as error:
        raise Refused("unknown_topic", "not UTF-8") from error
    address = parse(topic)
    channel = address.channel
    if address.site != site or channel not in channels:
        raise Refused("unknown_topic", topic[:200])
    if publish.retain and not CARRIAGE[channel].retain:
        raise Refused("retained", f"{channel} is never retained")
    body = decode(channel, publish.payload)
    return Inbound(address, body, received_s, publish.correlation, dict(publish.pairs))
