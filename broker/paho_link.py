"""One connection to the broker: paho-mqtt speaks MQTT 5, asyncio carries the bytes.

paho's own socket handling would cost a thread, or one system call per field of a packet. Here an asyncio transport
reads and writes, and paho is given a socket-like object over buffers (as it is for websockets). It sees every packet
but PUBLISH, PUBACK and the pings, which are read and written here: its own keep-alive would take 6 to 19 s to notice a
frozen broker, and end a link on which an image needs longer to leave. A link is opened once and never reused.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from broker.buffer_socket import BufferSocket
from broker.errors import NotConnected
from broker.publish_packet import (
    DISCONNECT,
    FAILED,
    PUBACK,
    PUBLISH,
    TYPE_MASK,
    MalformedPacket,
    Publish,
    frame_length,
    read_disconnect,
    read_puback,
    read_publish,
    write_publish,
)
from broker.publish_window import MOST_IN_FLIGHT, PublishWindow
from broker.silence import LOOK_S, Silence

CONNECT_TIMEOUT_S = 5.0
ARRIVING_BYTES = 262_144  # read at once, into memory that is kept: asyncio would allocate as much for each read
TAKEN = bytes([PUBACK, 2])  # then the packet id; success
READ_BEFORE_WRITING = 8  # packets; what is written waits for so many, not for all that came together
CLOSE_TIMEOUT_S = 1.0
CLOSED = "closed by the broker"
PINGREQ, PINGRESP = b"\xc0\x00", 0xD0


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes, retained and with QoS 1, should this link end without a DISCONNECT."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class LinkEvents:
    """Whom a link calls, always from the loop.

    `lost` is called once, and only after `connected`: with the reason as text, and the reason code of the broker's
    DISCONNECT; 0 where the connection was closed without one, None where we gave it up.
    """

    connected: Callable[[PahoLink], None]
    message: Callable[[Publish], None]
    puback: Callable[[int, int], None]
    suback: Callable[[int, list[ReasonCode]], None]
    lost: Callable[[str, int | None], None]


class _PahoOverBuffers(mqtt.Client):
    """paho's client with our socket-like object in place of a TCP connection of its own."""

    buffers: BufferSocket

    def _create_socket(self) -> Any:
        return self.buffers


class PahoLink(asyncio.BufferedProtocol):
    """One connection: `open`, `subscribe`, `publish`, `close`. `packet_limit` is the broker's, once connected."""

    def __init__(self, client_id: str, keepalive_s: int, will: Will | None, events: LinkEvents) -> None:
        self.packet_limit: int | None = None
        self._transport: asyncio.Transport | None = None
        self._keepalive_s = keepalive_s
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._accepted: asyncio.Future[None] = self._loop.create_future()
        self._ended = asyncio.Event()
        self._is_up = False
        self._received = bytearray()
        self._arriving = memoryview(bytearray(ARRIVING_BYTES))
        self._reading = False
        self._gathering = False
        self._look: asyncio.TimerHandle | None = None
        self._silence = Silence(keepalive_s, self._loop.time())
        self._window = PublishWindow()
        self._mqtt = self._new_paho(client_id, will)

    async def open(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Return when the broker has accepted the connection. Raises OSError (a failed handshake too), NotConnected.

        However it ends, the link is to be closed or aborted.
        """
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._loop.create_connection(lambda: self, host, port, ssl=tls)
                await self._accepted
        except TimeoutError as error:
            raise NotConnected(f"no answer within {CONNECT_TIMEOUT_S:g} s") from error
        except UnicodeError as error:  # from the IDNA encoding of names like `a..b`
            raise NotConnected(f"{host!r} is not a host name") from error
        finally:
            self._accepted.cancel()  # nobody waits any more, should the end of the connection be heard later

    def subscribe(self, filters: list[tuple[str, SubscribeOptions]]) -> int:
        """Ask for these filters; the packet id, which `suback` will name."""
        result, packet_id = self._mqtt.subscribe(filters)
        if result is not MQTTErrorCode.MQTT_ERR_SUCCESS or packet_id is None:
            raise NotConnected(f"not subscribed: {mqtt.error_string(result)}")
        self._mqtt.loop_write()  # into the buffers now: before what is published next, or its answer finds nobody
        self._write_soon()
        return packet_id

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool, properties: Properties) -> int:
        """Send at the end of this turn of the loop; the packet id, which `puback` will name, 0 for QoS 0.

        Raises NotConnected.
        """
        if not self._is_up:
            raise NotConnected("not published: the connection has ended")
        packet_id = self._window.next_id() if qos else None
        packet = write_publish(topic.encode(), payload, properties.pack(), packet_id, retain)  # type: ignore[no-untyped-call]  # paho's
        if packet_id is None or self._window.offer(packet_id, packet):
            self._mqtt.buffers.send(packet)
            if packet_id is not None:
                self._silence.published(self._mqtt.buffers.sent_bytes)
            self._write_soon()
        return packet_id or 0

    async def close(self) -> None:
        """Send what is left and a DISCONNECT, so that the broker does not publish the will."""
        if self._is_up:
            self._mqtt.disconnect()
            self._write()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ended.wait(), CLOSE_TIMEOUT_S)
        await self.abort()

    async def abort(self) -> None:
        """Drop the connection; unless it was closed before, the broker publishes the will."""
        if self._transport is not None:
            # Python before 3.11.4: `abort` of a TLS transport that was closed twice finds its protocol gone. The
            # connection ends all the same, at the latest with the time-out of the TLS shutdown that `close` began.
            with contextlib.suppress(AttributeError):
                self._transport.abort()
            await self._ended.wait()

    # -- asyncio.BufferedProtocol -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"{transport!r} cannot carry MQTT")
        self._transport = transport
        self._mqtt.buffers = BufferSocket(transport)
        # Without it on both sides a QoS 1 message waits 40 ms and more for a delayed TCP acknowledgement.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._mqtt.reconnect()
        self._write()
        self._look = self._loop.call_later(LOOK_S, self._look_at_link)

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._arriving

    def buffer_updated(self, nbytes: int) -> None:
        self._take_bytes(self._arriving[:nbytes])

    def _take_bytes(self, data: memoryview) -> None:
        self._silence.heard(self._loop.time())
        received, start = self._received, 0
        arrived: memoryview | bytearray = data  # mostly whole packets, which need not be put together
        if received:
            received += data
            arrived = received
        self._reading, taken = True, 0
        try:
            while (lengths := frame_length(arrived, start)) is not None:
                end = start + sum(lengths)
                if end > len(arrived) or self._mqtt.socket() is None:
                    break
                with memoryview(arrived) as whole:  # slicing a bytearray would copy an image once more
                    packet = bytes(whole[start:end])
                self._take(packet, lengths[0])
                start, taken = end, taken + 1
                if taken % READ_BEFORE_WRITING == 0:
                    self._write()
        except MalformedPacket as error:
            self._lost(str(error))
        finally:
            self._reading = False
            if arrived is received:
                del received[:start]
            else:
                received += data[start:]
        self._write()

    def _take(self, packet: bytes, header: int) -> None:
        """Handle one whole packet."""
        buffers = self._mqtt.buffers
        kind = packet[0] & TYPE_MASK
        if kind == PUBACK:
            packet_id, code = read_puback(packet, header)
            if (following := self._window.taken(packet_id)) is not None:
                buffers.send(following)
                self._silence.published(buffers.sent_bytes)
            self._silence.acknowledged()
            self._events.puback(packet_id, code)
            return
        if kind == PINGRESP:
            self._silence.answered()
            return
        if kind == DISCONNECT and self._is_up:
            code = read_disconnect(packet, header)
            self._lost(_reason_of(code), code)  # before paho: some of its versions drop a code without properties
        if kind != PUBLISH:
            buffers.give(packet)
            while buffers.readable and self._mqtt.socket() is not None:
                self._mqtt.loop_read()
            return
        publish = read_publish(packet[0], packet, header)
        self._events.message(publish)
        if publish.packet_id is not None:
            buffers.send(TAKEN + publish.packet_id.to_bytes(2))

    def connection_lost(self, error: Exception | None) -> None:
        try:
            # Before paho does: it knows no more than that there is an end.
            self._lost(str(error) if error is not None else CLOSED, 0)
            self._mqtt.buffers.ended = True
            self._mqtt.loop_read()  # paho reads the end of the stream
        finally:
            self._ended.set()

    # -- paho -------------------------------------------------------------------------------------------------

    def _new_paho(self, client_id: str, will: Will | None) -> _PahoOverBuffers:
        client = _PahoOverBuffers(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = lambda _client, _userdata, mid, codes, _properties: self._events.suback(mid, codes)
        client.on_socket_register_write = lambda *_: None  # or paho would write each packet for itself
        client.connect_async("localhost", 1883, self._keepalive_s, clean_start=True)  # asyncio knows the real address
        return client

    def _on_connect(
        self, _client: mqtt.Client, _userdata: Any, _flags: Any, code: ReasonCode, properties: Properties | None
    ) -> None:
        if self._accepted.done():
            return
        if code.is_failure:
            self._accepted.set_exception(NotConnected(f"the broker refused the connection: {code}"))
            return
        self.packet_limit = getattr(properties, "MaximumPacketSize", None)
        self._window.most_in_flight = min(MOST_IN_FLIGHT, getattr(properties, "ReceiveMaximum", MOST_IN_FLIGHT))
        self._is_up = True
        self._accepted.set_result(None)
        self._events.connected(self)

    def _on_disconnect(
        self, _client: mqtt.Client, _userdata: Any, _flags: Any, code: ReasonCode, _properties: Properties | None
    ) -> None:
        self._lost(str(code))

    def _lost(self, reason: str, code: int | None = None) -> None:
        if self._look is not None:
            self._look.cancel()
        if not self._accepted.done():
            self._accepted.set_exception(NotConnected(f"the connection ended before it was accepted: {reason}"))
        if self._is_up:
            self._is_up = False
            self._events.lost(reason, code)

    def _look_at_link(self) -> None:
        if self._mqtt.socket() is None:
            return
        now_s, buffers = self._loop.time(), self._mqtt.buffers
        if self._is_up and self._silence.asks(now_s, buffers.sent_bytes):
            buffers.send(PINGREQ)
        self._write()
        if self._is_up and self._silence.gives_up(now_s, buffers.sent_bytes):
            self._lost("the broker does not answer")
            if self._transport is not None:
                self._transport.abort()
            return
        self._look = self._loop.call_later(LOOK_S, self._look_at_link)

    def _write_soon(self) -> None:
        """The first packet of a turn of the loop leaves at once; those after it, or while reading, leave together."""
        if not self._reading and not self._gathering:
            self._gathering = True
            self._loop.call_soon(self._end_of_turn)
            self._write()

    def _end_of_turn(self) -> None:
        self._gathering = False
        self._write()

    def _write(self) -> None:
        if self._mqtt.socket() is not None:
            self._mqtt.loop_write()
        self._mqtt.buffers.flush()


def _reason_of(code: int) -> str:
    """The name that MQTT 5 gives the reason code of a DISCONNECT."""
    if code < FAILED:
        return CLOSED
    try:
        return str(ReasonCode(PacketTypes.DISCONNECT, identifier=code))
    except KeyError:
        return f"reason code {code:#04x}"
