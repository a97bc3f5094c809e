"""The orchestrator's own folder, held by one process at a time."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import DirectoryInUse


@contextmanager
def held(directory: Path) -> Iterator[Path]:
    """Make `directory` and hold it; the kernel lets go when the process ends, however. Raises DirectoryInUse."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("wb")
    except OSError as error:
        raise DirectoryInUse(f"cannot write into {directory}: {error.strerror}; set files.directory") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DirectoryInUse(
                f"another orchestrator keeps its files in {directory}; stop it, or set files.directory"
            ) from error
        yield directory
