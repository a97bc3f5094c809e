"""One connection to the broker: paho-mqtt speaks MQTT 5, asyncio carries the bytes.

paho's own socket handling would cost a thread, or one system call per field of a packet. Here an asyncio transport
reads and writes, and paho is given a socket-like object over buffers (as it is for websockets). It sees every packet
but the incoming PUBLISH, which is read and acknowledged here. A link is opened once and never reused.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from broker.errors import NotConnected
from broker.publish_packet import PUBLISH, TYPE_MASK, MalformedPacket, Publish, frame_length, read_publish

CONNECT_TIMEOUT_S = 5.0
PUBACK = b"\x40\x02"  # then the packet id; success
CLOSE_TIMEOUT_S = 1.0
MISC_PERIOD_S = 1.0  # how often paho looks at its keep-alive


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes, retained and with QoS 1, should this link end without a DISCONNECT."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class LinkEvents:
    """Whom a link calls, always from the loop. `lost` is called once, and only after `connected`."""

    connected: Callable[[PahoLink], None]
    message: Callable[[Publish], None]
    puback: Callable[[int, ReasonCode], None]
    suback: Callable[[int, list[ReasonCode]], None]
    lost: Callable[[str], None]


class _BufferSocket:
    """What paho takes for its socket: reads the packet that it is given, writes to what will leave together."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.ended = False
        self._packet = b""
        self._position = 0
        self._outgoing: list[bytes | bytearray] = []
        self._transport = transport

    def give(self, packet: bytes) -> None:
        self._packet, self._position = packet, 0

    @property
    def readable(self) -> bool:
        return self._position < len(self._packet)

    def recv(self, size: int) -> bytes:
        if not self.readable and not self.ended:
            raise BlockingIOError
        data = self._packet[self._position : self._position + size]
        self._position += len(data)
        return data

    def send(self, data: bytes | bytearray) -> int:
        self._outgoing.append(data)
        return len(data)

    def flush(self) -> None:
        if self._outgoing and not self._transport.is_closing():
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def fileno(self) -> int:
        return -1

    def setblocking(self, flag: bool) -> None:
        """Never blocks."""


class _PahoOverBuffers(mqtt.Client):
    """paho's client with our socket-like object in place of a TCP connection of its own."""

    buffers: _BufferSocket

    def _create_socket(self) -> Any:
        return self.buffers


class PahoLink(asyncio.Protocol):
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
        self._reading = False
        self._gathering = False
        self._misc: asyncio.TimerHandle | None = None
        self._mqtt = self._new_paho(client_id, will)

    async def open(self, host: str, port: int) -> None:
        """Return when the broker has accepted the connection. Raises OSError, NotConnected.

        However it ends, the link is to be closed or aborted.
        """
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._loop.create_connection(lambda: self, host, port)
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
        self._write_soon()
        return packet_id

    def publish(self, topic: str, payload: bytes, qos: int, retain: bool, properties: Properties) -> int:
        """Send at the end of this turn of the loop; the packet id, which `puback` will name. Raises NotConnected."""
        info = self._mqtt.publish(topic, payload, qos, retain, properties)
        if info.rc is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise NotConnected(f"not published: {mqtt.error_string(info.rc)}")
        self._write_soon()
        return info.mid

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
            self._transport.abort()
            await self._ended.wait()

    # -- asyncio.Protocol -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not isinstance(transport, asyncio.Transport):
            raise TypeError(f"{transport!r} cannot carry MQTT")
        self._transport = transport
        self._mqtt.buffers = _BufferSocket(transport)
        # Without it on both sides a QoS 1 message waits 40 ms and more for a delayed TCP acknowledgement.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._mqtt.reconnect()
        self._write()
        self._misc = self._loop.call_later(MISC_PERIOD_S, self._look_at_keepalive)

    def data_received(self, data: bytes) -> None:
        received, start = self._received, 0
        received += data
        self._reading = True
        try:
            while (lengths := frame_length(received, start)) is not None:
                end = start + sum(lengths)
                if end > len(received) or self._mqtt.socket() is None:
                    break
                self._take(bytes(received[start:end]), lengths[0])
                start = end
        except MalformedPacket as error:
            self._lost(str(error))
        finally:
            self._reading = False
            del received[:start]
        self._write()

    def _take(self, packet: bytes, header: int) -> None:
        """Handle one whole packet."""
        buffers = self._mqtt.buffers
        if packet[0] & TYPE_MASK != PUBLISH:
            buffers.give(packet)
            while buffers.readable and self._mqtt.socket() is not None:
                self._mqtt.loop_read()
            return
        publish = read_publish(packet[0], packet[header:])
        self._events.message(publish)
        if publish.packet_id is not None:
            buffers.send(PUBACK + publish.packet_id.to_bytes(2))

    def connection_lost(self, error: Exception | None) -> None:
        try:
            self._mqtt.buffers.ended = True
            self._mqtt.loop_read()  # paho reads the end of the stream and says so through on_disconnect
            self._lost(str(error) if error is not None else "closed by the broker")
        finally:
            self._ended.set()

    # -- paho -------------------------------------------------------------------------------------------------

    def _new_paho(self, client_id: str, will: Will | None) -> _PahoOverBuffers:
        client = _PahoOverBuffers(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5)
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
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
        self._is_up = True
        self._accepted.set_result(None)
        self._events.connected(self)

    def _on_publish(
        self, _client: mqtt.Client, _userdata: Any, mid: int, code: ReasonCode, _properties: Properties
    ) -> None:
        if self._reading:  # paho calls this for QoS 0 as well, when it has written it
            self._events.puback(mid, code)

    def _on_disconnect(
        self, _client: mqtt.Client, _userdata: Any, _flags: Any, code: ReasonCode, _properties: Properties | None
    ) -> None:
        self._lost(str(code))

    def _lost(self, reason: str) -> None:
        if self._misc is not None:
            self._misc.cancel()
        if not self._accepted.done():
            self._accepted.set_exception(NotConnected(f"the connection ended before it was accepted: {reason}"))
        if self._is_up:
            self._is_up = False
            self._events.lost(reason)

    def _look_at_keepalive(self) -> None:
        self._mqtt.loop_misc()
        self._write()
        if self._mqtt.socket() is not None:
            self._misc = self._loop.call_later(MISC_PERIOD_S, self._look_at_keepalive)

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
