"""Who has access to a site, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from broker.identity.accounts import RESERVED
from broker.identity.folder import Folder
from broker.identity.register import load_register
from broker.vocabulary import NodeId

NOT_ENFORCED = "revoked, not yet enforced"  # no running broker has confirmed that it shut this name out


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """One name; `expires` is its newest certificate's. `access` is `yes`, `expired`, `revoked` or NOT_ENFORCED."""

    name: NodeId
    role: str
    expires: datetime | None
    days_left: int | None
    access: str

    def as_json(self) -> dict[str, Any]:
        """The documented form of `tierwise broker status --json`."""
        expires = self.expires.isoformat() if self.expires else None
        return {
            "name": self.name, "role": self.role, "expires": expires, "days_left": self.days_left,
            "access": self.access,
        }  # fmt: skip


def accounts_in(folder: Folder, now: datetime) -> list[AccountStatus]:
    """The broker and the administrator first, then everybody by name. Raises IdentityUnusable."""
    register = load_register(folder.register)
    names = [*reversed(RESERVED), *sorted(register.roles.keys() | register.revoked.keys())]
    rows = []
    for name in names:
        newest = register.newest_of(name)
        role = str(name) if name in RESERVED else str(register.roles.get(name, "-"))
        if name in register.revoked:
            access = NOT_ENFORCED if name in register.unenforced else "revoked"
        else:
            access = "yes" if newest is not None and newest.expires > now else "expired"
        expires = newest.expires if newest is not None else None
        rows.append(AccountStatus(name, role, expires, (expires - now).days if expires else None, access))
    return rows
