"""The MQTT 5 packets that a simulated device sends, as bytes; all others are read by `broker.publish_packet`. Pure."""

from __future__ import annotations

CONNECT, CONNACK, PUBLISH, PUBACK, SUBACK = 0x10, 0x20, 0x30, 0x40, 0x90
FAILED = 0x80  # reason codes from here on
DISCONNECT_PACKET = b"\xe0\x00"
MQTT_5 = b"\x00\x04MQTT\x05"
CLEAN_START, WILL_QOS_1_RETAINED = 0x02, 0x2C
EXPIRY = b"\x05\x02"  # five bytes of properties: Message Expiry Interval
RETAIN_AS_PUBLISHED_QOS_1 = b"\x09"


def connect(client_id: str, keepalive_s: int, will_topic: str, will: bytes) -> bytes:
    """A clean start with a retained last will of QoS 1."""
    flags = bytes([CLEAN_START | WILL_QOS_1_RETAINED])
    body = MQTT_5 + flags + keepalive_s.to_bytes(2) + b"\x00" + _text(client_id.encode())
    return _packet(CONNECT, body + b"\x00" + _text(will_topic.encode()) + _text(will))


def subscribe(packet_id: int, filters: list[str]) -> bytes:
    """With QoS 1, as published."""
    wanted = b"".join(_text(one.encode()) + RETAIN_AS_PUBLISHED_QOS_1 for one in filters)
    return _packet(0x82, packet_id.to_bytes(2) + b"\x00" + wanted)


def publish(topic: bytes, payload: bytes, packet_id: int | None, retain: bool = False, expiry_s: int = 0) -> bytes:
    """QoS 1 with a packet id, QoS 0 without."""
    properties = EXPIRY + expiry_s.to_bytes(4) if expiry_s else b"\x00"
    if packet_id is None:
        return _packet(PUBLISH | retain, _text(topic) + properties + payload)
    return _packet(PUBLISH | 0x02 | retain, _text(topic) + packet_id.to_bytes(2) + properties + payload)


def puback(packet_id: int) -> bytes:
    """Taken."""
    return b"\x40\x02" + packet_id.to_bytes(2)


def _text(data: bytes) -> bytes:
    return len(data).to_bytes(2) + data


def _packet(kind: int, body: bytes) -> bytes:
    length, digits = len(body), bytearray([kind])
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(digits) + body
