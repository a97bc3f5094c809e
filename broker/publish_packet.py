"""Reads and writes MQTT 5 PUBLISH packets, the bulk of what arrives and leaves, and reads PUBACK and DISCONNECT.

paho builds a table of all MQTT properties for each packet that it reads, and locks and a condition for each that it
sends, which takes five times as long as the rest of a message's way through this process. Only what our protocol uses
is read here; all other packets are paho's.
"""

from __future__ import annotations

from msgspec import Struct

PUBLISH = 0x30
PUBACK = 0x40
DISCONNECT = 0xE0
SESSION_TAKEN_OVER = 0x8E  # the broker's reason to end a connection whose client id connected anew
QOS_1 = 0x02
FAILED = 0x80  # reason codes from here on
TYPE_MASK = 0xF0
RETAIN = 0x01
# The length in bytes of the properties that a PUBLISH may have (MQTT 5, 3.3.2.3), by kind.
EXPIRY = 0x02
FIXED = {0x01: 1, EXPIRY: 4, 0x23: 2}
PREFIXED = (0x03, 0x08)
CORRELATION_DATA = 0x09
SUBSCRIPTION_IDENTIFIER = 0x0B
USER_PROPERTY = 0x26
# Ours have about 150. A packet could hold 50,000 pairs, which took half a second to read: longer ones are passed over.
MOST_PROPERTIES_BYTES = 1024


class MalformedPacket(Exception):  # never leaves the link, which ends with it
    """Bytes that no broker should have sent."""


class Publish(Struct, frozen=True, gc=False):  # made in a fifth of a dataclass's time, for each message
    """One PUBLISH of QoS 0 or 1. `packet_id` is None for QoS 0; `topic` need not be UTF-8.

    Of properties that together have more than MOST_PROPERTIES_BYTES none is told.
    """

    topic: bytes
    payload: bytes
    retain: bool
    packet_id: int | None = None
    correlation: bytes | None = None
    pairs: tuple[tuple[str, str], ...] = ()
    expiry_s: int | None = None


def frame_length(data: bytes | bytearray | memoryview, start: int) -> tuple[int, int] | None:
    """(length of the fixed header, length of the rest) of the packet at `start`; None while that is not known."""
    if len(data) <= start + 1:
        return None
    if data[start + 1] < 0x80:  # what nearly all are
        return 2, data[start + 1]
    length, shift = 0, 0
    for position in range(start + 1, min(start + 5, len(data))):
        length |= (data[position] & 0x7F) << shift
        if data[position] < 0x80:
            return position + 1 - start, length
        shift += 7
    if len(data) >= start + 5:
        raise MalformedPacket("a remaining length of more than four bytes")
    return None


def write_publish(topic: bytes, payload: bytes, properties: bytes, packet_id: int | None, retain: bool) -> bytes:
    """A PUBLISH of QoS 1, of QoS 0 without a packet id. `properties` begin with their length."""
    flags = PUBLISH | retain if packet_id is None else PUBLISH | QOS_1 | retain
    number = b"" if packet_id is None else packet_id.to_bytes(2)
    rest, length = bytearray([flags]), 2 + len(topic) + len(number) + len(properties) + len(payload)
    while length > 0x7F:
        rest.append(length & 0x7F | 0x80)
        length >>= 7
    rest.append(length)
    return b"".join((rest, len(topic).to_bytes(2), topic, number, properties, payload))


def read_puback(packet: bytes, header: int) -> tuple[int, int]:
    """The packet id and reason code of a PUBACK; without a code it is 0, success. Raises MalformedPacket."""
    if len(packet) < header + 2:
        raise MalformedPacket("PUBACK: no packet id")
    code = packet[header + 2] if len(packet) > header + 2 else 0
    return int.from_bytes(packet[header : header + 2]), code


def read_disconnect(packet: bytes, header: int) -> int:
    """The reason code of a DISCONNECT from the broker; without one it is 0 (MQTT 5, 3.14.2.1)."""
    return packet[header] if len(packet) > header else 0


def read_publish(flags: int, body: bytes, at: int = 0) -> Publish:
    """The PUBLISH with this first byte, whose variable header and payload are what `body` has from `at`.

    Raises MalformedPacket.
    """
    try:
        return _read(flags, body, at)
    except (IndexError, UnicodeDecodeError) as error:
        raise MalformedPacket(f"PUBLISH: {error}") from error


def _read(flags: int, body: bytes, at: int) -> Publish:
    topic, at = _prefixed(body, at)
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
    correlation, pairs, expiry_s = (
        _properties(body, at, end) if 0 < length <= MOST_PROPERTIES_BYTES else (None, (), None)
    )
    return Publish(topic, body[end:], bool(flags & RETAIN), packet_id, correlation, pairs, expiry_s)


def _properties(body: bytes, at: int, end: int) -> tuple[bytes | None, tuple[tuple[str, str], ...], int | None]:
    correlation, expiry_s, pairs = None, None, []
    while at < end:
        kind = body[at]
        at += 1
        if kind in FIXED:
            if kind == EXPIRY:
                expiry_s = int.from_bytes(body[at : at + 4])
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
    return correlation, tuple(pairs), expiry_s


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
