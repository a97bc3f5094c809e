"""One simulated node over a bare socket: it announces itself, tells of itself, asks, does as told and reports.

It follows docs/protocol.md as a periodic device does: no `round`, and it does not watch the other nodes. What it is
told to do takes no time; the response time that it reports is made up, and its birth says so (`emulated`).
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

import msgspec

from broker.codec import CARRIAGE, encode
from broker.messages import Birth, Decision, Heartbeat, Report, ReportAck, Request, Stages, State, Telemetry
from broker.publish_packet import frame_length, read_publish
from broker.topics import Address, Channel, filter_for, topic_for
from broker.vocabulary import Link, ModelName, NodeId, NodeState, Outcome, RequestId, SiteId, Tier
from testbed.load import packets
from testbed.load.ledger import Ledger

MODELS = {ModelName(f"d{number}"): "0" * 64 for number in range(8)}
LOCAL_MS = {"d0": 420.0, "d1": 260.0, "d2": 130.0, "d3": 80.0, "d4": 290.0, "d5": 190.0, "d6": 110.0, "d7": 70.0}
SERVED_MS = {Tier.EDGE: 150.0, Tier.CLOUD: 200.0}
EXPIRY_S = 2
KEEPALIVE_S = 10
RESEND_S = 3.0
READ_BYTES = 65_536

_decision = msgspec.json.Decoder(Decision)
_ack = msgspec.json.Decoder(ReportAck)


@dataclass(frozen=True, slots=True)
class Identity:
    """Which node this is."""

    site: SiteId
    node: NodeId
    tier: Tier


class Device:
    """Give it what its socket has (`readable`); what it sends leaves at once. Mutable; not for threads."""

    def __init__(self, identity: Identity, ledger: Ledger) -> None:
        self.identity = identity
        self.subscribed = self.answered = False
        self.subscribed_s = 0.0
        self.sock: socket.socket | None = None
        self.ledger = ledger
        self._session = 0
        self._packet_id = 0
        self._sequence = 0
        self._received = bytearray()
        self._unsent = bytearray()
        self._unacknowledged: dict[str, tuple[float, bytes]] = {}
        self._topics: dict[Channel, bytes] = {
            channel: topic_for(Address(identity.site, identity.node, channel)).encode()
            for channel in Channel
            if channel is not Channel.INFER
        }
        self._decision_end, self._ack_end = b"/" + Channel.DECISION.encode(), b"/" + Channel.REPORT_ACK.encode()

    # -- the link -----------------------------------------------------------------------------------------------

    def connect(self, host: str, port: int) -> socket.socket:
        """Connect and send CONNECT, SUBSCRIBE, birth, state, heartbeat and telemetry. Raises OSError."""
        site, node = self.identity.site, self.identity.node
        self._session = max(self._session + 1, int(time.time() * 1000))
        self._received.clear()
        self._unsent.clear()
        self.subscribed = False
        self.sock = socket.create_connection((host, port), 5.0)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        will = encode(State(session=self._session, state=NodeState.OFFLINE))
        topic = self._topics[Channel.STATE].decode()
        self._send(packets.connect(f"{site}.{node}.agent", KEEPALIVE_S, topic, will))
        wanted = (Channel.DECISION, Channel.RESULT, Channel.REPORT_ACK, Channel.STATE, Channel.PING)
        self._send(packets.subscribe(self._next_id(), [filter_for(site, channel, node) for channel in wanted]))
        birth = Birth(
            session=self._session,
            tier=self.identity.tier,
            agent_version="load",
            vcpus=1,
            models={str(model): sha for model, sha in MODELS.items()},
            emulated=True,
        )
        self._publish(Channel.BIRTH, encode(birth))
        self._publish(Channel.STATE, encode(State(session=self._session, state=NodeState.ONLINE)))
        self.beat()
        self.tell()
        return self.sock

    def close(self, clean: bool = True) -> None:
        """End the connection; unless it is clean the broker publishes the will."""
        if self.sock is None:
            return
        if clean:
            self._publish(Channel.STATE, encode(State(session=self._session, state=NodeState.STOPPED)))
            self._send(packets.DISCONNECT_PACKET)
        self.sock.close()
        self.sock, self.subscribed = None, False

    def readable(self) -> None:
        """Take what has come. Raises ConnectionError when the broker has closed."""
        if self.sock is None:
            return
        try:
            data = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionResetError("closed by the broker")
        received, start = self._received, 0
        received += data
        answers: list[bytes] = []
        while (lengths := frame_length(received, start)) is not None:
            end = start + sum(lengths)
            if end > len(received):
                break
            self._take(bytes(received[start:end]), lengths[0], answers)
            start = end
        del received[:start]
        if answers:
            self._send(b"".join(answers))

    # -- what it says -------------------------------------------------------------------------------------------

    def beat(self) -> None:
        """One heartbeat, and each report again that was not acknowledged for 3 s."""
        now_s = time.monotonic()
        for request_id, (sent_s, report) in list(self._unacknowledged.items()):
            if now_s - sent_s < RESEND_S:
                break
            del self._unacknowledged[request_id]
            self._send(self._reported(request_id, report))
        self._sequence += 1
        self._publish(Channel.HEARTBEAT, encode(Heartbeat(session=self._session, seq=self._sequence)))

    def tell(self) -> None:
        """One telemetry message."""
        told = Telemetry(seq=self._sequence, cpu_percent=20.0, memory_percent=30.0, link=Link.REGULAR, emulated=True)
        self._publish(Channel.TELEMETRY, encode(told))

    def ask(self) -> int:
        """One request; its number in the ledger."""
        number, request_id = self.ledger.send(time.monotonic())
        self._publish(Channel.REQUEST, encode(Request(request_id=request_id)), EXPIRY_S)
        return number

    def give_up(self, number: int, request_id: RequestId) -> None:
        """No decision came in time: it ran its best model by itself, and reports that."""
        if self.ledger.give_up(number):
            self._send(self._reported(request_id, self._report(request_id, None)))

    # -- what it is told ----------------------------------------------------------------------------------------

    def _take(self, packet: bytes, header: int, answers: list[bytes]) -> None:
        kind = packet[0] & 0xF0
        if kind == packets.PUBLISH:
            told = read_publish(packet[0], packet[header:])
            if told.packet_id is not None:
                answers.append(packets.puback(told.packet_id))
            if told.topic.endswith(self._decision_end):
                self._decided(_decision.decode(told.payload), answers)
            elif told.topic.endswith(self._ack_end):
                now_s = time.monotonic()
                for request_id in _ack.decode(told.payload).request_ids:
                    self._unacknowledged.pop(request_id, None)
                    number = self.ledger.number_of(request_id)
                    if number is not None:
                        self.ledger.acknowledge(number, now_s)
        elif kind == packets.SUBACK:
            self.subscribed, self.subscribed_s = True, time.monotonic()
        elif kind == packets.CONNACK and packet[header + 1] >= packets.FAILED:
            raise ConnectionRefusedError(f"the broker refused the connection: {packet[header + 1]:#x}")

    def _decided(self, decision: Decision, answers: list[bytes]) -> None:
        number = self.ledger.number_of(decision.request_id)
        if number is None or not self.ledger.decide(number, decision.policy, time.monotonic()):
            return
        self.answered = True
        report = self._report(RequestId(decision.request_id), decision)
        answers.append(self._reported(decision.request_id, report))

    def _reported(self, request_id: str, report: bytes) -> bytes:
        self._unacknowledged[request_id] = (time.monotonic(), report)
        return packets.publish(self._topics[Channel.REPORT], report, self._next_id())

    def _report(self, request_id: RequestId, decision: Decision | None) -> bytes:
        tier, model = (Tier.END, "d0") if decision is None else (decision.tier, decision.model)
        node = str(self.identity.node) if decision is None else decision.serving_node
        ms = SERVED_MS.get(tier) or LOCAL_MS.get(model, 100.0)
        return encode(
            Report(
                request_id=request_id,
                outcome=Outcome.FALLEN_BACK if decision is None else Outcome.DONE,
                decided=decision is not None,
                tier=tier,
                model=model,
                serving_node=node,
                response_ms=ms,
                stages=Stages(decide_ms=1.0, compute_ms=ms - 1.0),
                label="emulated",
                emulated=True,
            )
        )

    def _publish(self, channel: Channel, payload: bytes, expiry_s: int = 0) -> None:
        carriage = CARRIAGE[channel]
        packet_id = self._next_id() if carriage.qos else None
        self._send(packets.publish(self._topics[channel], payload, packet_id, carriage.retain, expiry_s))

    def _next_id(self) -> int:
        self._packet_id = self._packet_id % 65_535 + 1
        return self._packet_id

    def _send(self, data: bytes) -> None:
        if self.sock is None:
            return
        if self._unsent:  # the broker was slow to read; the next words try again
            data, self._unsent = bytes(self._unsent + data), bytearray()
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        self._unsent += data[sent:]
