"""Which retained messages of a site belong to nodes that are gone, and which nobody would act on. Pure.

A node is alive if something came from it during the look that is not retained. It is gone if nothing did and the state
of its latest birth is `stopped` or `offline`. One that says `online`, or nothing, and is silent may be frozen: it is
gone only when the broker itself would have noticed by now, which takes one and a half times the longest keep-alive.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from broker.codec import CARRIAGE, decode
from broker.errors import InvalidName, Refused
from broker.messages import Birth, Message, State
from broker.publish_packet import Publish
from broker.topics import Address, Channel, parse, site_part, topic_for
from broker.vocabulary import NodeId, NodeState, SiteId, node_id

LONGEST_KEEPALIVE_S = 60
SURELY_SILENT_S = 100.0  # 1.5 times that, and the ten seconds that Mosquitto is late
OF_THE_NODE = (Channel.HEARTBEAT, Channel.TELEMETRY, Channel.REQUEST, Channel.REPORT, Channel.ROUND, Channel.PONG)
EARLIEST_SESSION_MS = 1_577_836_800_000  # 2020: what is less is no time of day
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Ghost:
    """A retained message that may be removed, and why. `began_s`: wall time of its session's beginning, if known."""

    topic: str
    payload: bytes
    node: NodeId | None
    channel: Channel | None
    reason: str
    began_s: float | None = None


@dataclass(slots=True)
class Survey:
    """What was heard so far: per topic of the site what is retained there, and who is alive."""

    site: SiteId
    retained: dict[str, bytes] = field(default_factory=dict)
    alive: set[NodeId] = field(default_factory=set)

    def hear(self, publish: Publish) -> None:
        """Take one message of any form. What is outside the site changes nothing."""
        try:
            topic = publish.topic.decode()
        except UnicodeDecodeError:
            return
        if not topic.startswith(site_part(self.site)):
            return
        if publish.retain:
            self.retained.pop(topic, None)
            if publish.payload:
                self.retained[topic] = publish.payload
        elif (address := _address(topic)) is not None and address.channel in OF_THE_NODE:
            self.alive.add(address.node)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What may go; and the nodes that may be frozen, or gone: to be looked at for longer."""

    ghosts: tuple[Ghost, ...]
    unclear: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class _Standing:
    """What one node's retained messages say together."""

    alive: bool
    known: bool
    gone: str | None  # why, if it is
    began_s: float | None


STRANGER = _Standing(alive=False, known=False, gone=None, began_s=None)


def judge(survey: Survey, silent_s: float, now_s: float, only: Collection[NodeId] = ()) -> Judgement:
    """What may be removed after a look of `silent_s`, in order of topics; if `only` names nodes, only of these."""
    nodes = {_node_of(topic, survey.site) for topic in survey.retained} - {None}
    standings = {node: _standing(survey, node, silent_s, now_s) for node in nodes if node is not None}
    ghosts = []
    for topic, payload in sorted(survey.retained.items()):
        node = _node_of(topic, survey.site)
        address = _address(topic)
        standing = STRANGER if node is None else standings[node]
        reason = _reason(address, payload, standing)
        if reason is not None and (not only or node in only):
            channel = None if address is None else address.channel
            ghosts.append(Ghost(topic, payload, node, channel, reason, standing.began_s))
    unclear = [
        node
        for node, standing in standings.items()
        if standing.known and not standing.alive and standing.gone is None and (not only or node in only)
    ]
    return Judgement(tuple(ghosts), tuple(sorted(unclear)))


def still_ghosts(shown: Collection[Ghost], again: Judgement) -> tuple[list[Ghost], list[Ghost]]:
    """Of those that were shown, the ones to which a later look adds nothing new; and the others."""
    now: Mapping[str, bytes] = {ghost.topic: ghost.payload for ghost in again.ghosts}
    same = [ghost for ghost in shown if now.get(ghost.topic) == ghost.payload]
    return same, [ghost for ghost in shown if ghost not in same]


def _reason(address: Address | None, payload: bytes, standing: _Standing) -> str | None:
    """Why this message may go; None if it must stay."""
    if address is not None and not CARRIAGE[address.channel].retain:
        return f"{address.channel} is never retained: nobody acts on it"
    if standing.alive:
        return None
    if standing.gone is not None:
        return standing.gone
    if address is None:
        return None if standing.known else "no topic of this protocol"
    refused = _refusal(address.channel, payload)
    return None if refused is None else f"undecodable: {refused.detail[:100]}"


def _standing(survey: Survey, node: NodeId, silent_s: float, now_s: float) -> _Standing:
    birth = _said(survey, node, Channel.BIRTH)
    state = _said(survey, node, Channel.STATE)
    goal = _said(survey, node, Channel.GOAL)
    session = birth.session if isinstance(birth, Birth) else state.session if isinstance(state, State) else None
    alive = node in survey.alive
    gone = None if alive else _gone(birth, state, silent_s)
    summary = _said(survey, node, Channel.SUMMARY)
    known = any(said is not None for said in (birth, state, goal, summary))
    return _Standing(alive, known, gone if known else None, _began_s(session, now_s))


def _gone(birth: Message | None, state: Message | None, silent_s: float) -> str | None:
    # A late will of an old session says nothing about the present one.
    of_present = isinstance(state, State) and (not isinstance(birth, Birth) or birth.session == state.session)
    if isinstance(state, State) and of_present and state.state is not NodeState.ONLINE:
        return f"{state.state}, and silent"
    if silent_s < SURELY_SILENT_S:
        return None
    says = f"says {state.state}" if isinstance(state, State) else "no state"
    return f"{says}, but silent for {silent_s:.0f} s"


def _began_s(session: int | None, now_s: float) -> float | None:
    """Our nodes number sessions by the time of day in ms; others need not."""
    if session is None or not EARLIEST_SESSION_MS <= session <= now_s * 1000 + DAY_MS:
        return None
    return session / 1000


def _said(survey: Survey, node: NodeId, channel: Channel) -> Message | None:
    """What the node's retained message on `channel` says; None if there is none, or it does not decode."""
    payload = survey.retained.get(topic_for(Address(survey.site, node, channel)))
    if payload is None or _refusal(channel, payload) is not None:
        return None
    body = decode(channel, payload)
    return None if isinstance(body, bytes) else body


def _refusal(channel: Channel, payload: bytes) -> Refused | None:
    try:
        decode(channel, payload)
    except Refused as refusal:
        return refusal
    return None


def _address(topic: str) -> Address | None:
    try:
        return parse(topic)
    except Refused:
        return None


def _node_of(topic: str, site: SiteId) -> NodeId | None:
    """Whose topic it is, or would be, were its channel known."""
    name = topic.removeprefix(site_part(site)).partition("/")[0]
    try:
        return node_id(name)
    except InvalidName:
        return None
