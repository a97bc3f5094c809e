"""Files that others rely on, written whole or not at all; keys are never open to other users, not even for a moment."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker.durable_file import replace_durably
from broker.errors import IdentityUnusable
from broker.private_files import PRIVATE, make_folder, open_lock

__all__ = ["PRIVATE", "PUBLIC", "only_one", "read_if_there", "write_whole"]

PUBLIC = 0o644
LOCK_WAIT_S = 30.0  # a thousand certificates take some seconds
LOCK_POLL_S = 0.02


def write_whole(path: Path, content: bytes, mode: int = PUBLIC, *, durable: bool = True) -> None:
    """Make or replace `path`, with `mode` from its first byte on. Raises IdentityUnusable.

    What is not `durable` may be damaged by a power cut: for what is looked at again and can be made anew.
    """
    try:
        make_folder(path.parent)
        replace_durably(path, lambda file: file.write(content), mode, durable=durable)
    except OSError as error:
        raise IdentityUnusable(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def only_one(lock: Path, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Hold the file `lock`, waiting for whoever does; a process that ends lets go. Raises IdentityUnusable.

    Two commands that change one register at the same time would forget what the other one revoked.
    """
    try:
        make_folder(lock.parent)
        descriptor = open_lock(lock)
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
