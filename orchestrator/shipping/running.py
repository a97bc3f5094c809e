"""One shipper of one log: the lock that keeps it alone, and what it is made of."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from broker.clock import SystemClock
from broker.private_files import open_lock
from configs.influxdb import InfluxSection
from orchestrator.errors import AlreadyShipping, LogRefused
from orchestrator.response_log import LOG_NAME
from orchestrator.shipping.outbox import Outbox
from orchestrator.shipping.shipper import Shipper
from orchestrator.shipping.target import Target

LOCK_NAME = "shipping.lock"


@contextmanager
def open_outbox(directory: Path, section: InfluxSection) -> Iterator[Outbox]:
    """The outbox of the log in `directory`, which must be there. Raises LogRefused."""
    path = directory / LOG_NAME
    if not path.exists():
        raise LogRefused(f"there is no response log {path}; an orchestrator makes it in its files.directory")
    try:
        outbox = Outbox(path, section.target, section.backlog_rows, SystemClock())
    except sqlite3.Error as error:
        raise LogRefused(f"{path} cannot be used as outbox: {error}") from error
    with closing(outbox):
        yield outbox


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Be the only shipper of the log in `directory`; the kernel lets go, however we end.

    Raises AlreadyShipping, LogRefused.
    """
    if not directory.is_dir():
        raise LogRefused(f"there is no folder {directory}; name the orchestrator's files.directory")
    try:
        lock = open_lock(directory / LOCK_NAME)
    except OSError as error:
        raise AlreadyShipping(f"cannot write into {directory}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise AlreadyShipping(
            f"another shipper ships the response log in {directory}: a running orchestrator with an influxdb "
            "section has one, and does it by itself"
        ) from error
    try:
        yield
    finally:
        os.close(lock)


SWITCH_S = 0.0005


@contextmanager
def shipper(
    directory: Path, section: InfluxSection, told: Callable[[int], None] = lambda _: None
) -> Iterator[tuple[Shipper, Outbox]]:
    """A shipper to run, alone on its log. Raises AlreadyShipping, LogRefused."""
    # One thread makes lines while the other waits for the server, and should not wait 5 ms for the interpreter each
    # time that it has an answer: a quarter more points a second on two cores.
    sys.setswitchinterval(SWITCH_S)
    with (
        alone(directory),
        open_outbox(directory, section) as outbox,
        closing(Target(section)) as target,
        Shipper(outbox, target.send, section, SystemClock(), told) as ships,
    ):
        yield ships, outbox
