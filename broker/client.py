"""The one MQTT client: paho-mqtt 2 with MQTT 5, inside the asyncio loop of its process.

On every connect it draws a new session number, sets the last will with it, subscribes again and calls `on_connect`,
where a node publishes its birth and state. Handlers and hooks run in the loop, as soon as a message is read; whatever
one of them raises is logged and nothing stops. A QoS 1 message that was not acknowledged when the link broke is
published again on the next one, unless it has expired by then or spoke for the session that ended.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import Callable, Mapping

from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from broker.clock import Clock, SystemClock
from broker.codec import CARRIAGE, encode
from broker.endpoint import Endpoint
from broker.errors import NotConnected, Refused, TierwiseError, TlsUnusable
from broker.events import event
from broker.incoming import Inbound, accept
from broker.messages import Message, State
from broker.outgoing import Outgoing, outgoing
from broker.paho_link import LinkEvents, PahoLink, Will
from broker.publish_packet import FAILED, SESSION_TAKEN_OVER, Publish
from broker.rate_limit import RateLimit, RefusalLog
from broker.tls import TLS_FORGOTTEN, speaks_tls, why_no_link
from broker.topics import Address, Channel, topic_for
from broker.vocabulary import NodeId, NodeState, SiteId

__all__ = ["Endpoint", "Handler", "Inbound", "MqttClient"]

log = logging.getLogger(__name__)

STABLE_S = 6.0  # a link that stood so long is soon tried again; longer than an attempt to connect may take
STOPPED_TIMEOUT_S = 2.0
# Two clients with one identity end each other's connection for as long as both come back at once.
TAKEOVER_WINDOW_S = 60.0
MIN_TAKEOVER_BACKOFF_S, MAX_TAKEOVER_BACKOFF_S = 60.0, 600.0
OWN_SESSIONS = 32
TAKEOVER_HINT = (
    "another process connected with this identity: stop one of the two, or give it a node id and certificate of its own"
)


Handler = Callable[[Inbound], None]


class MqttClient:
    """Publishes and receives for one node of one site. Start `run()` as a task; end it with `stop()`.

    All methods are called from the loop's thread. `refused` counts, per reason, what was not acted on.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        site: SiteId,
        node: NodeId,
        role: str,
        *,
        announces_state: bool = True,
        clock: Clock | None = None,
        limit: RateLimit | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """`rng` draws the jitter of reconnect delays."""
        self.site = site
        self.node = node
        self.session = 0
        self.refused: Counter[str] = Counter()
        self.on_connect: list[Callable[[], None]] = []
        self.on_disconnect: list[Callable[[], None]] = []
        self._client_id = f"{site}.{node}.{role}"
        self._endpoint = endpoint
        self._clock = clock or SystemClock()
        self._announces_state = announces_state
        self._limit = limit
        self._refusals = RefusalLog()
        self._handlers: dict[Channel, Handler] = {}
        self._filters: list[tuple[str, SubscribeOptions]] = []
        self._link: PahoLink | None = None
        self._unacknowledged: dict[int, Outgoing] = {}
        self._awaiting_suback: dict[int, list[tuple[str, SubscribeOptions]]] = {}
        self._subscribed = asyncio.Event()
        self._lost = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._stopping = False
        self._why = ""  # there is no link
        self._speaks_tls: bool | None = None  # what listens, though this client was given no certificate
        self._rng = rng or random.Random()
        self._closed: tuple[float, int] | None = None  # when the last link ended without a reason, and its session
        self._own_sessions: deque[int] = deque(maxlen=OWN_SESSIONS)  # of attempts too: the broker may know their wills
        self._names_takeovers = False  # whether this broker has sent 0x8E
        self._taken_over_s: float | None = None  # when another client last took this one's session
        self._backoff_s = 0.0  # more than usual, before the next attempt to connect

    @property
    def connected(self) -> bool:
        """Connected *successfully*: accepted by the broker, and the subscriptions sent."""
        return self._link is not None

    async def wait_connected(self, timeout_s: float | None = None) -> None:
        """Return once connected and all subscriptions are granted. Raises NotConnected after `timeout_s`."""
        try:
            await asyncio.wait_for(self._subscribed.wait(), timeout_s)
        except TimeoutError as error:
            raise NotConnected(f"no broker at {self._endpoint}{self._why}") from error

    def subscribe(self, topic_filter: str, channel: Channel, handler: Handler) -> None:
        """Hand every accepted message of `channel` that matches `topic_filter` to `handler`, from now on."""
        self._handlers[channel] = handler
        self._add_filter(topic_filter, CARRIAGE[channel].qos)

    def subscribe_all(self, topic_filter: str, handler: Handler) -> None:
        """Hand every accepted message that matches `topic_filter` to `handler`, whatever its channel."""
        for channel in Channel:
            self._handlers.setdefault(channel, handler)
        self._add_filter(topic_filter, 1)

    def hear_again(self, topic_filter: str) -> None:
        """Have what is retained under a part of a subscription sent once more. Raises NotConnected."""
        if self._link is not None:
            self._link.subscribe([(topic_filter, SubscribeOptions(qos=1, retainAsPublished=True))])

    def publish(
        self,
        address: Address,
        body: Message | bytes,
        *,
        correlation: bytes | None = None,
        properties: Mapping[str, str] | None = None,
        expiry_s: int | None = None,
        on_puback: Callable[[], None] | None = None,
    ) -> None:
        """Hand one message to the broker, with its channel's quality of service, retain flag and expiry.

        Raises NotConnected when there is no broker now, MessageTooLarge when it would never be taken.
        `on_puback` runs when the broker has the whole message (QoS 1).
        """
        if self._link is None:
            raise NotConnected(f"{address.channel} not published: no broker at {self._endpoint}")
        message = outgoing(
            address,
            body,
            self._clock.monotonic(),
            packet_limit=self._link.packet_limit,
            expiry_s=expiry_s,
            correlation=correlation,
            pairs=properties,
            on_puback=on_puback,
        )
        self._send(self._link, message)

    def publish_state(self, state: NodeState, on_puback: Callable[[], None] | None = None) -> None:
        """Publish this node's retained state under the current session. Raises NotConnected."""
        body = State(session=self.session, state=state)
        self.publish(Address(self.site, self.node, Channel.STATE), body, on_puback=on_puback)

    def refuse(self, refusal: Refused, **fields: object) -> None:
        """Count and log a message that is not acted on; handlers call it for what only they can judge."""
        self.refused[refusal.reason] += 1
        says, unsaid = self._refusals.says(self._clock.monotonic())
        if unsaid:
            event(log, logging.WARNING, "refused_without_a_line", node=self.node, count=unsaid)
        if says:
            event(log, logging.WARNING, "refused", reason=refusal.reason, detail=refusal.detail[:300], **fields)

    async def run(self) -> None:
        """Connect, stay connected, come back with capped and jittered back-off, until `stop()`."""
        if self._stopping:
            return
        self._work = asyncio.create_task(self._stay_linked(), name=f"link of {self._client_id}")
        try:
            await self._work
        except asyncio.CancelledError:
            if not self._stopping:
                raise

    async def stop(self) -> None:
        """Say `stopped`, let the broker take it, and disconnect cleanly (the last will is not sent)."""
        self._stopping = True
        if (link := self._link) is not None:
            if self._announces_state:
                await self._say_stopped()
            await link.close()
        if self._work is not None:
            self._work.cancel()

    # -- links, one after the other ---------------------------------------------------------------------------

    async def _stay_linked(self) -> None:
        delay_s = self._endpoint.reconnect_min_s
        while not self._stopping:
            started_s = self._clock.monotonic()
            try:
                await self._link_once()
            except (OSError, NotConnected, TlsUnusable) as error:
                why = await self._why_no_link(error)
                self._why = f": {why}"
                event(log, logging.WARNING, "no_link", node=self.node, broker=self._endpoint, error=why)
            if self._clock.monotonic() - started_s >= STABLE_S:
                delay_s = self._endpoint.reconnect_min_s
            if not self._stopping:
                backoff_s, self._backoff_s = self._backoff_s, 0.0
                await asyncio.sleep(backoff_s + delay_s * self._rng.uniform(0.5, 1.0))
                delay_s = min(delay_s * 2, self._endpoint.reconnect_max_s)

    async def _why_no_link(self, error: Exception) -> str:
        """What `error` says; where a connection in plain text was closed, first whether the port speaks TLS."""
        endpoint = self._endpoint
        if endpoint.tls is None and not isinstance(error, ConnectionRefusedError) and self._speaks_tls is None:
            self._speaks_tls = await speaks_tls(endpoint.host, endpoint.port)
        return TLS_FORGOTTEN.format(port=endpoint.port) if self._speaks_tls else why_no_link(error)

    async def _link_once(self) -> None:
        """One link, from its first packet to its last. Raises OSError, NotConnected, TlsUnusable."""
        self.session = max(self.session + 1, int(self._clock.wall() * 1000))
        self._own_sessions.append(self.session)
        self._lost.clear()
        events = LinkEvents(self._on_link_up, self._on_message, self._on_puback, self._on_suback, self._on_link_lost)
        endpoint = self._endpoint
        link = PahoLink(self._client_id, endpoint.keepalive_s, self._will(), events)
        try:
            await link.open(endpoint.host, endpoint.port, endpoint.tls.context() if endpoint.tls else None)
            await self._lost.wait()
        finally:
            await link.abort()

    def _will(self) -> Will | None:
        if not self._announces_state:
            return None
        body = State(session=self.session, state=NodeState.OFFLINE)
        return Will(topic_for(Address(self.site, self.node, Channel.STATE)), encode(body))

    def _on_link_up(self, link: PahoLink) -> None:
        self._link = link
        # The hooks publish too, under packet ids that start again.
        unacknowledged, self._unacknowledged = self._unacknowledged, {}
        self._awaiting_suback = {link.subscribe(self._filters): list(self._filters)} if self._filters else {}
        if not self._awaiting_suback:
            self._subscribed.set()
        event(log, logging.INFO, "link_up", node=self.node, session=self.session)
        for hook in self.on_connect:
            self._guarded(hook)
        now_s = self._clock.monotonic()
        for message in unacknowledged.values():
            if message.is_worth_repeating(now_s):
                self._guarded(self._send, link, message)  # there may be more of them than may wait

    def _on_link_lost(self, reason: str, code: int | None) -> None:
        self._link = None
        self._subscribed.clear()
        self._lost.set()
        if not self._stopping:
            event(log, logging.WARNING, "link_lost", node=self.node, reason=reason)
            self._look_for_takeover(code)
            for hook in self.on_disconnect:
                self._guarded(hook)

    def _guarded(self, call: Callable[..., None], *arguments: object) -> None:
        """Run a handler or hook; what it raises ends here, in the log."""
        try:
            call(*arguments)
        except Refused as refusal:
            self.refuse(refusal, node=self.node)
        except TierwiseError as error:
            event(log, logging.WARNING, "handler_failed", node=self.node, handler=call, error=error)
        except Exception:
            log.exception("handler_failed node=%s handler=%s", self.node, call)

    # -- two clients with one identity ------------------------------------------------------------------------

    def _look_for_takeover(self, code: int | None) -> None:
        """Judge the end of a link by its reason code.

        Mosquitto sends 0x8E from 2.0.15 on; before, it closes without a reason. Then the state that is retained when
        this client is back tells (`_check_own_state`), and so soon after such a take-over the next end is another.
        Where the broker has sent 0x8E before, an end without a reason is the network's.
        """
        now_s = self._clock.monotonic()
        self._closed = None
        self._names_takeovers |= code == SESSION_TAKEN_OVER
        unnamed = code == 0 and not self._names_takeovers
        if code == SESSION_TAKEN_OVER or (unnamed and self._recently_taken_over(now_s)):
            self._on_taken_over(now_s)
        elif unnamed:
            self._closed = now_s, self.session

    def _check_own_state(self, state: object) -> None:
        """After an end without a reason: a state of this node under a later session that is not ours tells it.

        An earlier one may be that of this node's former process, which a broker restored after a crash of its own.
        """
        if self._closed is None or not isinstance(state, State):
            return
        closed_s, ended = self._closed
        if state.session > ended and state.session not in self._own_sessions:
            self._closed = None
            self._on_taken_over(closed_s)

    def _recently_taken_over(self, now_s: float) -> bool:
        return self._taken_over_s is not None and now_s - self._taken_over_s <= TAKEOVER_WINDOW_S

    def _on_taken_over(self, when_s: float) -> None:
        """Log it, and for the second time within TAKEOVER_WINDOW_S leave the identity to the other for minutes."""
        if self._recently_taken_over(when_s):
            self._backoff_s = self._rng.uniform(MIN_TAKEOVER_BACKOFF_S, MAX_TAKEOVER_BACKOFF_S)
        self._taken_over_s = when_s
        event(
            log,
            logging.WARNING,
            "session_taken_over",
            node=self.node,
            broker=self._endpoint,
            backoff_s=self._backoff_s,
            hint=TAKEOVER_HINT,
        )

    # -- outgoing ---------------------------------------------------------------------------------------------

    def _add_filter(self, topic_filter: str, qos: int) -> None:
        # As published: a retained decision is recognised as such by a device that is already there, too.
        new = (topic_filter, SubscribeOptions(qos=qos, retainAsPublished=True))
        self._filters.append(new)
        if self._link is not None:
            self._subscribed.clear()
            self._awaiting_suback[self._link.subscribe([new])] = [new]

    def _send(self, link: PahoLink, message: Outgoing) -> None:
        carriage = CARRIAGE[message.channel]
        properties = message.properties(self._clock.monotonic())
        packet_id = link.publish(message.topic, message.payload, carriage.qos, carriage.retain, properties)
        if carriage.qos:
            self._unacknowledged[packet_id] = message

    async def _say_stopped(self) -> None:
        taken = asyncio.Event()
        self._guarded(self.publish_state, NodeState.STOPPED, taken.set)
        waits = {asyncio.create_task(taken.wait()), asyncio.create_task(self._lost.wait())}
        await asyncio.wait(waits, timeout=STOPPED_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        if not taken.is_set():
            event(log, logging.WARNING, "stopped_not_acknowledged", node=self.node)

    def _on_puback(self, packet_id: int, code: int) -> None:
        message = self._unacknowledged.pop(packet_id, None)
        if message is None:
            return
        if code >= FAILED:
            event(log, logging.WARNING, "publish_refused", node=self.node, channel=message.channel, reason=f"{code:#x}")
        elif message.on_puback is not None:
            self._guarded(message.on_puback)

    def _on_suback(self, packet_id: int, codes: list[ReasonCode]) -> None:
        for (topic_filter, _), code in zip(self._awaiting_suback.pop(packet_id, ()), codes, strict=False):
            if code.is_failure:
                event(log, logging.WARNING, "subscription_refused", node=self.node, filter=topic_filter, reason=code)
        if not self._awaiting_suback:
            self._subscribed.set()

    # -- incoming ---------------------------------------------------------------------------------------------

    def _on_message(self, publish: Publish) -> None:
        try:
            inbound = accept(publish, self.site, self._handlers, self._clock.monotonic(), self._limit)
        except Refused as refusal:
            self.refuse(refusal, node=self.node)
            return
        if inbound.address.channel is Channel.STATE and inbound.address.node == self.node:
            self._check_own_state(inbound.body)
        self._guarded(self._handlers[inbound.address.channel], inbound)
