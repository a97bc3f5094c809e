"""A bare paho client of either protocol version with a certificate: it tries things, and keeps what arrives."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from broker.endpoint import Endpoint

PATIENCE_S = 20.0
PROTOCOLS = {"3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}


class _Heard:
    """What the broker said, under one lock. paho knows this, not the Party: no cycle keeps its sockets open."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes, bool]] = []
        self.acknowledged: set[int] = set()
        self.connected: list[Any] = []
        self.ended = threading.Event()
        self.changed = threading.Condition()

    def on_connect(self, _client: Any, _userdata: Any, _flags: Any, code: Any, _properties: Any) -> None:
        with self.changed:
            self.connected.append(code)
            self.changed.notify_all()

    def on_disconnect(self, *_: Any) -> None:
        with self.changed:
            self.ended.set()
            self.changed.notify_all()

    def on_acknowledged(self, _client: Any, _userdata: Any, packet_id: int, _codes: Any, _properties: Any) -> None:
        with self.changed:
            self.acknowledged.add(packet_id)
            self.changed.notify_all()

    def on_message(self, _client: Any, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        with self.changed:
            self.received.append((message.topic, message.payload, message.retain))
            self.changed.notify_all()

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Return when it holds. Raises ConnectionError when the connection ends, TimeoutError after 20 s."""
        with self.changed:
            held = self.changed.wait_for(lambda: condition() or self.ended.is_set(), PATIENCE_S)
            if not condition() and self.ended.is_set():
                raise ConnectionError("the broker ended the connection")
            if not held:
                raise TimeoutError(f"no {what}")


class Party:
    """One connection. `received` holds topic, payload and retain flag of all that arrived, in order."""

    def __init__(
        self,
        endpoint: Endpoint,
        version: str = "5",
        client_id: str = "whoever",
        kept_s: int = 0,
        will: tuple[str, bytes] | None = None,
    ) -> None:
        """`kept_s`: for how long the broker keeps the session (MQTT 5); 0 starts clean."""
        self._endpoint = endpoint
        self._version = version
        self._client_id = client_id
        self._kept_s = kept_s
        self._heard = _Heard()
        self.received = self._heard.received
        self.ended = self._heard.ended
        self._mqtt = self._client(self._heard)
        if will is not None:
            self._mqtt.will_set(*will, qos=1)

    def _client(self, heard: _Heard) -> mqtt.Client:
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            protocol=PROTOCOLS[self._version],
            reconnect_on_failure=False,
        )
        assert self._endpoint.tls is not None
        client.tls_set_context(self._endpoint.tls.context())
        client.on_socket_open = _without_delay
        client.on_connect = heard.on_connect
        client.on_disconnect = heard.on_disconnect
        client.on_message = heard.on_message
        client.on_publish = client.on_subscribe = client.on_unsubscribe = heard.on_acknowledged
        client.max_queued_messages_set(0)
        return client

    def __enter__(self) -> Party:
        self._mqtt.connect(self._endpoint.host, self._endpoint.port, 60, **self._session())
        self._mqtt.loop_start()
        self._heard.wait_for(lambda: bool(self._heard.connected), f"CONNACK from {self._endpoint}")
        if self._heard.connected[0].is_failure:
            raise ConnectionError(f"{self._endpoint} did not let {self._client_id} in: {self._heard.connected[0]}")
        return self

    def __exit__(self, *_: object) -> None:
        self._mqtt.disconnect()
        self._mqtt.loop_stop()

    def _session(self) -> dict[str, Any]:
        if self._version != "5":
            return {}
        if not self._kept_s:
            return {"clean_start": True}
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho's
        properties.SessionExpiryInterval = self._kept_s
        return {"clean_start": False, "properties": properties}

    def publish(self, messages: Iterable[tuple[str, bytes]], *, retain: bool = False) -> None:
        """Publish each with QoS 1; returns when the broker has acknowledged, and therefore judged, all."""
        self._wait_for({self._mqtt.publish(topic, payload, 1, retain).mid for topic, payload in messages})

    def subscribe(self, filters: list[str], qos: int = 0) -> None:
        """Ask for all at once; returns when the broker has answered, whatever it said."""
        # MQTT 5: as published, so that a retained message shows its flag to those who are there already, too.
        if self._version == "5":
            options: list[Any] = [(f, SubscribeOptions(qos=qos, retainAsPublished=True)) for f in filters]
        else:
            options = [(f, qos) for f in filters]
        self._wait_for({self._mqtt.subscribe(options)[1]})

    def unsubscribe(self, filters: list[str]) -> None:
        """Returns when the broker has answered; what it had sent before with QoS 0 has arrived then."""
        self._wait_for({self._mqtt.unsubscribe(filters)[1]})

    def wait_for(self, payload: bytes) -> None:
        """Return when `payload` has arrived; all that the broker queued for us before has arrived then, too."""
        self._heard.wait_for(lambda: any(payload == got for _, got, _ in self.received), f"{payload!r}")

    def die_with_will(self, topic: str, payload: bytes) -> None:
        """Connect with a will, and cut the connection as soon as it is accepted."""
        heard = _Heard()
        client = self._client(heard)
        client.will_set(topic, payload, qos=1)
        client.connect(self._endpoint.host, self._endpoint.port, 60)
        deadline_s = time.monotonic() + PATIENCE_S
        while not heard.connected and time.monotonic() < deadline_s:
            client.loop(0.1)
        sock: Any = client.socket()
        if not heard.connected or heard.connected[0].is_failure or sock is None:
            raise ConnectionError(f"{self._endpoint} did not let {self._client_id} in with a will")
        sock.shutdown(socket.SHUT_RDWR)
        client.loop(0.1)

    def is_alive(self) -> bool:
        """Whether the broker still answers on this connection."""
        try:
            self.unsubscribe(["nothing"])
        except ConnectionError:
            return False
        return True

    def _wait_for(self, packet_ids: set[int | None]) -> None:
        self._heard.wait_for(lambda: packet_ids <= self._heard.acknowledged, f"answer to {len(packet_ids)} packets")
        self._heard.acknowledged -= packet_ids


def _without_delay(_client: Any, _userdata: Any, sock: Any) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
