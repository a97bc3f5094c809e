"""Replace a file so that after a crash at any moment either the old or the new content is there, whole."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from broker.private_files import open_private

PUBLIC = 0o666  # less the umask
LEFTOVER_S = 3600.0  # so old a temporary file is of a process that was killed


def replace_durably(
    path: Path, write: Callable[[IO[bytes]], object], mode: int = PUBLIC, *, durable: bool = True
) -> None:
    """Write beside `path`, fsync, rename over it, fsync the folder. Raises OSError.

    The temporary file has a random name and `mode` from its first byte on; nobody can have put a link there. What is
    not `durable` may be damaged by a power cut: for what is looked at again and can be made anew.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = open_private(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Let a rename in `folder` survive a power cut. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of processes that were killed while they replaced a file. Raises OSError."""
    old_s = time.time() - LEFTOVER_S
    for leftover in folder.glob(".*.tmp"):
        with suppress(FileNotFoundError):
            if leftover.lstat().st_mtime < old_s:
                leftover.unlink()
