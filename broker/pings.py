"""Answers pings, on any node: on its own `pong`, whoever asked, and only so many of them a second."""

from __future__ import annotations

import logging
from collections.abc import Callable

from broker.client import Inbound, MqttClient
from broker.clock import Clock
from broker.errors import NotConnected
from broker.events import event
from broker.messages import Ping, Pong
from broker.topics import Address, Channel, filter_for

log = logging.getLogger(__name__)

MOST_PER_SECOND = 50
TOO_MANY = "too_many_pings"


class PingAnswering:
    """Subscribes a client to its own node's pings. What is over the limit is counted in the client's `refused`."""

    def __init__(self, client: MqttClient, clock: Clock, own: Callable[[str, float], bool] | None = None) -> None:
        """`own`: told the id of each ping and when it came; whether this node sent it itself, and wants no answer."""
        self._own = own
        self._client = client
        self._clock = clock
        self._second = 0
        self._answered = 0
        client.subscribe(filter_for(client.site, Channel.PING, client.node), Channel.PING, self._answer)

    def _answer(self, inbound: Inbound) -> None:
        if not isinstance(inbound.body, Ping):
            return
        if self._own is not None and self._own(inbound.body.ping_id, inbound.received_s):
            return
        if not self._may_answer(inbound.received_s):
            return
        handling_ms = max(0.0, self._clock.monotonic() - inbound.received_s) * 1000
        pong = Pong(ping_id=inbound.body.ping_id, session=self._client.session, handling_ms=handling_ms)
        try:
            self._client.publish(Address(self._client.site, self._client.node, Channel.PONG), pong)
        except NotConnected as error:
            event(log, logging.INFO, "ping_not_answered", node=self._client.node, reason=error)

    def _may_answer(self, now_s: float) -> bool:
        """One line in the log for each second of a flood: a line for each ping would cost more than an answer."""
        if int(now_s) != self._second:
            self._second, self._answered = int(now_s), 0
        self._answered += 1
        if self._answered <= MOST_PER_SECOND:
            return True
        self._client.refused[TOO_MANY] += 1
        if self._answered == MOST_PER_SECOND + 1:
            event(log, logging.WARNING, "refused", reason=TOO_MANY, node=self._client.node)
        return False
