"""Fills a subscriber's queue in the broker, and counts what the broker dropped without a word."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from types import TracebackType

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from broker.client import Endpoint

DROPPED = "$SYS/broker/publish/messages/dropped"
PATIENCE_S = 10.0
LOOK_S = 0.02


class Flood:
    """A foreign client with paho's own thread. `dropped` is the sum over all lives of the broker. A context manager."""

    def __init__(self, endpoint: Endpoint, heartbeats: str) -> None:
        """`heartbeats`: the topic of the subscriber whose queue is to be filled."""
        self.published = 0
        self._heard = threading.Event()
        self._earlier = 0
        self._latest = 0
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="flood", protocol=mqtt.MQTTv5)
        self._client.max_queued_messages_set(0)
        self._client.reconnect_delay_set(1, 2)
        self._client.on_connect = lambda client, *_: client.subscribe([(DROPPED, 0), (heartbeats, 0)])
        self._client.on_publish = lambda *_: self._taken()
        self._client.message_callback_add(DROPPED, lambda _c, _u, message: self._counted(bytes(message.payload)))
        self._client.message_callback_add(heartbeats, lambda *_: self._heard.set())
        self._client.connect_async(endpoint.host, endpoint.port, keepalive=5)

    def __enter__(self) -> Flood:
        self._client.loop_start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def dropped(self) -> int:
        """Messages that the broker acknowledged, or was about to forward, and dropped."""
        return self._earlier + self._latest

    async def subscriber_is_there(self) -> bool:
        """Whether its heart beats, now or soon: a queue is only kept for who is connected."""
        self._heard.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while not self._heard.is_set():
                    await asyncio.sleep(LOOK_S)
        return self._heard.is_set()

    async def flood(self, topic: str, payload: Callable[[], bytes], count: int) -> bool:
        """Publish `count` messages at QoS 1; False when the broker did not take them all in time."""
        wanted = self.published + count
        for _ in range(count):
            self._client.publish(topic, payload(), qos=1)  # without a link paho keeps it for the next
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while self.published < wanted:
                    await asyncio.sleep(LOOK_S)
        return self.published >= wanted

    def _taken(self) -> None:
        self.published += 1

    def _counted(self, payload: bytes) -> None:
        count = int(payload)
        if count < self._latest:  # a new life of the broker
            self._earlier += self._latest
        self._latest = count
