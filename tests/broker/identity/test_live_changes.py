"""Accounts that change while the broker runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest

from benchmarks.access_matrix.handshakes import ACCEPTED, attempt
from benchmarks.access_matrix.party import Party
from benchmarks.access_matrix.site import Site
from broker.access import Role
from broker.client import MqttClient
from broker.codec import encode
from broker.errors import IdentityUnusable, NotConnected
from broker.identity.accounts import Account
from broker.identity.control import Control
from broker.identity.provisioning import provision
from broker.identity.revoking import revoke
from broker.identity.status import accounts_in
from broker.messages import State
from broker.topics import Address, Channel, topic_for
from broker.vocabulary import NodeId, NodeState, SiteId
from configs.site import SiteConfig
from tierwise.site_accounts import BrokerPlace, tell_broker

HOME = SiteId("home")
S1, S2, S3, ALICE = NodeId("s1"), NodeId("s2"), NodeId("s3"), NodeId("alice")
WAIT_S = 120.0


def topic(node: NodeId, channel: Channel) -> str:
    return topic_for(Address(HOME, node, channel))


def now() -> datetime:
    return datetime.now(UTC)


def access_of(site: Site, name: NodeId) -> str:
    return {row.name: row.access for row in accounts_in(site.folder, now())}[name]


def test_a_revoked_node_is_thrown_out_and_can_do_nothing_any_more(own_site: Site) -> None:
    """Its session ends; its certificate still opens a connection until the list is read, but
    nothing that it says or asks for arrives. In Mosquitto 2.0.11 a disabled account alone would not be enough."""
    with Party(own_site.endpoint(ALICE)) as alice, Party(own_site.endpoint(S1)) as victim:
        alice.subscribe([topic(S1, Channel.TELEMETRY), topic(S2, Channel.TELEMETRY)])
        done = revoke(own_site.folder, S1, now(), own_site.control())
        ended = victim.ended.wait(WAIT_S)
        with Party(own_site.endpoint(S1)) as ghost, Party(own_site.endpoint(S2)) as other:
            ghost.publish([(topic(S1, Channel.TELEMETRY), b"ghost")])
            other.publish([(topic(S2, Channel.TELEMETRY), b"other")])
            alice.wait_for(b"other")

    assert ended
    assert done.session_ended
    assert [b"other"] == [payload for _, payload, _ in alice.received]


def test_a_revoked_node_is_said_to_be_offline(own_site: Site) -> None:
    """Under its own session, retained, so whoever watches learns at once; Mosquitto does not publish its last will."""
    online, offline = (encode(State(session=7, state=state)) for state in (NodeState.ONLINE, NodeState.OFFLINE))
    with Party(own_site.endpoint(ALICE)) as alice, Party(own_site.endpoint(S1)) as victim:
        alice.subscribe([topic(S1, Channel.STATE)])
        victim.publish([(topic(S1, Channel.STATE), online)], retain=True)
        revoke(own_site.folder, S1, now(), own_site.control())
        alice.wait_for(offline)

    assert [(topic(S1, Channel.STATE), state, True) for state in (online, offline)] == alice.received


def test_a_node_that_never_said_it_was_online_is_not_said_to_be_offline(own_site: Site) -> None:
    """Nothing is retained for a name that was never used."""
    with Party(own_site.endpoint(ALICE)) as alice:
        revoke(own_site.folder, S1, now(), own_site.control())
        alice.subscribe([topic(S1, Channel.STATE)])
        alice.unsubscribe([topic(S1, Channel.STATE)])

    assert [] == alice.received


def test_once_the_list_is_read_a_revoked_node_gets_no_connection(own_site: Site) -> None:
    """The others stay connected meanwhile."""
    with Party(own_site.endpoint(S2)) as other:
        revoke(own_site.folder, S1, now(), None)
        own_site.process.reload()
        told = _until_refused(own_site)
        alive = other.is_alive()

    assert "certificate revoked" in told
    assert alive


def _until_refused(site: Site) -> str:
    for _ in range(500):
        if (told := attempt(site.endpoint(S1))) != ACCEPTED:
            return told
    return ACCEPTED


def test_a_node_is_added_to_a_running_broker(own_site: Site) -> None:
    """It speaks at once; who is connected stays so, and a second time changes nothing."""
    wanted = replace(own_site.wanted, accounts=(*own_site.wanted.accounts, Account(S3, Role.END_DEVICE)))
    with Party(own_site.endpoint(S1)) as other, Party(own_site.endpoint(ALICE)) as alice:
        alice.subscribe([topic(S3, Channel.TELEMETRY)])
        done = provision(own_site.folder, wanted, now(), frozenset())
        with own_site.control() as control:
            changed = control.apply(HOME, done.accounts)
            again = control.apply(HOME, done.accounts)
        with Party(Site(own_site.folder, wanted, own_site.process).endpoint(S3)) as added:
            added.publish([(topic(S3, Channel.TELEMETRY), b"here")])
            alice.wait_for(b"here")
        alive = other.is_alive()

    assert [Account(S3, Role.END_DEVICE)] == changed
    assert [] == again
    assert alive


def test_changes_outlive_a_restart_of_the_broker(own_site: Site) -> None:
    """The plugin and the folder agree on who is revoked."""
    revoke(own_site.folder, S1, now(), own_site.control())
    own_site.process.start()

    assert "certificate revoked" in attempt(own_site.endpoint(S1))
    assert ACCEPTED == attempt(own_site.endpoint(S2))


def test_a_broker_that_is_away_knows_of_a_revocation_when_it_starts(own_site: Site) -> None:
    """The result says that it was not reached; the files have all that it needs. Until the same command again has
    reached it, the status is that no broker confirmed."""
    control = own_site.control()
    own_site.process.stop()
    done = revoke(own_site.folder, S1, now(), control)
    before = access_of(own_site, S1)
    own_site.process.start()
    again = revoke(own_site.folder, S1, now(), own_site.control())

    assert (False, "revoked, not yet enforced") == (done.session_ended, before)
    assert "no broker at 127.0.0.1:" in done.problem
    assert (True, "", "revoked") == (again.session_ended, again.problem, access_of(own_site, S1))
    assert "certificate revoked" in attempt(own_site.endpoint(S1))


def test_rights_that_were_changed_by_hand_are_put_right(own_site: Site) -> None:
    """`apply` compares what is, not what was once sent."""
    everything = [{"acltype": "publishClientSend", "topic": "#", "allow": True}]
    with own_site.control() as control:
        control.run([{"command": "modifyRole", "rolename": S1, "acls": everything}])
        changed = control.apply(HOME, own_site.wanted.accounts)

    assert [S1] == [account.name for account in changed]


def test_a_renewed_certificate_of_the_broker_is_served_after_a_reload(own_site: Site) -> None:
    """Without a restart: here it is good for another host."""
    wanted = replace(own_site.wanted, hosts=("localhost",))
    provision(own_site.folder, wanted, now(), frozenset())
    own_site.process.reload()
    told = ACCEPTED
    for _ in range(500):
        if told := attempt(own_site.endpoint(S1)):
            break

    assert "certificate is not valid for '127.0.0.1'" in told
    assert ACCEPTED == attempt(replace(own_site.endpoint(S1), host="localhost"))


def test_only_the_administrator_changes_accounts(own_site: Site) -> None:
    """An operator is told which certificate to use."""
    with pytest.raises(NotConnected, match="folder admin"), Control(own_site.endpoint(ALICE)):
        pass


def test_a_broker_that_is_not_there_is_named(own_site: Site) -> None:
    """With its address."""
    own_site.process.stop()

    with pytest.raises(NotConnected, match=r"no broker at 127\.0\.0\.1:"), own_site.control():
        pass


def test_a_refused_command_is_an_error(own_site: Site) -> None:
    """What was to be removed and is not there is none."""
    with own_site.control() as control:
        control.run([{"command": "deleteClient", "username": "nobody"}])
        with pytest.raises(IdentityUnusable, match="refused createRole s1"):
            control.run([{"command": "createRole", "rolename": "s1"}])


def test_whoever_is_revoked_while_another_command_tells_the_broker_stays_out(own_site: Site) -> None:
    """That command made up its mind before, and lets the name in again; it looks once more at its end."""
    config = SiteConfig.model_validate({"version": 1, "site": "home", "hosts": ("127.0.0.1",), "nodes": {}})
    done = provision(own_site.folder, own_site.wanted, now(), frozenset())
    revoke(own_site.folder, S1, now(), own_site.control())
    place = BrokerPlace(("127.0.0.1",), own_site.process.endpoint.port)
    tell_broker(config, own_site.folder.root, place, done)
    with own_site.control() as control:
        s1, s2 = control.run([{"command": "getClient", "username": name} for name in (S1, S2)])

    assert (True, []) == (s1["data"]["client"]["disabled"], s1["data"]["client"].get("roles", []))
    assert [S2] == [role["rolename"] for role in s2["data"]["client"]["roles"]]


def test_two_processes_with_one_certificate_name_the_cause_and_one_gives_way(
    own_site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """Over TLS as well as in plain text; who gives way waits for minutes."""
    endpoint = replace(own_site.endpoint(S1), reconnect_min_s=0.05, reconnect_max_s=0.2)

    async def fight() -> None:
        clients = [MqttClient(endpoint, HOME, S1, "agent") for _ in range(2)]
        for client in clients:
            own = topic(S1, Channel.STATE)
            client.subscribe(own, Channel.STATE, lambda _inbound: None)
            client.on_connect.append(partial(client.publish_state, NodeState.ONLINE))
        links = [asyncio.create_task(client.run()) for client in clients]
        while "backoff_s=" not in caplog.text.replace("backoff_s=0.000", ""):
            await asyncio.sleep(0.01)
        for client in clients:
            await client.stop()
        await asyncio.gather(*links)

    asyncio.run(asyncio.wait_for(fight(), 100.0))

    assert "session_taken_over node=s1" in caplog.text
