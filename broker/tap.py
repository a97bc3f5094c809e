"""A client for people: hears every message as it came, that which no node would act on included."""

from __future__ import annotations

from collections.abc import Callable

from paho.mqtt.reasoncodes import ReasonCode

from broker.client import Endpoint, MqttClient
from broker.clock import Clock, SystemClock
from broker.errors import NotConnected
from broker.outgoing import Outgoing
from broker.publish_packet import Publish
from broker.topics import Channel
from broker.vocabulary import NodeId, SiteId

Hearer = Callable[[Publish, float], None]  # a message, and when it was read on the monotonic clock


class Tap(MqttClient):
    """Announces no state. It judges nothing: what it hears may be of any form, and must be shown with care."""

    def __init__(
        self, endpoint: Endpoint, site: SiteId, node: NodeId, hear: Hearer, clock: Clock | None = None
    ) -> None:
        clock = clock or SystemClock()
        super().__init__(endpoint, site, node, "person", announces_state=False, clock=clock)
        self._hear = hear
        self._reading_clock = clock
        self.denied = ""  # why the broker refused a subscription, if it did

    def listen(self, topic_filter: str) -> None:
        """Hear all that matches, from now on; retained messages first, and again after each new connection."""
        self._add_filter(topic_filter, 1)

    def publish_retained(self, topic: str, payload: bytes, on_puback: Callable[[], None] | None = None) -> None:
        """Replace what is retained at `topic`, or with no payload, remove it. Raises NotConnected."""
        if self._link is None:
            raise NotConnected(f"{topic} not published: no broker at {self._endpoint}")
        # Carried as a state is: QoS 1, retained, for ever, and not again by a later session, which knows no more
        # whether it should.
        self._send(self._link, Outgoing(Channel.STATE, topic, payload, None, on_puback=on_puback))

    def _on_message(self, publish: Publish) -> None:
        self._guarded(self._hear, publish, self._reading_clock.monotonic())

    def _on_suback(self, packet_id: int, codes: list[ReasonCode]) -> None:
        self.denied = next((str(code) for code in codes if code.is_failure), self.denied)
        super()._on_suback(packet_id, codes)
