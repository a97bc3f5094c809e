"""Makes all that a site needs to be reached only by those who may, and keeps it so: run it again and again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from broker.access import Role
from broker.errors import IdentityUnusable
from broker.identity.access_files import write_access_files
from broker.identity.accounts import ADMIN, BROKER, RESERVED, Account, SiteAccounts, Validity
from broker.identity.authority import Authority, Pair, as_certified, facts, key_belongs
from broker.identity.files import PRIVATE, read_if_there, write_whole
from broker.identity.folder import BROKER_CERTIFICATE, BROKER_KEY, Folder
from broker.identity.register import Issued, Register, load_register, save_register
from broker.tickets import TICKET_KEY_NAME, is_ticket_key, new_ticket_key
from broker.tls import CA_NAME, CERTIFICATE_NAME, KEY_NAME
from broker.vocabulary import NodeId

TICKET_KEY_ROLES = (Role.ORCHESTRATOR, Role.SERVING_NODE)


@dataclass(slots=True)
class Provisioned:
    """What one run did, by name. `left` are in the register and not in the file any more; they keep their access.
    `revoked` are all that ever were and have not been reinstated, in the file or not."""

    made_authority: bool = False
    issued: list[NodeId] = field(default_factory=list)
    renewed: list[NodeId] = field(default_factory=list)
    kept: list[NodeId] = field(default_factory=list)
    revoked: list[NodeId] = field(default_factory=list)
    left: list[NodeId] = field(default_factory=list)
    accounts: list[Account] = field(default_factory=list)


def provision(
    folder: Folder,
    wanted: SiteAccounts,
    now: datetime,
    reinstate: frozenset[NodeId],
    on_progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Provisioned:
    """Issue what is missing, renew what expires within `renew_days` or fits no longer, keep the rest.

    Revoked names stay out unless they are in `reinstate`. `on_progress` hears how many steps are done, of how many.
    Raises IdentityUnusable.
    """
    _check_names(wanted, reinstate)
    done = Provisioned()
    authority, register = _open(folder, wanted, now, done)
    for name in reinstate:
        register.reinstate(name)
    register.hosts, register.port = wanted.hosts, wanted.port
    work = _Work(folder, wanted, authority, register, now, done)
    work.broker()
    for place, account in enumerate((Account(ADMIN, Role.OPERATOR), *wanted.accounts)):
        work.client(account)
        on_progress(place, 2 * len(wanted.accounts))
    save_register(folder.register, register)  # first: a certificate that is nowhere in it could not be revoked
    for place, write in enumerate(work.writes):
        write()
        on_progress(len(wanted.accounts) + place, 2 * len(wanted.accounts))
    write_ticket_key(folder, [account for account in wanted.accounts if account.name not in register.revoked])
    done.revoked = sorted(register.revoked)
    done.left = sorted(register.roles.keys() - {account.name for account in wanted.accounts} - register.revoked.keys())
    done.accounts += [Account(name, register.roles[name]) for name in done.left]
    write_access_files(folder, authority, register, now)
    return done


def write_ticket_key(folder: Folder, accounts: list[Account]) -> None:
    """Give the orchestrator and the serving nodes one key for tickets, and nobody else. Raises IdentityUnusable."""
    holders = [account for account in accounts if account.role in TICKET_KEY_ROLES]
    paths = [folder.of(account.name, account.role) / TICKET_KEY_NAME for account in holders]
    found = [content for path in paths if (content := read_if_there(path)) is not None]
    key = next((content for content in found if is_ticket_key(content)), None) or new_ticket_key()
    for path in paths:
        if read_if_there(path) != key:
            write_whole(path, key, PRIVATE)


def _check_names(wanted: SiteAccounts, reinstate: frozenset[NodeId]) -> None:
    names = [account.name for account in wanted.accounts]
    if twice := sorted({name for name, count in Counter(names).items() if count > 1}):
        raise IdentityUnusable(f"{', '.join(twice)}: every node and person needs a name of its own")
    if reserved := sorted(set(names) & set(RESERVED)):
        raise IdentityUnusable(f"{', '.join(reserved)} is a name of the broker's own: choose another one")
    if unknown := sorted(reinstate - set(names)):
        raise IdentityUnusable(f"{', '.join(unknown)} cannot be reinstated: put it into the site's file first")


def _open(folder: Folder, wanted: SiteAccounts, now: datetime, done: Provisioned) -> tuple[Authority, Register]:
    is_new = not (folder.authority / CA_NAME).exists()
    if is_new and not (folder.register.exists() and load_register(folder.register).certificates):
        authority = Authority.create(wanted.site, now, wanted.validity.authority_days)
        pem = authority.pem()
        register = Register(site=wanted.site)
        write_whole(folder.authority_key, pem.key, PRIVATE)
        save_register(folder.register, register)
        write_whole(folder.authority / CA_NAME, pem.certificate)  # last: cut off before, all of it is made anew
        done.made_authority = True
        return authority, register
    register = load_register(folder.register)
    if register.site != wanted.site:
        raise IdentityUnusable(
            f"{folder.root} belongs to site {register.site}, not to {wanted.site}: choose another --output"
        )
    authority = folder.load_authority()
    if not authority.begins <= now < authority.expires:
        raise IdentityUnusable(
            f"this machine's clock says {now:%Y-%m-%d %H:%M} UTC, and the authority in {folder.root} is good from "
            f"{authority.begins:%Y-%m-%d} until {authority.expires:%Y-%m-%d}: set the clock, or make a new site"
        )
    return authority, register


@dataclass(slots=True)
class _Work:
    folder: Folder
    wanted: SiteAccounts
    authority: Authority
    register: Register
    now: datetime
    done: Provisioned
    writes: list[Callable[[], None]] = field(default_factory=list)

    def broker(self) -> None:
        pair = _read(self.folder.broker / BROKER_CERTIFICATE, self.folder.broker / BROKER_KEY)
        hosts = as_certified(self.wanted.hosts)
        if pair is not None and self._is_good(pair) and facts(pair.certificate).hosts == hosts:
            self.done.kept.append(BROKER)
            return
        days = self.wanted.validity.certificate_days
        new = self.authority.issue_broker(BROKER, self.wanted.hosts, self.now, days)
        self._enter(BROKER, new)
        self.writes.append(lambda: self.folder.write_broker(new, self.authority.pem().certificate))

    def client(self, account: Account) -> None:
        if account.name in self.register.revoked:
            return
        folder = self.folder.of(account.name, account.role)
        if account.name != ADMIN:
            self.register.roles[account.name] = account.role
            self.done.accounts.append(account)
        pair = _read(folder / CERTIFICATE_NAME, folder / KEY_NAME)
        if pair is not None and self._is_good(pair):
            self.done.kept.append(account.name)
            return
        new = self.authority.issue_client(account.name, self.now, self.wanted.validity.certificate_days)
        self._enter(account.name, new)
        self.writes.append(lambda: self.folder.write_client(folder, new, self.authority.pem().certificate))

    def _is_good(self, pair: Pair) -> bool:
        if not (self.authority.issued(pair.certificate) and key_belongs(pair)):
            return False
        read = facts(pair.certificate)
        # Nothing outlives the authority, so what ends with it cannot be renewed to any purpose.
        late = expires_soon(read.expires, self.now, self.wanted.validity) and read.expires < self.authority.expires
        return read.begins <= self.now and not late and read.serial not in self.register.revocations()

    def _enter(self, name: NodeId, pair: Pair) -> None:
        known = self.register.newest_of(name) is not None
        (self.done.renewed if known else self.done.issued).append(name)
        read = facts(pair.certificate)
        issued = Issued(name=name, serial=read.serial, begins=read.begins, expires=read.expires)
        self.register.certificates.append(issued)


def expires_soon(expires: datetime, now: datetime, validity: Validity) -> bool:
    """Whether it is time to renew."""
    return expires - now <= timedelta(days=validity.renew_days)


def _read(certificate: Path, key: Path) -> Pair | None:
    found, key_found = read_if_there(certificate), read_if_there(key)
    return None if found is None or key_found is None else Pair(found, key_found)
