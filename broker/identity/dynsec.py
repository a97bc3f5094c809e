"""Mosquitto's dynamic-security plugin: the configuration that it starts from, and the commands that change it later.

One role an account: the plugin of Mosquitto 2.0 has no patterns with the user's name. Everything is denied unless a
role allows it, delivery included. In 2.0.11 `disabled` alone keeps nobody out who has a certificate, so a revoked
account loses its role as well: it may then connect until its certificate is on the list, and do nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from broker.access import ACCESS, READS_BROKER_FIGURES, WATCHES_ALL, Role, Whose
from broker.identity.accounts import ADMIN, Account
from broker.topics import (
    BROKER_FIGURES,
    CONTROL,
    CONTROL_RESPONSE,
    Channel,
    filter_for,
    filter_for_everything,
    filter_for_uploads_of,
)
from broker.vocabulary import NodeId, SiteId

PUBLISH, RECEIVE, SUBSCRIBE = "publishClientSend", "publishClientReceive", "subscribePattern"
DENY_ALL = {PUBLISH: False, RECEIVE: False, "subscribe": False, "unsubscribe": True}

Command = dict[str, Any]


def configuration(site: SiteId, accounts: Iterable[Account], revoked: Iterable[NodeId] = ()) -> str:
    """The plugin's JSON file for a broker that is about to start."""
    accounts = list(accounts)
    clients = [_client(ADMIN), *(_client(account.name) for account in accounts)]
    shut = [{"username": name, "disabled": True, "roles": []} for name in revoked]
    roles = [
        {"rolename": ADMIN, "acls": [_allow(kind, topic) for kind, topic in admin_rights(site)]},
        *({"rolename": account.name, "acls": acls_of(site, account)} for account in accounts),
    ]
    content = {"defaultACLAccess": DENY_ALL, "clients": [*clients, *shut], "groups": [], "roles": roles}
    return json.dumps(content, indent=1) + "\n"


def rights(site: SiteId, account: Account) -> list[tuple[str, str]]:
    """What `account` may do: kinds of access of the plugin, each with a topic filter."""
    found: list[tuple[str, str]] = []
    for channel, by_role in ACCESS.items():
        right = by_role[account.role]
        if right.publish is not Whose.NOBODYS:
            found.append((PUBLISH, _published(site, channel, account.name, right.publish)))
        if right.subscribe is not Whose.NOBODYS:
            whose = account.name if right.subscribe is Whose.OWN else None
            found += _reads(filter_for(site, channel, whose))
    if account.role in WATCHES_ALL:
        found.append((SUBSCRIBE, filter_for_everything(site)))
    if account.role in READS_BROKER_FIGURES:
        found += _reads(BROKER_FIGURES)
    return found


def admin_rights(site: SiteId) -> list[tuple[str, str]]:
    """The accounts; what an operator may read; and to publish anywhere in the site, for whatever may have been left
    there, retained, by nodes that are gone."""
    reads = [(kind, topic) for kind, topic in rights(site, Account(ADMIN, Role.OPERATOR)) if kind != PUBLISH]
    cleans = [(PUBLISH, filter_for(site, channel)) for channel in Channel]
    return [*reads, *cleans, (PUBLISH, CONTROL), *_reads(CONTROL_RESPONSE)]


def commands_to_add(site: SiteId, account: Account) -> list[Command]:
    """For a running broker. What is there already is made anew, which ends the account's session."""
    return [
        {"command": "deleteClient", "username": account.name},
        {"command": "deleteRole", "rolename": account.name},
        {"command": "createRole", "rolename": account.name, "acls": acls_of(site, account)},
        {"command": "createClient", **_client(account.name)},
    ]


def commands_to_revoke(name: NodeId) -> list[Command]:
    """For a running broker. The rights go first, so that nobody slips in again with them when the session has ended."""
    return [
        {"command": "modifyClient", "username": name, "roles": []},
        {"command": "disableClient", "username": name},
        {"command": "deleteRole", "rolename": name},
    ]


def _client(name: NodeId) -> dict[str, Any]:
    return {"username": name, "roles": [{"rolename": name}]}


def acls_of(site: SiteId, account: Account) -> list[dict[str, Any]]:
    """What `account` may do, in the words of the plugin."""
    return [_allow(kind, topic) for kind, topic in rights(site, account)]


def _allow(kind: str, topic: str) -> dict[str, Any]:
    return {"acltype": kind, "topic": topic, "allow": True}


def _reads(topic_filter: str) -> list[tuple[str, str]]:
    return [(SUBSCRIBE, topic_filter), (RECEIVE, topic_filter)]


def _published(site: SiteId, channel: Channel, name: NodeId, whose: Whose) -> str:
    if whose is Whose.ANYBODYS:
        return filter_for(site, channel)
    return filter_for_uploads_of(site, name) if channel is Channel.INFER else filter_for(site, channel, name)
