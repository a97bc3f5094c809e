"""Reads MQTT 5 PUBLISH packets, the bulk of what arrives.

paho builds a table of all MQTT properties for each packet, which takes five times as long as the rest of a message's
way through this process. Only what our protocol uses is read here; all other packets are paho's.
"""

from __future__ import annotations

from dataclasses import dataclass

PUBLISH = 0x30
TYPE_MASK = 0xF0
RETAIN = 0x01
# The length in bytes of the properties that a PUBLISH may have (MQTT 5, 3.3.2.3), by kind.
FIXED = {0x01: 1, 0x02: 4, 0x23: 2}
PREFIXED = (0x03, 0x08)
CORRELATION_DATA = 0x09
SUBSCRIPTION_IDENTIFIER = 0x0B
USER_PROPERTY = 0x26


class MalformedPacket(Exception):  # never leaves the link, which ends with it
    """Bytes that no broker should have sent."""


@dataclass(frozen=True, slots=True)
class Publish:
    """One PUBLISH of QoS 0 or 1. `packet_id` is None for QoS 0; `topic` need not be UTF-8."""

    topic: bytes
    payload: bytes
    retain: bool
    packet_id: int | None = None
    correlation: bytes | None = None
    pairs: tuple[tuple[str, str], ...] = ()


def frame_length(data: bytes | bytearray, start: int) -> tuple[int, int] | None:
    """(length of the fixed header, length of the rest) of the packet at `start`; None while that is not known."""
    if len(data) <= start + 1:
        return None
    length, shift = 0, 0
    for position in range(start + 1, min(start + 5, len(data))):
        length |= (data[position] & 0x7F) << shift
        if data[position] < 0x80:
            return position + 1 - start, length
        shift += 7
    if len(data) >= start + 5:
        raise MalformedPacket("a remaining length of more than four bytes")
    return None


def read_publish(flags: int, body: bytes) -> Publish:
    """The PUBLISH with this first byte and this variable header and payload. Raises MalformedPacket."""
    try:
        return _read(flags, body)
    except (IndexError, UnicodeDecodeError) as error:
        raise MalformedPacket(f"PUBLISH: {error}") from error


def _read(flags: int, body: bytes) -> Publish:
    topic, at = _prefixed(body, 0)
    quality = flags >> 1 & 0x03
    packet_id = None
    if quality == 1:
        packet_id = int.from_bytes(body[at : at + 2])
        at += 2
    elif quality:
        raise MalformedPacket(f"PUBLISH: QoS {quality} was never asked for")
    length, at = _variable(body, at)
    end = at + length
    if end > len(body):
        raise MalformedPacket("PUBLISH: properties beyond its end")
    correlation, pairs = _properties(body, at, end) if length else (None, ())
    return Publish(topic, body[end:], bool(flags & RETAIN), packet_id, correlation, pairs)


def _properties(body: bytes, at: int, end: int) -> tuple[bytes | None, tuple[tuple[str, str], ...]]:
    correlation, pairs = None, []
    while at < end:
        kind = body[at]
        at += 1
        if kind in FIXED:
            at += FIXED[kind]
        elif kind in PREFIXED:
            _, at = _prefixed(body, at)
        elif kind == CORRELATION_DATA:
            correlation, at = _prefixed(body, at)
        elif kind == USER_PROPERTY:
            key, at = _prefixed(body, at)
            value, at = _prefixed(body, at)
            pairs.append((key.decode(), value.decode()))
        elif kind == SUBSCRIPTION_IDENTIFIER:
            _, at = _variable(body, at)
        else:
            raise MalformedPacket(f"PUBLISH: property {kind:#04x}")
    if at != end:
        raise MalformedPacket("PUBLISH: a property beyond the end of the properties")
    return correlation, tuple(pairs)


def _prefixed(body: bytes, at: int) -> tuple[bytes, int]:
    end = at + 2 + (body[at] << 8 | body[at + 1])
    if end > len(body):
        raise MalformedPacket("PUBLISH: a length beyond its end")
    return body[at + 2 : end], end


def _variable(body: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while shift < 28:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise MalformedPacket("PUBLISH: a number of more than four bytes")
