"""Generated bad input: seeded mutations of what is right, for every decoder that reads what strangers send.

A decoder takes bytes and either returns or raises one of its named errors. Anything else is a finding, and so is a call
that takes more than a second.
"""

from __future__ import annotations

import random
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from broker import vocabulary
from broker.codec import CARRIAGE, decode
from broker.errors import InvalidName, Refused
from broker.publish_packet import MalformedPacket, frame_length, read_publish
from broker.topics import Address, Channel, parse, topic_for
from broker.vocabulary import NodeId, SiteId

HANG_S = 1.0
KEPT = 20  # findings that are told in full

TOKENS = (
    b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"true", b"1e400", b"-", b"\\u0000", b"\\ud800", b"\x00",
    b"\xff", b"\xc0\xaf", b"9" * 30, b"/", b"+", b"#", b"../", b"$share/g/", b"\n", b"[" * 200, b'{"a":' * 100,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """One decoder: what it calls right input, its named errors, and how to call it."""

    name: str
    seeds: Sequence[bytes]
    refuses: tuple[type[Exception], ...]
    call: Callable[[bytes], object]


@dataclass(slots=True)
class Tally:
    """What a run came to. Mutable."""

    inputs: int = 0
    refused: int = 0
    taken: int = 0
    slowest_s: float = 0.0
    hangs: int = 0
    unhandled: Counter[str] = field(default_factory=Counter)
    findings: list[str] = field(default_factory=list)

    def add(self, target: Target, data: bytes) -> None:
        """Try one input."""
        started_s = time.perf_counter()
        try:
            target.call(data)
            self.taken += 1
        except target.refuses:
            self.refused += 1
        except Exception as error:  # noqa: BLE001 - this is what is looked for
            self.unhandled[f"{target.name}: {type(error).__name__}"] += 1
            if len(self.findings) < KEPT:
                self.findings.append(f"{target.name}: {data[:200]!r}\n{traceback.format_exc(limit=-3)}")
        took_s = time.perf_counter() - started_s
        self.inputs += 1
        self.slowest_s = max(self.slowest_s, took_s)
        self.hangs += took_s > HANG_S


def targets(examples: Path) -> list[Target]:
    """Every decoder of what arrives. `examples` is the folder of right messages (`tests/wire/valid`)."""
    found = [
        Target(f"message on {channel}", examples_of(examples, channel), (Refused,), _decoding(channel))
        for channel, carriage in CARRIAGE.items()
        if carriage.message is not None
    ]
    site, node, device = SiteId("home"), NodeId("s1"), NodeId("s2")
    topics = [
        topic_for(Address(site, node, channel, device if channel is Channel.INFER else None)).encode()
        for channel in Channel
    ]
    found.append(Target("topic", topics, (Refused, UnicodeDecodeError), lambda data: parse(data.decode())))
    found.append(Target("packet", [_packet(topic) for topic in topics], (MalformedPacket,), _read_packets))
    for kind in ("site_id", "node_id", "request_id", "model_name"):
        check = getattr(vocabulary, kind)
        seeds = [b"home", b"s1", b"4f1c9a6be2d04c1f", b"mobile_net-v2"]
        found.append(Target(kind, seeds, (InvalidName, UnicodeDecodeError), _naming(check)))
    return found


def run(found: Sequence[Target], inputs: int, seed: int, told: Callable[[int], None] = lambda _done: None) -> Tally:
    """Try `inputs` mutants in turn over all targets. `told` hears every 10,000th."""
    tally = Tally()
    makers = [mutants_of(target.seeds, random.Random(f"{seed} {target.name}")) for target in found]
    for number in range(inputs):
        place = number % len(found)
        tally.add(found[place], next(makers[place]))
        if number % 10_000 == 0:
            told(number)
    return tally


def mutants_of(seeds: Sequence[bytes], chance: random.Random) -> Iterator[bytes]:
    """For ever: one of `seeds`, changed in one to eight places."""
    while True:
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
            _mutate(data, seeds, chance)
        yield bytes(data)


def _mutate(data: bytearray, seeds: Sequence[bytes], chance: random.Random) -> None:
    at, kind = chance.randint(0, len(data)), chance.randrange(7)
    if kind == 0 and at < len(data):
        data[at] ^= 1 << chance.randrange(8)
    elif kind == 1 and at < len(data):
        data[at] = chance.randrange(256)
    elif kind == 2:
        data[at:at] = chance.choice(TOKENS)
    elif kind == 3:
        del data[at : at + chance.randint(1, 20)]
    elif kind == 4:
        data[at:at] = data[at : at + chance.randint(1, 60)] * chance.randint(1, 4)
    elif kind == 5:
        other = chance.choice(seeds)
        data[at:] = other[chance.randint(0, len(other)) :]
    else:
        data[at:at] = chance.randbytes(chance.randint(1, 12))


def examples_of(examples: Path, channel: Channel) -> list[bytes]:
    """The right messages of a channel; none for images."""
    message = CARRIAGE[channel].message
    name = "" if message is None else message.__name__
    return [file.read_bytes() for file in sorted(examples.glob(f"{name}.*.json"))]


def _decoding(channel: Channel) -> Callable[[bytes], object]:
    return lambda data: decode(channel, data)


def _naming(check: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: check(data.decode())


def _packet(topic: bytes) -> bytes:
    """A PUBLISH of QoS 1 with expiry, correlation data and two user properties."""
    properties = b"\x02\x00\x00\x00\x0a\x09\x00\x0212" + b"\x26\x00\x05model\x00\x02d0" * 2
    body = len(topic).to_bytes(2) + topic + b"\x00\x01" + bytes([len(properties)]) + properties + b"{}"
    return bytes([0x32, 0x80 | len(body) & 0x7F, len(body) >> 7]) + body


def _read_packets(data: bytes) -> None:
    """As the link does: whole packets off the front of a stream."""
    start = 0
    while (lengths := frame_length(data, start)) is not None and start + sum(lengths) <= len(data):
        packet = data[start : start + sum(lengths)]
        if packet[0] & 0xF0 == 0x30:
            read_publish(packet[0], packet[lengths[0] :])
        start += sum(lengths)
