"""Files that others rely on, written whole or not at all; keys are never open to other users, not even for a moment."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker.durable_file import sync_folder
from broker.errors import IdentityUnusable

PRIVATE = 0o600
PUBLIC = 0o644
PRIVATE_FOLDER = 0o700
LOCK_WAIT_S = 30.0  # a thousand certificates take some seconds
LOCK_POLL_S = 0.02


def write_whole(path: Path, content: bytes, mode: int = PUBLIC, *, durable: bool = True) -> None:
    """Make or replace `path`, with `mode` from its first byte on. Raises IdentityUnusable.

    What is not `durable` may be damaged by a power cut: for what is looked at again and can be made anew.
    """
    beside = path.with_name(f".{path.name}.new")
    try:
        _make_folder(path.parent)
        beside.unlink(missing_ok=True)  # of a run that was cut off
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(descriptor)
        beside.replace(path)
        if durable:
            sync_folder(path.parent)
    except OSError as error:
        raise IdentityUnusable(f"cannot write {path}: {error.strerror}") from error


def _make_folder(folder: Path) -> None:
    """With its parents, each private: `mkdir` would make the parents as open as the umask lets it."""
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(mode=PRIVATE_FOLDER)


@contextmanager
def only_one(lock: Path, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Hold the file `lock`, waiting for whoever does; a process that ends lets go. Raises IdentityUnusable.

    Two commands that change one register at the same time would forget what the other one revoked.
    """
    try:
        _make_folder(lock.parent)
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, PRIVATE)
    except OSError as error:
        raise IdentityUnusable(f"cannot write {lock}: {error.strerror}") from error
    try:
        deadline_s = time.monotonic() + wait_s
        while not _taken(descriptor):
            if time.monotonic() >= deadline_s:
                raise IdentityUnusable(f"another command is changing {lock.parent}: try again when it has ended")
            time.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def read_if_there(path: Path) -> bytes | None:
    """Its content; None where there is no such file. Raises IdentityUnusable."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise IdentityUnusable(f"cannot read {path}: {error.strerror}") from error
