"""Takes the access of one node or person away: from the running broker first, then from all that outlives it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from broker.errors import IdentityUnusable, NotConnected
from broker.identity.access_files import write_access_files, write_accounts
from broker.identity.accounts import RESERVED
from broker.identity.control import Control
from broker.identity.dynsec import commands_to_revoke
from broker.identity.files import only_one
from broker.identity.folder import Folder
from broker.identity.register import Register, load_register, save_register
from broker.vocabulary import NodeId, SiteId


@dataclass(frozen=True, slots=True)
class Revoked:
    """What was done. `session_ended`: a running broker confirmed it; `problem` says why not. `listed`: its
    certificates are on the revocation list."""

    name: NodeId
    serials: tuple[str, ...]
    session_ended: bool
    listed: bool
    problem: str = ""


def revoke(folder: Folder, name: NodeId, now: datetime, control: Control | None) -> Revoked:
    """Through `control`, which is opened here, the running broker is told first; None tells it nothing.

    Again for the same name it makes sure of all; until a running broker has confirmed, the name is `unenforced` in the
    register. The files are changed also where the broker is not reached. Raises IdentityUnusable.
    """
    load_register(folder.register)  # or a slip of the finger would make the folder of the lock
    with only_one(folder.lock):
        return _revoke(folder, name, now, control)


def _revoke(folder: Folder, name: NodeId, now: datetime, control: Control | None) -> Revoked:
    register = load_register(folder.register)
    if name in RESERVED or (name not in register.roles and name not in register.revoked):
        raise IdentityUnusable(f"{name} is no account of site {register.site}: {_known(register)}")
    register.revoke(name, now)
    register.roles.pop(name, None)
    save_register(folder.register, register)
    listed, problem = folder.authority_key.exists(), ""
    try:
        if control is not None:
            with control:
                shut_out(control, register.site, [name])
            register.unenforced.discard(name)
            save_register(folder.register, register)
    except NotConnected as error:
        problem = str(error)
    finally:
        if listed:
            write_access_files(folder, folder.load_authority(), register, now)
        else:
            write_accounts(folder, register)
    ended = control is not None and not problem
    return Revoked(name, tuple(register.serials_of(name)), ended, listed, problem)


def shut_out(control: Control, site: SiteId, names: Sequence[NodeId]) -> None:
    """End the sessions of `names` in a running broker, take their rights, and say that they are gone: Mosquitto
    publishes no last will for a session that it ends itself. Raises NotConnected, IdentityUnusable."""
    control.run([command for name in names for command in commands_to_revoke(name)])
    for name in names:
        control.say_offline(site, name)


def _known(register: Register) -> str:
    names = sorted(register.roles)
    return f"there are {', '.join(names[:20])}{', ...' if len(names) > 20 else ''}" if names else "it has none"
