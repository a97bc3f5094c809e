"""A hundred good devices without, and with, one beside them that sends 5,000 messages a second."""

from __future__ import annotations

import contextlib
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from broker.children import start_child, wait_or_kill
from broker.codec import encode
from broker.messages import Request
from broker.publish_packet import PUBLISH, frame_length, read_publish
from broker.topics import Address, Channel, topic_for
from broker.vocabulary import NodeId, Tier, new_request_id
from testbed.load import packets
from testbed.load.crowd import Crowd
from testbed.load.device import Device, Identity
from testbed.load.ledger import Ledger
from testbed.load.site import SITE, Site
from testbed.load.steady import Run, Say, hold, in_words

FLOODER = NodeId("flooder")
FLOOD_PER_S = 5000
TURN_S = 0.01
BLOCKS = 3
START_S = 1.0
LOG_NAME = "flooder.log"


@dataclass(frozen=True, slots=True)
class Flood:
    """Blocks that took turns. `ratio`: the median p99 with the flood, to that without."""

    without: list[Run]
    beside: list[Run]
    ratio: float
    flood_per_s: float

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "ratio_p99": self.ratio,
            "flood_per_s": self.flood_per_s,
            "without": [run.as_json() for run in self.without],
            "beside": [run.as_json() for run in self.beside],
        }


def flood(site: Site, crowd: Crowd, rate: float, seconds: float, say: Say) -> Flood:
    """`seconds` are shared by all blocks. Raises TierwiseError."""
    without, beside = [], []
    for _ in range(BLOCKS):
        crowd.forget()
        without.append(hold(site, crowd, rate, seconds / BLOCKS / 2))
        say(f"alone: {in_words(without[-1])}")
        crowd.forget()
        with flooding(site):
            crowd.run(START_S)
            beside.append(hold(site, crowd, rate, seconds / BLOCKS / 2))
        say(f"beside a flood: {in_words(beside[-1])}")
    counts = [int(line) for line in (site.directory / LOG_NAME).read_text(encoding="utf-8").split()]
    per_s = [after - before for before, after in pairwise(counts) if after > before > 0]
    p99 = [statistics.median(run.figures.p99_ms for run in runs) for runs in (without, beside)]
    return Flood(without, beside, p99[1] / p99[0] if p99[0] else 0.0, statistics.median(per_s or [0]))


@contextmanager
def flooding(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """A process that floods, for as long as the context lasts. It prints each second how much it has sent."""
    endpoint = site.broker.endpoint
    command = [sys.executable, "-m", "testbed.load.flood", endpoint.host, str(endpoint.port), str(FLOOD_PER_S)]
    with (site.directory / LOG_NAME).open("ab") as output:
        child = start_child(command, output)
    site.prefer(child.pid)
    try:
        yield child
    finally:
        child.terminate()
        wait_or_kill(child, 5.0)


def pour(host: str, port: int, per_s: int) -> None:
    """Announce an end device, and send so many requests a second until the process is ended. Raises OSError."""
    device = Device(Identity(SITE, FLOODER, Tier.END), Ledger())
    sock = device.connect(host, port)
    topic = topic_for(Address(SITE, FLOODER, Channel.REQUEST)).encode()
    received, number, beat_s = bytearray(), 0, time.monotonic()
    next_s = time.monotonic()
    sent = second = 0
    while True:
        if int(time.monotonic()) != second:
            second = int(time.monotonic())
            print(sent, flush=True)
        requests = []
        for _ in range(int(per_s * TURN_S)):
            number = number % 60_000 + 1
            sent += 1
            requests.append(packets.publish(topic, encode(Request(request_id=new_request_id())), number, expiry_s=2))
        sock.setblocking(True)
        sock.sendall(b"".join(requests))
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            received += sock.recv(1 << 20)
        sock.sendall(_acknowledgements(received))
        if time.monotonic() - beat_s >= 1.0:
            beat_s = time.monotonic()
            device.beat()
        next_s = max(next_s + TURN_S, time.monotonic() - TURN_S)
        time.sleep(max(0.0, next_s - time.monotonic()))


def _acknowledgements(received: bytearray) -> bytes:
    answers, start = [], 0
    while (lengths := frame_length(received, start)) is not None and start + sum(lengths) <= len(received):
        packet = bytes(received[start : start + sum(lengths)])
        start += len(packet)
        if packet[0] & 0xF0 == PUBLISH:
            told = read_publish(packet[0], packet, lengths[0])
            answers += [] if told.packet_id is None else [packets.puback(told.packet_id)]
    del received[:start]
    return b"".join(answers)


if __name__ == "__main__":
    with contextlib.suppress(ConnectionError, socket.timeout):
        pour(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
