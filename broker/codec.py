"""What each channel carries and how: message type, quality of service, retain flag, expiry, size limit.

`encode` and `decode` are the only way from a message to bytes and back. Nothing received is trusted: what does not
decode is `Refused` with a reason that the client counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from broker import messages
from broker.errors import Refused
from broker.messages import Message
from broker.topics import Channel

JSON_LIMIT = 16_384
IMAGE_LIMIT = 262_144


@dataclass(frozen=True, slots=True)
class Carriage:
    """How one channel is carried. `message` is None where the payload is an image; `expiry_s` is None for never."""

    message: type[Message] | None
    qos: int
    retain: bool = False
    expiry_s: int | None = None
    limit_bytes: int = JSON_LIMIT


CARRIAGE: dict[Channel, Carriage] = {
    Channel.BIRTH: Carriage(messages.Birth, qos=1, retain=True, limit_bytes=65_536),
    Channel.STATE: Carriage(messages.State, qos=1, retain=True),
    Channel.TELEMETRY: Carriage(messages.Telemetry, qos=0),
    Channel.REQUEST: Carriage(messages.Request, qos=1, expiry_s=10),
    Channel.DECISION: Carriage(messages.Decision, qos=1, expiry_s=10),
    Channel.REPORT: Carriage(messages.Report, qos=1),
    Channel.REPORT_ACK: Carriage(messages.ReportAck, qos=1, limit_bytes=131_072),
    Channel.INFER: Carriage(None, qos=1, expiry_s=10, limit_bytes=IMAGE_LIMIT),
    Channel.RESULT: Carriage(messages.Result, qos=1, expiry_s=10),
    Channel.HEARTBEAT: Carriage(messages.Heartbeat, qos=0),
    Channel.ROUND: Carriage(messages.Round, qos=1, expiry_s=10),
    Channel.GOAL: Carriage(messages.Goal, qos=1, retain=True),
    Channel.GOAL_SET: Carriage(messages.GoalSet, qos=1),
    Channel.GOAL_ACK: Carriage(messages.GoalAck, qos=1, expiry_s=10),
    Channel.SUMMARY: Carriage(messages.Summary, qos=1, retain=True, limit_bytes=262_144),
    Channel.EXPLAIN_ASK: Carriage(messages.ExplainAsk, qos=1, expiry_s=10),
    Channel.EXPLAIN: Carriage(messages.Explain, qos=1, expiry_s=10),
    # QoS 1, as all that a response time is made of: a ping then tells what a decision or an image goes through, and
    # its own PUBACK how much of that is the way to the broker.
    Channel.PING: Carriage(messages.Ping, qos=1, expiry_s=10),
    Channel.PONG: Carriage(messages.Pong, qos=1, expiry_s=10),
}

_encoder = msgspec.json.Encoder()
_decoders: dict[Channel, msgspec.json.Decoder[Any]] = {
    channel: msgspec.json.Decoder(carriage.message)
    for channel, carriage in CARRIAGE.items()
    if carriage.message is not None
}


def encode(message: Message) -> bytes:
    """The JSON of `message`."""
    return _encoder.encode(message)


def decode(channel: Channel, payload: bytes) -> Message | bytes:
    """What `payload` says on `channel`; an image stays bytes.

    Raises Refused: `oversized`, `empty`, or `malformed` with what msgspec found first.
    """
    carriage = CARRIAGE[channel]
    if len(payload) > carriage.limit_bytes:
        raise Refused("oversized", f"{len(payload)} bytes on {channel}, at most {carriage.limit_bytes}")
    if not payload:
        raise Refused("empty", f"no payload on {channel}")
    if carriage.message is None:
        return payload
    try:
        message: Message = _decoders[channel].decode(payload)
        if not payload.isascii():
            payload.decode()  # msgspec skips what it does not know without looking whether it is UTF-8
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refused("malformed", f"{channel}: {error}") from error
    return message
