"""One account names the client id of another: nobody is thrown out, nothing is taken."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.access_matrix.party import Party
from benchmarks.access_matrix.site import Site
from broker.topics import Address, Channel, topic_for
from broker.vocabulary import NodeId

KEPT_S = 300
QUEUED = 5


@dataclass(frozen=True, slots=True)
class Takeover:
    """What an attacker achieved with each of some client ids, and what was left for the victim."""

    tried: int
    victims_disconnected: int
    messages_stolen: int
    left_for_victim: int


def take_over(site: Site, victim: NodeId, attacker: NodeId, orchestrator: NodeId) -> Takeover:
    """Against a victim that is online, and against the queue of one that is away."""
    topic = topic_for(Address(site.wanted.site, victim, Channel.DECISION))
    ids = (str(victim), f"{site.wanted.site}.{victim}.agent")
    disconnected = stolen = 0
    with Party(site.endpoint(victim), client_id=ids[1], kept_s=KEPT_S) as online:
        online.subscribe([topic], qos=1)
        for client_id in ids:
            with Party(site.endpoint(attacker), client_id=client_id, kept_s=KEPT_S) as thief:
                thief.subscribe([topic], qos=1)
            disconnected += not online.is_alive()
    with Party(site.endpoint(orchestrator)) as sender:
        sender.publish((topic, f"decision {number}".encode()) for number in range(QUEUED))
    for client_id in ids:
        with Party(site.endpoint(attacker), client_id=client_id, kept_s=KEPT_S) as thief:
            thief.subscribe([topic], qos=1)
            stolen += len(thief.received)
    with Party(site.endpoint(victim), client_id=ids[1], kept_s=KEPT_S) as back:
        back.wait_for(f"decision {QUEUED - 1}".encode())
        left = len(back.received)
    return Takeover(len(ids), disconnected, stolen, left)
