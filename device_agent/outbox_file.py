"""The outbox's file: where it is, its schema, and what an earlier life of the node left in it."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from pathlib import Path

import msgspec

from broker.errors import InvalidName, TierwiseError
from broker.events import event
from broker.messages import Report, Stages
from broker.private_files import make_database_private, private_folder
from broker.vocabulary import NodeId, Outcome, SiteId, Tier, model_name, request_id

log = logging.getLogger(__name__)

APPLICATION = 0x54574F42  # "TWOB", in `application_id`
VERSION = 1  # of the schema, in `user_version`
SCHEMA = """
CREATE TABLE request (
    id INTEGER PRIMARY KEY AUTOINCREMENT,    -- in the order of issue
    request_id TEXT NOT NULL UNIQUE,
    model TEXT NOT NULL,                     -- that would run if nothing was decided
    report BLOB                              -- JSON, as on the wire; NULL: it is under way
);
"""
BUSY_S = 3.0  # for the former agent of this node to end
ENDED_EARLY = "the node ended before the request did"


class OutboxRefused(TierwiseError):
    """An outbox that another process holds, that a newer Tierwise wrote, or whose folder cannot be used."""


def store_path(directory: Path | None, site: SiteId, node: NodeId) -> Path:
    """The file of one node; ids cannot widen it. Raises OutboxRefused where a user has no folder of his own."""
    return (directory or _state_directory() / "tierwise") / f"outbox-{site}-{node}.sqlite3"


def _state_directory() -> Path:
    told = Path(os.environ.get("XDG_STATE_HOME", ""))
    if told.is_absolute():  # the XDG specification: others are to be ignored
        return told
    try:
        return Path.home() / ".local" / "state"
    except RuntimeError as error:
        raise OutboxRefused("this user has no home folder for the outbox: set outbox.directory") from error


def open_outbox(path: Path, synchronous: str, node: NodeId) -> tuple[sqlite3.Connection, list[Report]]:
    """Open or make the file, for this process alone, and read it; one that is broken is moved aside.

    Raises OutboxRefused.
    """
    try:
        private_folder(path.parent)
    except OSError as error:
        raise OutboxRefused(f"cannot use {path.parent}: {error.strerror}; set outbox.directory") from error
    try:
        return _opened(path, synchronous, node)
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            raise OutboxRefused(f"another agent of this node keeps its outbox in {path}: stop it first") from error
        raise OutboxRefused(f"cannot write the outbox {path}: {error}; set outbox.directory") from error
    except sqlite3.DatabaseError as error:
        aside = path.with_name(f"{path.name}.broken-{time.time_ns()}")
        event(log, logging.ERROR, "outbox_broken", path=path, error=error, moved_to=aside.name)
        try:
            path.rename(aside)
            for rest in ("-wal", "-shm"):
                path.with_name(path.name + rest).unlink(missing_ok=True)
            return _opened(path, synchronous, node)
        except (OSError, sqlite3.Error) as again:
            raise OutboxRefused(f"the outbox {path} is broken, and no new one can be made: {again}") from again


def _opened(path: Path, synchronous: str, node: NodeId) -> tuple[sqlite3.Connection, list[Report]]:
    try:
        make_database_private(path)
    except OSError as error:
        raise OutboxRefused(f"cannot write the outbox {path}: {error.strerror}; set outbox.directory") from error
    connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
    connection.text_factory = _text
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        connection.execute("BEGIN IMMEDIATE")  # takes the lock, which is held from now on
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            for statement in (SCHEMA, f"PRAGMA application_id = {APPLICATION}", f"PRAGMA user_version = {VERSION}"):
                connection.execute(statement)
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.execute("COMMIT")
        if (application, version) != (APPLICATION, VERSION):
            raise OutboxRefused(f"{path} is no outbox that this Tierwise reads; move it away, or set outbox.directory")
        if (damage := connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(damage)
        return connection, _found(connection, node)
    except (sqlite3.Error, OutboxRefused):
        connection.close()
        raise


def _text(stored: bytes) -> str:
    """One bit that has flipped must cost one row, not the start of the node."""
    return stored.decode(errors="replace")


def _found(connection: sqlite3.Connection, node: NodeId) -> list[Report]:
    """What an earlier life of this node left, the oldest first; what was under way then has failed."""
    reports = []
    rows = connection.execute("SELECT id, request_id, model, report FROM request ORDER BY id").fetchall()
    for row, request, model, stored in rows:
        try:
            reports.append(_failed_report(request, model, node) if stored is None else _report(stored))
        except (msgspec.DecodeError, InvalidName, TypeError) as error:
            event(log, logging.ERROR, "outbox_row_dropped", request=repr(request)[:80], error=error)
            with contextlib.suppress(sqlite3.OperationalError):  # a full disk: it is dropped again next time
                connection.execute("DELETE FROM request WHERE id = ?", (row,))
    return reports


def _report(stored: bytes) -> Report:
    return msgspec.json.decode(stored, type=Report)


def _failed_report(request: str, model: str, node: NodeId) -> Report:
    return Report(
        request_id=request_id(request),
        outcome=Outcome.FAILED,
        decided=False,
        tier=Tier.END,
        model=model_name(model),
        serving_node=node,
        response_ms=0.0,
        stages=Stages(),
        reason=ENDED_EARLY,
    )
