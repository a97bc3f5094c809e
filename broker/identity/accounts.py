"""What a site is to have: its accounts, the broker's hosts, and for how long certificates are good."""

from __future__ import annotations

from dataclasses import dataclass

from broker.access import Role
from broker.vocabulary import NodeId, SiteId

ADMIN = NodeId("admin")  # changes accounts while the broker runs, and removes what is retained of nodes that are gone
BROKER = NodeId("broker")
RESERVED = (ADMIN, BROKER)


@dataclass(frozen=True, slots=True)
class Account:
    """One node, orchestrator or person; its name is the common name of its certificate."""

    name: NodeId
    role: Role


@dataclass(frozen=True, slots=True)
class Validity:
    """Days."""

    authority_days: int = 3650
    certificate_days: int = 365
    renew_days: int = 30


@dataclass(frozen=True, slots=True)
class SiteAccounts:
    """All of one site."""

    site: SiteId
    hosts: tuple[str, ...]
    port: int
    accounts: tuple[Account, ...]
    validity: Validity = Validity()
