"""Programs that share the cache take turns."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker.private_files import open_lock
from model_zoo.errors import IndexUnusable


@contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Wait until nobody else holds the file `lock`, and hold it; a process that ends lets go. Raises IndexUnusable."""
    try:
        descriptor = open_lock(lock)
    except OSError as error:
        raise IndexUnusable(f"cannot write to {lock.parent}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
