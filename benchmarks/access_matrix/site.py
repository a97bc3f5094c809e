"""A provisioned site and its secured Mosquitto on loopback, as the matrix and the tests use it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from broker.endpoint import Endpoint
from broker.identity.accounts import ADMIN, Account, SiteAccounts
from broker.identity.control import Control
from broker.identity.folder import Folder
from broker.identity.provisioning import provision
from broker.mosquitto import MosquittoProcess, MosquittoSettings
from broker.tls import Tls
from broker.vocabulary import NodeId, SiteId

HOST = "127.0.0.1"
PORT = 8883  # stands in files alone: the broker draws a free one


@dataclass(frozen=True, slots=True)
class Site:
    """The folder, what was asked for, and the broker that runs."""

    folder: Folder
    wanted: SiteAccounts
    process: MosquittoProcess

    def tls(self, name: NodeId) -> Tls:
        """That account's certificate."""
        roles = {account.name: account.role for account in self.wanted.accounts}
        folder = self.folder.root / "admin" if name == ADMIN else self.folder.of(name, roles[name])
        return Tls.in_directory(folder)

    def endpoint(self, name: NodeId) -> Endpoint:
        """How that account connects."""
        return Endpoint(HOST, self.process.endpoint.port, tls=self.tls(name))

    def control(self) -> Control:
        """As administrator."""
        return Control(Endpoint(HOST, self.process.endpoint.port, 60, tls=self.tls(ADMIN)))


def provisioned(directory: Path, site: SiteId, accounts: Sequence[Account]) -> tuple[Folder, SiteAccounts]:
    """A new folder under `directory` with a certificate for each of `accounts`."""
    folder = Folder(directory / "site")
    wanted = SiteAccounts(site, (HOST,), PORT, tuple(accounts))
    provision(folder, wanted, datetime.now(UTC), frozenset())
    return folder, wanted


@contextmanager
def running_site(directory: Path, site: SiteId, accounts: Sequence[Account]) -> Iterator[Site]:
    """The same, and a broker that lets them in."""
    folder, wanted = provisioned(directory, site, accounts)
    settings = MosquittoSettings(directory=directory / "broker", identity=folder.broker, max_queued_messages=100_000)
    with MosquittoProcess(settings) as process:
        yield Site(folder, wanted, process)
