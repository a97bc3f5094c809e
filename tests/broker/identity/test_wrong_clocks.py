"""A site whose machines disagree about the time, and the end of its authority."""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker.access import Role
from broker.errors import IdentityUnusable
from broker.identity.accounts import ADMIN, BROKER, Account, SiteAccounts, Validity
from broker.identity.authority import revoked_serials
from broker.identity.folder import REVOCATION_LIST, Folder
from broker.identity.provisioning import provision
from broker.identity.revoking import revoke
from broker.tls import CERTIFICATE_NAME
from broker.vocabulary import NodeId, SiteId

S1, ALICE = NodeId("s1"), NodeId("alice")
WANTED = SiteAccounts(
    SiteId("home"),
    ("127.0.0.1",),
    8883,
    (Account(S1, Role.END_DEVICE), Account(ALICE, Role.OPERATOR)),
    Validity(authority_days=1000, certificate_days=100, renew_days=30),
)
NOBODY: frozenset[NodeId] = frozenset()


@pytest.fixture
def folder(tmp_path) -> Folder:
    """Not made yet."""
    return Folder(tmp_path / "site")


@pytest.mark.parametrize("days", [-1, 1000])
def test_a_clock_outside_the_authoritys_time_is_told_and_nothing_is_written(folder, now, days):
    """A board without a clock believes that it is 1970; what it would issue, nobody could use."""
    provision(folder, WANTED, now, NOBODY)
    before = {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}

    with pytest.raises(IdentityUnusable, match=r"clock says .* set the clock"):
        provision(folder, WANTED, now + timedelta(days=days), NOBODY)
    assert before == {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}


def test_a_certificate_of_a_clock_that_was_ahead_is_issued_anew(folder, now):
    """Nobody would take it until then."""
    provision(folder, WANTED, now, NOBODY)
    (folder.of(S1, Role.END_DEVICE) / CERTIFICATE_NAME).unlink()
    provision(folder, WANTED, now + timedelta(days=60), NOBODY)
    done = provision(folder, WANTED, now, NOBODY)

    assert ([S1], [BROKER, ADMIN, ALICE]) == (done.renewed, done.kept)


def test_what_ends_with_the_authority_is_not_renewed_again_and_again(folder, now):
    """A new one would end on the same day."""
    provision(folder, WANTED, now, NOBODY)
    late = now + timedelta(days=990)
    renewed = provision(folder, WANTED, late, NOBODY).renewed
    again = provision(folder, WANTED, late, NOBODY)

    assert ([BROKER, ADMIN, S1, ALICE], []) == (renewed, again.renewed)


def test_a_clock_that_is_far_ahead_does_not_stop_a_revocation(folder, now):
    """The list is made all the same."""
    provision(folder, WANTED, now, NOBODY)
    done = revoke(folder, S1, now + timedelta(days=20_000), None)

    assert set(done.serials) == revoked_serials((folder.broker / REVOCATION_LIST).read_bytes())[0]
