"""Commands that change one folder at the same time, or are in a hurry."""

from __future__ import annotations

import stat
import subprocess
import sys
import threading

import pytest

from broker.access import Role
from broker.errors import IdentityUnusable
from broker.identity.accounts import Account, SiteAccounts, Validity
from broker.identity.files import only_one
from broker.identity.folder import Folder
from broker.identity.provisioning import provision
from broker.identity.register import load_register, save_register
from broker.identity.revoking import revoke
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


def test_commands_that_change_one_folder_take_turns(folder, now):
    """Each reads the register and writes it: two at once would forget what one of them revoked."""
    provision(folder, WANTED, now, NOBODY)
    with only_one(folder.lock):
        with pytest.raises(IdentityUnusable, match="another command is changing"), only_one(folder.lock, wait_s=0):
            pass
        revoking = threading.Thread(target=revoke, args=(folder, S1, now, None), name="revoking")
        revoking.start()
        meanwhile = load_register(folder.register).revoked
        register = load_register(folder.register)
        register.revoke(ALICE, now)
        save_register(folder.register, register)
    revoking.join()

    assert ({}, {S1, ALICE}) == (meanwhile, set(load_register(folder.register).revoked))
    assert 0o600 == stat.S_IMODE(folder.lock.stat().st_mode)


def test_a_revocation_does_not_wait_for_cryptography():
    """It takes as long to import as the rest; the broker is told before it is needed."""
    code = "import sys, broker.identity.revoking as r; sys.exit('cryptography.x509' in sys.modules)"

    assert 0 == subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode
