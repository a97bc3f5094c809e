"""From `site.yaml` to what `broker.identity` makes of it, and the broker's own YAML file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import yaml

from broker.access import ROLE_OF_TIER, Role
from broker.identity.accounts import Account, SiteAccounts, Validity
from broker.identity.control import administrator
from broker.identity.files import write_whole
from broker.identity.folder import Folder
from broker.identity.provisioning import Provisioned, provision
from broker.identity.register import load_register
from broker.identity.revoking import shut_out
from broker.vocabulary import NodeId
from configs.mosquitto import MosquittoConfig
from configs.site import SiteConfig


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
    return SiteAccounts(config.site, config.hosts, config.port, tuple(accounts), validity, config.node_directory)


def broker_file(config: SiteConfig, folder: Folder) -> str:
    """`broker.yaml` for the secured broker; its sizes follow from how many there are."""
    clients = len(config.names()) + 1
    settings = MosquittoConfig(
        version=1,
        host=config.listen,
        port=config.port,
        identity=folder.broker.absolute(),
        directory=folder.broker.absolute() / "run",
        # Connections that say nothing hold a slot for 95 s; as many again as there are clients may be such.
        max_connections=max(2000, 2 * clients + 200),
        # The orchestrator hears telemetry, heartbeat, request and report of everybody at once.
        max_queued_messages=max(1000, 4 * clients),
    )
    body = yaml.safe_dump(settings.model_dump(mode="json", exclude_none=True), sort_keys=False)
    return (
        "# Written anew by each `tierwise broker provision`: tierwise broker run --config broker.yaml\n"
        "# On another machine copy this folder there, and name its place: --identity . --directory run\n"
        f"{body}"
    )


def carry_out(
    config: SiteConfig,
    root: Path,
    renew_days: int | None,
    reinstate: frozenset[NodeId],
    on_progress: Callable[[int, int], None],
) -> Provisioned:
    """Bring the folder up to date with the file. Raises IdentityUnusable."""
    folder = Folder(root)
    done = provision(folder, accounts_of(config, renew_days), datetime.now(UTC), reinstate, on_progress)
    write_whole(folder.broker / "broker.yaml", broker_file(config, folder).encode())
    return done


def tell_broker(config: SiteConfig, root: Path, host: str, port: int, done: Provisioned) -> list[Account]:
    """Make a running broker's accounts those of the folder; the ones that changed there. Raises TierwiseError."""
    folder = Folder(root)
    with administrator(folder, host, port) as control:
        shut_out(control, config.site, done.revoked)
        changed = control.apply(config.site, done.accounts)
        # Whoever was revoked since `done` came about may just have been let in again.
        shut_out(control, config.site, sorted(load_register(folder.register).revoked.keys() - set(done.revoked)))
    return changed
