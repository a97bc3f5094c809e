"""From `site.yaml` to what `broker.identity` makes of it, and where the site's folder and running broker are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from broker.access import ROLE_OF_TIER, Role
from broker.identity.accounts import Account, SiteAccounts, Validity
from broker.identity.control import administrator
from broker.identity.files import only_one
from broker.identity.folder import Folder
from broker.identity.provisioning import Provisioned, provision
from broker.identity.register import load_register, save_register
from broker.identity.revoking import shut_out
from broker.vocabulary import NodeId, SiteId
from configs.loader import ConfigError, load
from configs.site import SiteConfig
from tierwise.node_files import FileChanges, bring_up_to_date

SITE_FILE = "site.yaml"


def accounts_of(config: SiteConfig, renew_days: int | None = None) -> SiteAccounts:
    """What the file asks for; `renew_days` instead of the file's."""
    accounts = [Account(config.orchestrator, Role.ORCHESTRATOR)]
    accounts += [Account(name, ROLE_OF_TIER[tier]) for tier, names in config.tiers().items() for name in names]
    accounts += [Account(name, Role.OPERATOR) for name in config.people.operators]
    accounts += [Account(name, Role.OBSERVER) for name in config.people.observers]
    days = config.validity
    validity = Validity(days.authority_days, days.certificate_days, days.renew_days)
    if renew_days is not None:
        validity = replace(validity, renew_days=renew_days)
    return SiteAccounts(config.site, config.hosts, config.port, tuple(accounts), validity)


def site_folder(site_file: Path, given: Path | None) -> Path:
    """The provisioned folder of a site: `given`, or where one was made before, or that of a new site's files.

    `tierwise config new site` puts all into one folder; earlier ones, and their documents, named `./site` and
    `accounts` beside the file.
    """
    if given is not None:
        return given
    beside = site_file.parent
    for folder in (beside, Path("site"), beside / "accounts", beside / "site"):
        if Folder(folder).register.exists() and (folder != Path("site") or _is_of(folder, site_file)):
            return folder
    return beside if (beside / "nodes").is_dir() else Path("site")


def provisioned_folder(given: Path | None) -> Path:
    """For commands that take no site file: `given`, or this folder, or `./site`."""
    here = Path()
    return given or (here if Folder(here).register.exists() else Path("site"))


@dataclass(frozen=True, slots=True)
class BrokerPlace:
    """Where a site's running broker is: the hosts are tried in this order."""

    hosts: tuple[str, ...]
    port: int

    def __str__(self) -> str:
        return " or ".join(f"{host}:{self.port}" for host in self.hosts)


def broker_of(root: Path, site_file: Path | None, host: str | None, port: int | None) -> BrokerPlace | None:
    """What the site's file says, else what was last provisioned; options override. None where nothing is known.

    Without `site_file` it is looked for in the folder and beside it. Raises ConfigError, IdentityUnusable.
    """
    register = load_register(Folder(root).register)
    hosts, default = register.hosts, register.port
    config = _site_config(root, site_file, register.site)
    if config is not None:
        hosts, default = config.hosts, config.port
    hosts = (host,) if host is not None else hosts
    port = port or default
    return BrokerPlace(hosts, port) if hosts and port else None


def _site_config(root: Path, site_file: Path | None, site: SiteId) -> SiteConfig | None:
    if site_file is not None:
        return load(site_file, SiteConfig)
    for place in (root / SITE_FILE, root.absolute().parent / SITE_FILE):
        if place.is_file():
            try:
                config = load(place, SiteConfig)
            except ConfigError:
                continue  # another program's, or one that is being edited: the register has the last good state
            if config.site == site:
                return config
    return None


def _is_of(folder: Path, site_file: Path) -> bool:
    """Whether `folder` was provisioned for the site of that file."""
    return load_register(Folder(folder).register).site == load(site_file, SiteConfig).site


def carry_out(
    config: SiteConfig,
    root: Path,
    renew_days: int | None,
    reinstate: frozenset[NodeId],
    on_progress: Callable[[int, int], None],
    site_file: Path,
) -> tuple[Provisioned, FileChanges]:
    """Bring the folder up to date with the file. Raises IdentityUnusable."""
    folder = Folder(root)
    done = provision(folder, accounts_of(config, renew_days), datetime.now(UTC), reinstate, on_progress)
    return done, bring_up_to_date(config, folder, site_file, frozenset(done.revoked))


def tell_broker(config: SiteConfig, root: Path, place: BrokerPlace, done: Provisioned) -> list[Account]:
    """Make a running broker's accounts those of the folder; the ones that changed there. Raises TierwiseError."""
    folder = Folder(root)
    with administrator(folder, place.hosts, place.port) as control:
        shut_out(control, config.site, done.revoked)
        changed = control.apply(config.site, done.accounts)
        # Whoever was revoked since `done` came about may just have been let in again.
        late = sorted(load_register(folder.register).revoked.keys() - set(done.revoked))
        shut_out(control, config.site, late)
    _note_enforced(folder, {*done.revoked, *late})
    return changed


def _note_enforced(folder: Folder, names: set[NodeId]) -> None:
    with only_one(folder.lock):
        register = load_register(folder.register)
        if register.unenforced & names:
            register.unenforced -= names
            save_register(folder.register, register)
