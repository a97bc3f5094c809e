"""The orchestrator's own folder, held by one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker.durable_file import remove_leftovers
from broker.private_files import open_lock, private_folder, tighten
from orchestrator.errors import DirectoryInUse

OWN_FILES = ("*.npz", "orchestrator.json", "response-log.sqlite3*", "lock", "shipping.lock")


@contextmanager
def held(directory: Path) -> Iterator[Path]:
    """Make `directory` and lock it, until the process ends, however. Raises DirectoryInUse.

    The folder and the orchestrator's files in it are closed to other users: labels of images are personal.
    """
    try:
        private_folder(directory)
        lock = open_lock(directory / "lock")
    except OSError as error:
        raise DirectoryInUse(f"cannot write into {directory}: {error.strerror}; set files.directory") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise DirectoryInUse(
            f"another orchestrator keeps its files in {directory}; stop it, or set files.directory"
        ) from error
    try:
        _close_to_others(directory)
        yield directory
    finally:
        os.close(lock)


def _close_to_others(directory: Path) -> None:
    """Tighten the files of a Tierwise that left them readable, and remove temporary files of killed processes."""
    try:
        for pattern in OWN_FILES:
            tighten(directory.glob(pattern))
        remove_leftovers(directory)
    except OSError as error:
        raise DirectoryInUse(f"cannot change files in {directory}: {error.strerror}; set files.directory") from error
