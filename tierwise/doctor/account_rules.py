"""Rules about dynamic-security.json, the accounts and access rules of Mosquitto's plugin."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from broker.access import Role
from broker.identity.accounts import ADMIN, Account
from broker.identity.dynsec import PUBLISH, RECEIVE, admin_rights, rights
from broker.topics import CONTROL, ROOT
from broker.vocabulary import NodeId, SiteId
from tierwise.doctor.finding import Rules, Told

PROVISION = "Let `tierwise broker provision` write it"


class Acl(msgspec.Struct):
    """What the plugin's file has to hold for the rules to read it; what else is there does not matter."""

    acltype: str
    topic: str
    allow: bool = False


class PluginRole(msgspec.Struct):
    """The same of a role."""

    rolename: str
    acls: list[Acl] = []


class PluginRoleName(msgspec.Struct):
    """The same of a role that a client has."""

    rolename: str


class PluginClient(msgspec.Struct):
    """The same of a client."""

    username: str
    disabled: bool = False
    roles: list[PluginRoleName] = []
    groups: list[Any] = []


class PluginFile(msgspec.Struct):
    """The same of all of it."""

    defaultACLAccess: dict[str, bool]  # noqa: N815  # the plugin's word
    roles: list[PluginRole] = []
    clients: list[PluginClient] = []


@dataclass(frozen=True, slots=True)
class Accounts:
    """The parsed file, of the shape of `PluginFile`."""

    content: dict[str, Any]

    def roles(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """Each role's name and what it allows."""
        for role in self.content.get("roles", []):
            yield str(role.get("rolename", "")), [acl for acl in role.get("acls", []) if acl.get("allow")]

    def clients(self) -> list[dict[str, Any]]:
        return list(self.content.get("clients", []))


account_rules: Rules[Accounts] = Rules()


@account_rules.error("allowed-by-default")
def allowed_by_default(accounts: Accounts) -> Iterator[Told]:
    """Whoever has a certificate may then do it, with an account or without."""
    default = accounts.content.get("defaultACLAccess", {})
    for kind in ("publishClientSend", "publishClientReceive", "subscribe"):
        if default.get(kind, kind == "publishClientReceive"):
            yield Told(f"{kind} is allowed unless a rule forbids it", f"defaultACLAccess: {kind} false")


@account_rules.error("anonymous-group")
def anonymous_group(accounts: Accounts) -> Iterator[Told]:
    """Rights for those who have no account."""
    if accounts.content.get("anonymousGroup"):
        yield Told("clients without an account have rights", "Remove anonymousGroup")


@account_rules.error("control-of-accounts")
def control_of_accounts(accounts: Accounts) -> Iterator[Told]:
    """Who may write there can give itself every right."""
    for name, acls in accounts.roles():
        if name != ADMIN and any(acl["acltype"] == PUBLISH and _covers(acl["topic"], CONTROL) for acl in acls):
            yield Told(f"role {name} may change accounts", f"{PROVISION}: the administrator alone may")


@account_rules.error("role-of-another")
def role_of_another(accounts: Accounts) -> Iterator[Told]:
    """Rights come with a role: whoever has that of the administrator is the administrator."""
    for client in accounts.clients():
        name, groups = client["username"], client.get("groups", [])
        others = [role["rolename"] for role in client.get("roles", []) if role["rolename"] != name]
        if others or groups:
            what = f"the role of {', '.join(others)}" if others else f"rights of {len(groups)} groups"
            yield Told(f"{name} has {what}", PROVISION)


@account_rules.error("more-than-a-site")
def more_than_a_site(accounts: Accounts) -> Iterator[Told]:
    """A rule that is not bound to one site, or to one channel where messages are sent or delivered."""
    for name, acls in accounts.roles():
        for acl in acls:
            topic, parts = acl["topic"], acl["topic"].split("/")
            wide = topic.startswith(("#", "+")) or (topic.startswith(f"{ROOT}/") and parts[2] in ("+", "#"))
            open_end = parts[-1] == "#" and acl["acltype"] in (PUBLISH, RECEIVE) and parts[0] != "$SYS"
            if wide or open_end:
                yield Told(f"role {name} has {acl['acltype']} on {topic}", PROVISION)


@account_rules.error("disabled-with-rights")
def disabled_with_rights(accounts: Accounts) -> Iterator[Told]:
    """Mosquitto 2.0.11 lets a disabled account in that has a certificate, with all of its rights."""
    for client in accounts.clients():
        if client.get("disabled") and (client.get("roles") or client.get("groups")):
            yield Told(f"{client.get('username')} is disabled and has rights", "tierwise broker revoke takes both")


@account_rules.warning("rights-of-no-role")
def rights_of_no_role(accounts: Accounts) -> Iterator[Told]:
    """Written by hand, or by a Tierwise that described access otherwise."""
    site = _site(accounts)
    for name, acls in accounts.roles():
        if site is None or not name:
            continue
        has = {(acl["acltype"], acl["topic"]) for acl in acls}
        known = [set(rights(site, Account(NodeId(name), role))) for role in Role] + [set(admin_rights(site))]
        if has not in known:
            yield Told(
                f"role {name} has rights that no role is described to have", f"{PROVISION}, with --host of the broker"
            )


def _site(accounts: Accounts) -> SiteId | None:
    """The one that most rules are about."""
    found = [
        acl["topic"].split("/")[2]
        for _, acls in accounts.roles()
        for acl in acls
        if acl["topic"].startswith(f"{ROOT}/") and acl["topic"].count("/") > 2
    ]
    return SiteId(max(set(found), key=found.count)) if found else None


def _covers(topic_filter: str, topic: str) -> bool:
    """Whether the filter lets that topic through; the plugin's `#` covers topics that begin with $, too."""
    wanted, parts = topic_filter.split("/"), topic.split("/")
    for place, part in enumerate(wanted):
        if part == "#":
            return True
        if place >= len(parts) or part not in ("+", parts[place]):
            return False
    return len(wanted) == len(parts)
