"""Who may do what on which channel: the one description, data only.

From it come the broker's access rules (`broker.identity.dynsec`), the table in docs/security.md, and what the test of
the whole matrix expects. What stands nowhere here is denied.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from broker.topics import Channel
from broker.vocabulary import Tier


class Role(StrEnum):
    """What an account is."""

    END_DEVICE = "end_device"
    SERVING_NODE = "serving_node"
    ORCHESTRATOR = "orchestrator"
    OPERATOR = "operator"
    OBSERVER = "observer"


ROLE_OF_TIER = {Tier.END: Role.END_DEVICE, Tier.EDGE: Role.SERVING_NODE, Tier.CLOUD: Role.SERVING_NODE}


class Whose(StrEnum):
    """On whose topics a right holds.

    For `infer` a requester's own topics are those that end in its id, a serving node's own those that begin with it.
    """

    NOBODYS = "-"
    OWN = "own"
    ANYBODYS = "any"


@dataclass(frozen=True, slots=True)
class Right:
    """What one role may do on one channel. A retained publish is a publish: the broker cannot tell them apart."""

    publish: Whose = Whose.NOBODYS
    subscribe: Whose = Whose.NOBODYS


NO, OWN, ANY = Whose.NOBODYS, Whose.OWN, Whose.ANYBODYS
NONE = Right()
SAYS, SAYS_TO_ANY = Right(publish=OWN), Right(publish=ANY)
HEARS, HEARS_ALL = Right(subscribe=OWN), Right(subscribe=ANY)
SAYS_AND_HEARS, SAYS_AND_HEARS_ALL = Right(OWN, OWN), Right(OWN, ANY)

# One row a channel: end device, serving node, orchestrator, operator, observer.
_ROWS: dict[Channel, tuple[Right, Right, Right, Right, Right]] = {
    Channel.BIRTH: (SAYS_AND_HEARS_ALL, SAYS, HEARS_ALL, HEARS_ALL, HEARS_ALL),
    Channel.STATE: (SAYS_AND_HEARS_ALL, SAYS_AND_HEARS, SAYS_AND_HEARS_ALL, HEARS_ALL, HEARS_ALL),
    Channel.TELEMETRY: (SAYS, SAYS, HEARS_ALL, HEARS_ALL, HEARS_ALL),
    Channel.REQUEST: (SAYS, NONE, HEARS_ALL, HEARS_ALL, HEARS_ALL),
    Channel.DECISION: (HEARS, NONE, SAYS_TO_ANY, HEARS_ALL, HEARS_ALL),
    Channel.REPORT: (SAYS, NONE, HEARS_ALL, HEARS_ALL, HEARS_ALL),
    Channel.REPORT_ACK: (HEARS, HEARS, SAYS_TO_ANY, HEARS_ALL, HEARS_ALL),
    # Photographs are nobody's business but the requester's and the serving node's.
    Channel.INFER: (SAYS, HEARS, NONE, NONE, NONE),
    Channel.RESULT: (HEARS, SAYS_TO_ANY, NONE, HEARS_ALL, HEARS_ALL),
    Channel.HEARTBEAT: (SAYS_AND_HEARS_ALL, SAYS, SAYS_AND_HEARS_ALL, HEARS_ALL, HEARS_ALL),
    Channel.ROUND: (HEARS_ALL, NONE, SAYS, HEARS_ALL, HEARS_ALL),
    Channel.GOAL: (HEARS_ALL, HEARS_ALL, SAYS, HEARS_ALL, HEARS_ALL),
    Channel.GOAL_SET: (NONE, NONE, HEARS, Right(ANY, ANY), HEARS_ALL),
    Channel.GOAL_ACK: (NONE, NONE, SAYS, HEARS_ALL, HEARS_ALL),
    Channel.SUMMARY: (NONE, NONE, SAYS, HEARS_ALL, HEARS_ALL),
    Channel.EXPLAIN_ASK: (SAYS, NONE, HEARS_ALL, Right(ANY, ANY), HEARS_ALL),
    Channel.EXPLAIN: (HEARS, NONE, SAYS_TO_ANY, HEARS_ALL, HEARS_ALL),
    # The orchestrator pings itself, to know how far behind it is.
    Channel.PING: (HEARS, HEARS, SAYS_AND_HEARS, Right(ANY, ANY), HEARS_ALL),
    Channel.PONG: (SAYS, SAYS, SAYS, HEARS_ALL, HEARS_ALL),
}
ACCESS: dict[Channel, dict[Role, Right]] = {
    channel: dict(zip(Role, rights, strict=True)) for channel, rights in _ROWS.items()
}

# People who watch may also subscribe to all of a site at once; what arrives is still what the table says.
WATCHES_ALL = frozenset({Role.OPERATOR, Role.OBSERVER})
# The broker's own figures, such as how many messages it dropped.
READS_BROKER_FIGURES = frozenset({Role.ORCHESTRATOR, Role.OPERATOR, Role.OBSERVER})


def table() -> str:
    """The description as a Markdown table, for docs/security.md."""
    words = {Role.END_DEVICE: "end device", Role.SERVING_NODE: "serving node"}
    header = ["channel", *(words.get(role, role.value) for role in Role)]
    rows = [[f"`{channel}`", *(_cell(ACCESS[channel][role]) for role in Role)] for channel in ACCESS]
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(right: Right) -> str:
    parts = [f"publish {right.publish}"] if right.publish is not NO else []
    parts += [f"read {right.subscribe}"] if right.subscribe is not NO else []
    return ", ".join(parts) or "-"
