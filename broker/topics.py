"""The only module in which a topic string is typed: `topic_for` and `parse` undo each other.

tierwise/v1/{site}/{node}/{channel}            every channel but one
tierwise/v1/{site}/{serving node}/infer/{device}
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from broker.errors import InvalidName, Refused
from broker.vocabulary import NodeId, SiteId, node_id, site_id

ROOT = "tierwise/v1"
BROKER_FIGURES = "$SYS/#"  # Mosquitto's own
CONTROL = "$CONTROL/dynamic-security/v1"  # of Mosquitto's accounts; answers on:
CONTROL_RESPONSE = f"{CONTROL}/response"


class Channel(StrEnum):
    """What a topic is for. The value is its last part."""

    BIRTH = "birth"
    STATE = "state"
    TELEMETRY = "telemetry"
    REQUEST = "request"
    DECISION = "decision"
    REPORT = "report"
    REPORT_ACK = "report/ack"
    INFER = "infer"
    RESULT = "result"
    HEARTBEAT = "heartbeat"
    ROUND = "round"
    GOAL = "goal"
    GOAL_SET = "goal/set"
    GOAL_ACK = "goal/ack"
    SUMMARY = "summary"
    EXPLAIN_ASK = "explain/ask"
    EXPLAIN = "explain"
    PING = "ping"
    PONG = "pong"


REMEMBERED = 16_384  # topics: four thousand devices say four things


@dataclass(frozen=True, slots=True)
class Address:
    """Where a message is published. `device` is the requester, for `infer` alone."""

    site: SiteId
    node: NodeId
    channel: Channel
    device: NodeId | None = None


def topic_for(address: Address) -> str:
    """The topic of `address`. Raises InvalidName where `device` is missing or out of place."""
    if (address.channel is Channel.INFER) != (address.device is not None):
        raise InvalidName(f"{address.channel} {'needs' if address.device is None else 'takes no'} device")
    tail = f"/{address.device}" if address.device is not None else ""
    return f"{ROOT}/{address.site}/{address.node}/{address.channel}{tail}"


@lru_cache(maxsize=REMEMBERED)
def parse(topic: str) -> Address:
    """The address of `topic`; the exact inverse of `topic_for`. Raises Refused (`unknown_topic`)."""
    parts = topic.split("/")
    if len(parts) not in (5, 6) or "/".join(parts[:2]) != ROOT:
        raise Refused("unknown_topic", repr(topic[:200]))
    try:
        site, node = site_id(parts[2]), node_id(parts[3])
        if len(parts) == 6 and parts[4] == Channel.INFER:
            return Address(site, node, Channel.INFER, node_id(parts[5]))
        channel = Channel("/".join(parts[4:]))
    except (InvalidName, ValueError) as error:
        raise Refused("unknown_topic", repr(topic[:200])) from error
    if channel is Channel.INFER:
        raise Refused("unknown_topic", "infer without a device")
    return Address(site, node, channel)


def filter_for(site: SiteId, channel: Channel, node: NodeId | None = None) -> str:
    """A subscription to `channel` of one node, or of every node of the site; `infer` from every device."""
    tail = "/+" if channel is Channel.INFER else ""
    return f"{ROOT}/{site}/{node or '+'}/{channel}{tail}"


def filter_for_uploads_of(site: SiteId, device: NodeId) -> str:
    """The images that one device sends up, to whichever node."""
    return f"{ROOT}/{site}/+/{Channel.INFER}/{device}"


def filter_for_everything(site: SiteId) -> str:
    """A subscription to all that passes at one site; for people who watch."""
    return f"{ROOT}/{site}/#"


def filter_below(site: SiteId, below: str) -> str:
    """A subscription to what `below` says of one site: levels and wildcards, as MQTT has them."""
    return f"{ROOT}/{site}/{below}"


def site_part(site: SiteId) -> str:
    """What every topic of one site begins with."""
    return f"{ROOT}/{site}/"
