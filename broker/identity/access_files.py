"""What the broker is told about access in files: its accounts, and the list of revoked certificates."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from broker.identity.accounts import Account
from broker.identity.dynsec import configuration
from broker.identity.files import PRIVATE, write_whole
from broker.identity.folder import DYNAMIC_SECURITY, REVOCATION_LIST, Folder
from broker.identity.register import Register

if TYPE_CHECKING:
    from broker.identity.authority import Authority


def write_access_files(folder: Folder, authority: Authority, register: Register, now: datetime) -> None:
    """The revocation list and the broker's accounts, as the register has them."""
    write_whole(folder.broker / REVOCATION_LIST, authority.revocation_list(register.revocations(), now))
    write_accounts(folder, register)


def write_accounts(folder: Folder, register: Register) -> None:
    """The broker's accounts, for its next start."""
    accounts = [Account(name, role) for name, role in register.roles.items() if name not in register.revoked]
    text = configuration(register.site, accounts, register.revoked)
    write_whole(folder.broker / DYNAMIC_SECURITY, text.encode(), PRIVATE)
