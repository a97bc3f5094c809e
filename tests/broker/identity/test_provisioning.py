"""The provisioned folder: made, kept, renewed, and never open to others."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from broker.access import Role
from broker.errors import IdentityUnusable
from broker.identity import files
from broker.identity.accounts import ADMIN, BROKER, Account, SiteAccounts, Validity
from broker.identity.authority import facts, revoked_serials
from broker.identity.files import PRIVATE, write_whole
from broker.identity.folder import DYNAMIC_SECURITY, REVOCATION_LIST, Folder
from broker.identity.provisioning import provision
from broker.identity.register import load_register
from broker.identity.revoking import revoke
from broker.identity.status import accounts_in
from broker.tls import CERTIFICATE_NAME, Tls
from broker.vocabulary import NodeId, SiteId

S1, S2, ALICE = NodeId("s1"), NodeId("s2"), NodeId("alice")
WANTED = SiteAccounts(
    SiteId("home"),
    ("127.0.0.1", "edge.local"),
    8883,
    (Account(S1, Role.END_DEVICE), Account(ALICE, Role.OPERATOR)),
    Validity(authority_days=1000, certificate_days=100, renew_days=30),
)
NOBODY: frozenset[NodeId] = frozenset()


@pytest.fixture
def folder(tmp_path) -> Folder:
    """Not made yet."""
    return Folder(tmp_path / "site")


def certificate(folder: Folder, name: NodeId, role: Role = Role.END_DEVICE) -> bytes:
    return (folder.of(name, role) / CERTIFICATE_NAME).read_bytes()


def accounts_of_broker(folder: Folder) -> dict[str, dict]:
    content = json.loads((folder.broker / DYNAMIC_SECURITY).read_text(encoding="utf-8"))
    return {client["username"]: client for client in content["clients"]}


def test_everybody_gets_a_certificate_and_an_account(folder, now):
    """The broker, the administrator, and each name of the file; each can make a TLS context of its folder."""
    done = provision(folder, WANTED, now, NOBODY)

    assert [BROKER, ADMIN, S1, ALICE] == done.issued
    assert {ADMIN, S1, ALICE} == set(accounts_of_broker(folder))
    for place in (folder.of(S1, Role.END_DEVICE), folder.of(ALICE, Role.OPERATOR), folder.root / "admin"):
        Tls.in_directory(place).context()


def test_what_is_secret_is_open_to_its_owner_alone(folder, now):
    """Whatever the user's umask; and the folders around it."""
    before = os.umask(0)
    try:
        provision(folder, WANTED, now, NOBODY)
    finally:
        os.umask(before)
    secrets = [*folder.root.rglob("*.key"), folder.broker / DYNAMIC_SECURITY, folder.register]

    assert 5 + 2 == len(secrets)
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in secrets}
    assert {0o700} == {stat.S_IMODE(path.stat().st_mode) for path in folder.root.rglob("*") if path.is_dir()}


def test_a_key_is_never_open_while_it_is_written(tmp_path, monkeypatch):
    """The file has its mode from its first byte on."""
    modes = []
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: modes.append(os.fstat(descriptor).st_mode))
    write_whole(tmp_path / "key", b"secret", PRIVATE)

    assert 0o600 == stat.S_IMODE(modes[0])


def test_a_write_that_is_cut_off_leaves_the_former_file(tmp_path, monkeypatch):
    """And the next one is not stopped by what it left behind."""
    write_whole(tmp_path / "key", b"old", PRIVATE)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(IdentityUnusable, match="No space left"):
            write_whole(tmp_path / "key", b"new", PRIVATE)
    left = (tmp_path / "key").read_bytes()
    write_whole(tmp_path / "key", b"new", PRIVATE)

    assert (b"old", b"new") == (left, (tmp_path / "key").read_bytes())


def test_run_again_it_keeps_what_is_good(folder, now):
    """Nothing is issued, and no certificate changes."""
    provision(folder, WANTED, now, NOBODY)
    before = certificate(folder, S1)
    done = provision(folder, WANTED, now + timedelta(days=69), NOBODY)

    assert ([], [], [BROKER, ADMIN, S1, ALICE]) == (done.issued, done.renewed, done.kept)
    assert before == certificate(folder, S1)


def test_a_new_node_gets_its_own_and_the_others_keep_theirs(folder, now):
    """That is how a node is added."""
    provision(folder, WANTED, now, NOBODY)
    done = provision(folder, replace(WANTED, accounts=(*WANTED.accounts, Account(S2, Role.END_DEVICE))), now, NOBODY)

    assert ([S2], []) == (done.issued, done.renewed)


def test_what_expires_soon_is_renewed_with_a_new_key(folder, now):
    """Thirty days before; the old certificate stays good until it expires, so the node may take its time."""
    provision(folder, WANTED, now, NOBODY)
    old = certificate(folder, S1)
    later = now + timedelta(days=71)
    done = provision(folder, WANTED, later, NOBODY)

    assert [BROKER, ADMIN, S1, ALICE] == done.renewed
    assert later + timedelta(days=100) == facts(certificate(folder, S1)).expires
    assert facts(old).serial != facts(certificate(folder, S1)).serial
    assert {} == load_register(folder.register).revocations()


def test_the_broker_gets_a_new_certificate_when_its_hosts_change(folder, now):
    """And nobody else does."""
    provision(folder, WANTED, now, NOBODY)
    done = provision(folder, replace(WANTED, hosts=("10.0.0.1",)), now, NOBODY)

    assert [BROKER] == done.renewed
    assert {"10.0.0.1"} == facts((folder.broker / "broker.crt").read_bytes()).hosts


@pytest.mark.parametrize("damage", ["missing", "cut", "of another key"])
def test_a_damaged_folder_is_made_good(folder, now, damage):
    """A certificate or key that cannot be used is issued anew."""
    provision(folder, WANTED, now, NOBODY)
    here = folder.of(S1, Role.END_DEVICE)
    if damage == "missing":
        (here / "client.key").unlink()
    elif damage == "cut":
        (here / "client.key").write_bytes(b"")
    else:
        (here / "client.key").write_bytes((folder.of(ALICE, Role.OPERATOR) / "client.key").read_bytes())
    done = provision(folder, WANTED, now, NOBODY)

    assert [S1] == done.renewed
    Tls.in_directory(here).context()


def test_a_revoked_name_that_left_the_file_is_still_told(folder, now):
    """A running broker that did not hear of it then is to hear of it with the next change."""
    provision(folder, WANTED, now, NOBODY)
    revoke(folder, S1, now, None)
    done = provision(folder, replace(WANTED, accounts=WANTED.accounts[1:]), now, NOBODY)

    assert ([S1], [ALICE]) == (done.revoked, [account.name for account in done.accounts])


def test_a_revoked_name_stays_out_until_it_is_reinstated(folder, now):
    """Though the site's file still has it; all of its certificates are on the list, and stay there."""
    provision(folder, WANTED, now, NOBODY)
    revoked = facts(certificate(folder, S1)).serial
    revoke(folder, S1, now, None)
    shut = accounts_of_broker(folder)[S1]
    again = provision(folder, WANTED, now, NOBODY)
    back = provision(folder, WANTED, now, frozenset({S1}))

    assert ({"username": S1, "disabled": True, "roles": []}, [S1]) == (shut, again.revoked)
    assert [S1] == back.renewed
    assert {revoked} == revoked_serials((folder.broker / REVOCATION_LIST).read_bytes())[0]
    assert [{"rolename": S1}] == accounts_of_broker(folder)[S1]["roles"]


def test_who_is_not_in_the_file_any_more_is_named_and_keeps_access(folder, now):
    """Taking access away is a decision of its own."""
    provision(folder, WANTED, now, NOBODY)
    done = provision(folder, replace(WANTED, accounts=WANTED.accounts[:1]), now, NOBODY)

    assert [ALICE] == done.left
    assert ALICE in accounts_of_broker(folder)


def test_without_the_authoritys_key_an_account_can_still_be_shut(folder, now):
    """It is kept offline; the list of revoked certificates has to wait for it."""
    provision(folder, WANTED, now, NOBODY)
    key = folder.authority_key.read_bytes()
    folder.authority_key.unlink()
    first = revoke(folder, S1, now, None)
    with pytest.raises(IdentityUnusable, match="bring the authority's key back"):
        provision(folder, WANTED, now, NOBODY)
    write_whole(folder.authority_key, key, PRIVATE)
    second = revoke(folder, S1, now, None)

    assert (False, True) == (first.listed, second.listed)
    assert set(first.serials) == revoked_serials((folder.broker / REVOCATION_LIST).read_bytes())[0]


@pytest.mark.parametrize("name", [NodeId("s9"), ADMIN, BROKER])
def test_only_accounts_can_be_revoked(folder, now, name):
    """A slip of the finger is told, with the names that there are."""
    provision(folder, WANTED, now, NOBODY)

    with pytest.raises(IdentityUnusable, match="there are alice, s1"):
        revoke(folder, name, now, None)


def test_only_who_is_in_the_file_can_be_reinstated(folder, now):
    """A slip of the finger is told before anything is written."""
    with pytest.raises(IdentityUnusable, match="s9 cannot be reinstated"):
        provision(folder, WANTED, now, frozenset({NodeId("s9")}))

    assert not folder.root.exists()


@pytest.mark.parametrize("cut_off_before", ["register.json", "ca.crt"])
def test_a_first_run_that_was_cut_off_begins_anew(folder, now, monkeypatch, cut_off_before):
    """Neither half an authority nor a folder that nothing can be done with."""
    written = files.os.open

    def cut(path, *rest):
        if Path(path).name.startswith(f".{cut_off_before}."):
            raise OSError(5, "cut off")
        return written(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "open", cut)
        with pytest.raises(IdentityUnusable, match="cut off"):
            provision(folder, WANTED, now, NOBODY)
    done = provision(folder, WANTED, now, NOBODY)

    assert done.made_authority
    assert [BROKER, ADMIN, S1, ALICE] == done.issued


def test_an_authority_that_went_missing_is_not_replaced(folder, now):
    """Every node would refuse the broker of another one."""
    provision(folder, WANTED, now, NOBODY)
    (folder.authority / "ca.crt").unlink()

    with pytest.raises(IdentityUnusable, match="holds no authority"):
        provision(folder, WANTED, now, NOBODY)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"site": SiteId("other")}, "belongs to site home, not to other"),
        ({"accounts": (*WANTED.accounts, *WANTED.accounts)}, "alice, s1: every node and person needs a name"),
        ({"accounts": (Account(ADMIN, Role.OBSERVER),)}, "admin is a name of the broker's own"),
    ],
)
def test_a_site_that_does_not_fit_is_refused(folder, now, change, says):
    """Nothing is written then."""
    provision(folder, WANTED, now, NOBODY)
    before = {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}

    with pytest.raises(IdentityUnusable, match=says):
        provision(folder, replace(WANTED, **change), now, NOBODY)
    assert before == {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}


def test_a_damaged_register_is_not_replaced(folder, now):
    """It knows what can be revoked."""
    provision(folder, WANTED, now, NOBODY)
    folder.register.write_text("{", encoding="utf-8")

    with pytest.raises(IdentityUnusable, match=r"register\.json is damaged"):
        provision(folder, WANTED, now, NOBODY)


def test_the_status_tells_who_has_access_and_until_when(folder, now):
    """The broker and the administrator too."""
    provision(folder, WANTED, now, NOBODY)
    revoke(folder, S1, now, None)
    later = now + timedelta(days=99, hours=1)
    rows = {row.name: (row.role, row.days_left, row.access) for row in accounts_in(folder, later)}

    assert ("operator", 0, "yes") == rows[ALICE]
    assert ("-", 0, "revoked, not yet enforced") == rows[S1]  # no running broker has confirmed
    assert {"yes"} == {rows[BROKER][2], rows[ADMIN][2]}
    assert "expired" == {row.name: row.access for row in accounts_in(folder, now + timedelta(days=101))}[ALICE]


def test_orchestrator_and_serving_nodes_share_a_key_that_nobody_else_has(folder, now):
    """Mode 0600, the same after another run, and also for a serving node that comes later."""
    extra = [Account(NodeId(name), role) for name, role in (("brain", Role.ORCHESTRATOR), ("edge", Role.SERVING_NODE))]
    wanted = replace(WANTED, accounts=(*WANTED.accounts, *extra))
    provision(folder, wanted, now, NOBODY)
    keys = {path.parent.name: path.read_bytes() for path in folder.root.rglob("ticket.key")}
    late = Account(NodeId("cloud"), Role.SERVING_NODE)
    provision(folder, replace(wanted, accounts=(*wanted.accounts, late)), now, NOBODY)
    later = {path.parent.name: path.read_bytes() for path in folder.root.rglob("ticket.key")}

    assert {"brain", "edge"} == keys.keys()
    assert {"brain", "edge", "cloud"} == later.keys()
    assert 1 == len({*keys.values(), *later.values()})
    assert {PRIVATE} == {stat.S_IMODE(path.stat().st_mode) for path in folder.root.rglob("ticket.key")}


@pytest.mark.parametrize("damage", [b"", b"not a key\n", b"00" * 31])
def test_a_damaged_ticket_key_is_not_copied_to_the_others(folder, now, damage):
    """The first key that is one replaces it."""
    extra = [Account(NodeId(name), role) for name, role in (("brain", Role.ORCHESTRATOR), ("edge", Role.SERVING_NODE))]
    wanted = replace(WANTED, accounts=(*WANTED.accounts, *extra))
    provision(folder, wanted, now, NOBODY)
    brain, edge = (next(folder.root.rglob(f"{name}/ticket.key")) for name in ("brain", "edge"))
    good = brain.read_bytes()
    brain.write_bytes(damage)
    provision(folder, wanted, now, NOBODY)

    assert (good, good) == (brain.read_bytes(), edge.read_bytes())
