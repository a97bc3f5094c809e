"""The cells of the access matrix: who tries what where, and what `broker.access` says must come of it. Data only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from broker.access import ACCESS, READS_BROKER_FIGURES, Role, Whose
from broker.topics import CONTROL, CONTROL_RESPONSE, Address, Channel, filter_for, filter_for_everything, topic_for
from broker.vocabulary import NodeId, SiteId

SITE, OTHER_SITE = SiteId("matrix"), SiteId("elsewhere")
BYSTANDER, SERVING = NodeId("bystander"), NodeId("serving")  # whose topics are tried beside one's own
VERSIONS = ("3.1.1", "5")


class Verb(StrEnum):
    """What is tried."""

    PUBLISH = "publish"
    RETAINED = "retained publish"
    SUBSCRIBE = "subscribe"
    WILDCARD = "wildcard subscribe"
    SHARED = "$share"
    WILL = "will"


PUBLISHES = (Verb.PUBLISH, Verb.RETAINED, Verb.WILL)


class Outside(StrEnum):
    """Families of topics that are no channel of the site."""

    SITE = "another site"
    CONTROL = "$CONTROL"
    SYS = "$SYS"
    REST = "outside tierwise"


Family = Channel | Outside
FAMILIES: tuple[Family, ...] = (*Channel, *Outside)


@dataclass(frozen=True, slots=True)
class Actor:
    """One account that tries everything, over one version of MQTT."""

    role: Role
    version: str

    @property
    def name(self) -> NodeId:
        return NodeId(f"{self.role.replace('_', '-')}-{self.version.replace('.', '')}")


@dataclass(frozen=True, slots=True)
class Trial:
    """A topic of `family` that one actor tries a verb on. A cell is right when all its trials are."""

    actor: Actor
    family: Family
    verb: Verb
    own: bool
    topic: str

    @property
    def cell(self) -> tuple[Role, Family, Verb, str]:
        return self.actor.role, self.family, self.verb, self.actor.version

    @property
    def name(self) -> str:
        """A word that no other trial has; it travels as the payload."""
        return "~".join([self.actor.name, self.family, self.verb, "own" if self.own else "other"])


ACTORS = tuple(Actor(role, version) for version in VERSIONS for role in Role)


def trials(actor: Actor, verb: Verb) -> Iterator[Trial]:
    """All that `actor` tries with `verb`."""
    for channel in Channel:
        for own in (True, False):
            yield Trial(actor, channel, verb, own, _topic(channel, actor.name if own else BYSTANDER, verb))
    control = CONTROL if verb in PUBLISHES else CONTROL_RESPONSE
    elsewhere = topic_for(Address(OTHER_SITE, actor.name, Channel.STATE))
    outside = {
        Outside.SITE: elsewhere,
        Outside.CONTROL: control,
        Outside.SYS: "$SYS/broker/uptime",
        Outside.REST: f"anything/{actor.name}",
    }
    for family, topic in outside.items():
        yield Trial(actor, family, verb, False, topic)


def _topic(channel: Channel, node: NodeId, verb: Verb) -> str:
    """A requester's own `infer` ends in its id, a serving node's own begins with it."""
    if channel is not Channel.INFER:
        return topic_for(Address(SITE, node, channel))
    if verb in PUBLISHES:
        return topic_for(Address(SITE, SERVING, channel, node))
    return topic_for(Address(SITE, node, channel, BYSTANDER))


def wildcards(actor: Actor) -> list[str]:
    """Filters that somebody who wants more than its own would try."""
    everything = filter_for_everything(SITE)
    channels = [filter_for(SITE, channel) for channel in Channel]
    of_one = [everything.replace("#", f"{node}/#") for node in (actor.name, BYSTANDER)]
    uploads = [filter_for(SITE, Channel.INFER, node) for node in (actor.name, SERVING)]
    return ["#", "+/#", "$SYS/#", "$CONTROL/#", everything, everything.replace(SITE, "+"), *of_one, *uploads, *channels]


def arrives(trial: Trial) -> bool:
    """What must come of it, by the one description."""
    role, family = trial.actor.role, trial.family
    if trial.verb is Verb.SHARED or family in (Outside.SITE, Outside.CONTROL, Outside.REST):
        return False
    if isinstance(family, Outside):
        return trial.verb not in PUBLISHES and role in READS_BROKER_FIGURES
    right = ACCESS[family][role]
    whose = right.publish if trial.verb in PUBLISHES else right.subscribe
    if whose is Whose.OWN and trial.verb is Verb.WILDCARD:
        return trial.own and family is Channel.INFER  # the one channel with something behind the node to leave open
    return whose is Whose.ANYBODYS or (whose is Whose.OWN and trial.own)
