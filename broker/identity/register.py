"""The authority's register: which certificates it issued, to whom, and which names were revoked."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from broker.access import Role
from broker.errors import IdentityUnusable
from broker.identity.files import PRIVATE, read_if_there, write_whole
from broker.vocabulary import NodeId, SiteId


class Issued(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One certificate. `serial` is hexadecimal; `revoked` tells when, if it was."""

    name: NodeId
    serial: str
    begins: datetime
    expires: datetime
    revoked: datetime | None = None


class Register(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Mutable: `provision` and `revoke` change it, and save it before anything that depends on it is written.

    `unenforced` are the revoked names of which no running broker has confirmed yet that it shut them out. `hosts` and
    `port` are the broker's, as last provisioned.
    """

    site: SiteId
    roles: dict[NodeId, Role] = {}
    revoked: dict[NodeId, datetime] = {}
    unenforced: set[NodeId] = set()
    hosts: tuple[str, ...] = ()
    port: int = 0
    certificates: list[Issued] = []

    def serials_of(self, name: NodeId) -> list[str]:
        """Of all certificates that `name` ever had."""
        return [issued.serial for issued in self.certificates if issued.name == name]

    def newest_of(self, name: NodeId) -> Issued | None:
        """The certificate of `name` that was issued last."""
        return next((issued for issued in reversed(self.certificates) if issued.name == name), None)

    def revoke(self, name: NodeId, now: datetime) -> None:
        """Mark `name` and all of its certificates."""
        self.revoked.setdefault(name, now)
        self.unenforced.add(name)
        for issued in self.certificates:
            if issued.name == name and issued.revoked is None:
                issued.revoked = now

    def reinstate(self, name: NodeId) -> None:
        """Let `name` have access again, with a new certificate."""
        self.revoked.pop(name, None)
        self.unenforced.discard(name)

    def revocations(self) -> dict[str, datetime]:
        """When each revoked certificate was, by serial number."""
        return {issued.serial: issued.revoked for issued in self.certificates if issued.revoked is not None}


def load_register(path: Path) -> Register:
    """Raises IdentityUnusable where it is missing or damaged."""
    content = read_if_there(path)
    if content is None:
        raise IdentityUnusable(f"{path} is not there: name the folder that tierwise broker provision made")
    try:
        return msgspec.json.decode(content, type=Register)
    except msgspec.DecodeError as error:
        raise IdentityUnusable(f"{path} is damaged: {error}; take it from your last copy") from error


def save_register(path: Path, register: Register) -> None:
    """Whole, or not at all."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(register), indent=1) + b"\n", PRIVATE)
