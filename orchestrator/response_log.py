"""The response log: one SQLite file (WAL), the embedded default store and the later outbox.

Tables `response`, `decision` and `telemetry`. `id` grows with every stored row, so a shipper can remember how far it
came. `time_ns` is the wall clock, assigned once when a row is stored, unique per node and table, and increasing even
when that clock steps back (by more than an hour: increasing again from there, `series_times`): with the tags it is a
point's identity. UNIQUE (node, request_id) drops doubles.
How long rows are kept is `retention`'s; of `telemetry` also the newest rows of a configured number.

Version 2 added to `decision` why it was made, and an index of rounds. Version 3 added the books of the shipper
(`orchestrator.shipping`): how far each table went to each server, which decisions were explained after they had left,
and what a server refused for good. Version 4 added tombstones of deleted rows. Opened for writing, an older log gets
what it lacks, empty; opened for reading it stays as it is, and `has_explanations`, `has_shipping` or `has_tombstones`
is false.
"""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

from broker.private_files import make_database_private
from orchestrator.errors import LogRefused

LOG_NAME = "response-log.sqlite3"
VERSION = 4  # of the schema, in `user_version`
OLDEST = 1  # that can be read, and brought up to date
APPLICATION = 0x54574C47  # "TWLG", in `application_id`

SHIPPING = """
CREATE TABLE shipping (
    target TEXT NOT NULL,                -- server, organisation and bucket
    source TEXT NOT NULL,                -- response, decision or telemetry
    claimed_id INTEGER NOT NULL,         -- rows up to this one may have left
    shipped_id INTEGER NOT NULL,         -- up to this one each is stored there, refused, skipped or trimmed
    shipped_rows INTEGER NOT NULL DEFAULT 0,
    skipped_rows INTEGER NOT NULL DEFAULT 0,   -- more waited than backlog_rows
    trimmed_rows INTEGER NOT NULL DEFAULT 0,   -- telemetry that was deleted here before it left
    PRIMARY KEY (target, source)
);
CREATE TABLE shipping_target (
    target TEXT PRIMARY KEY,
    accepted_ns INTEGER,                 -- wall clock of the last write that was taken
    failed_ns INTEGER,                   -- and of the last that was not, with why
    error TEXT
);
CREATE TABLE amended (                   -- decisions that changed after they may have left: they leave again
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    target TEXT NOT NULL,
    decision_id INTEGER NOT NULL
);
CREATE TRIGGER decision_amended AFTER UPDATE ON decision BEGIN
    INSERT INTO amended (target, decision_id)
    SELECT target, NEW.id FROM shipping WHERE source = 'decision' AND claimed_id >= NEW.id;
END;
CREATE TABLE dead_letter (               -- what a server refused for good
    target TEXT NOT NULL,
    source TEXT NOT NULL,
    row_id INTEGER NOT NULL,
    refused_ns INTEGER NOT NULL,         -- wall clock
    status INTEGER NOT NULL,             -- HTTP
    message TEXT NOT NULL,               -- the server's
    line TEXT NOT NULL,                  -- as it was sent
    PRIMARY KEY (target, source, row_id)
);
"""

TOMBSTONES = """
CREATE TABLE tombstone (                 -- of deleted rows of response and decision
    id INTEGER PRIMARY KEY,              -- in the order of deletion
    node TEXT NOT NULL,
    request_id TEXT NOT NULL,
    time_ns INTEGER NOT NULL,            -- of the row
    expires_ns INTEGER NOT NULL,         -- until then a report that is sent again is known
    reported INTEGER NOT NULL,           -- 1: its report had been stored
    UNIQUE (request_id, node)
);
"""

SCHEMA = """
CREATE TABLE response (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ns INTEGER NOT NULL,
    site TEXT NOT NULL,
    node TEXT NOT NULL,
    request_id TEXT NOT NULL,
    round INTEGER,                       -- NULL: the device was never told one
    policy TEXT NOT NULL,                -- 'none': it ran without a decision; 'unknown': that is lost
    policy_version INTEGER,
    explored INTEGER NOT NULL,
    floor_tenths INTEGER,                -- Top-5, tenths of a point
    outcome TEXT NOT NULL,
    tier TEXT NOT NULL,                  -- what was really done, with model and serving_node
    model TEXT NOT NULL,
    serving_node TEXT NOT NULL,
    accuracy_tenths INTEGER,             -- of that model; NULL: not in the manifest
    response_ms REAL NOT NULL,
    decide_ms REAL NOT NULL,
    encode_ms REAL NOT NULL,
    uplink_ms REAL NOT NULL,
    queue_ms REAL NOT NULL,
    compute_ms REAL NOT NULL,
    downlink_ms REAL NOT NULL,
    label TEXT,
    trained INTEGER NOT NULL,
    emulated INTEGER NOT NULL,
    reason TEXT,
    UNIQUE (node, request_id),
    UNIQUE (node, time_ns)
);
CREATE TABLE decision (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ns INTEGER NOT NULL,
    site TEXT NOT NULL,
    node TEXT NOT NULL,
    request_id TEXT NOT NULL,
    round INTEGER NOT NULL,
    policy TEXT NOT NULL,
    policy_version INTEGER NOT NULL,
    explored INTEGER NOT NULL,
    floor_tenths INTEGER NOT NULL,
    tier TEXT NOT NULL,
    model TEXT NOT NULL,
    serving_node TEXT NOT NULL,
    fallback_model TEXT NOT NULL,
    deadline_ms REAL NOT NULL,
    predicted_ms REAL,                   -- what the agent expected; NULL in all seven: it did not say why
    predicted_sd_ms REAL,
    runner_up TEXT,                      -- the next best action, as in d0@edge; NULL: there was no other
    runner_up_ms REAL,
    runner_up_sd_ms REAL,
    bounds TEXT,                         -- what held: floor, load, entry, with commas between; '': nothing
    reason TEXT,                         -- best, uncertain, probe, held; NULL: it did not say why
    UNIQUE (request_id, node),           -- in this order: a report asks whose request it was
    UNIQUE (node, time_ns)
);
CREATE INDEX decision_round ON decision (round);
CREATE TABLE telemetry (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ns INTEGER NOT NULL,
    site TEXT NOT NULL,
    node TEXT NOT NULL,
    tier TEXT,                           -- NULL: heard before its birth
    seq INTEGER NOT NULL,
    cpu_percent REAL NOT NULL,
    memory_percent REAL NOT NULL,
    link TEXT NOT NULL,
    rtt_ms REAL,
    uplink_mbit_s REAL,
    queue_length INTEGER NOT NULL,
    overruns INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    emulated INTEGER NOT NULL,
    UNIQUE (node, time_ns)
);
"""

# What version 1 lacks; versions 1 and 2 lack SHIPPING, and 3 too lacks TOMBSTONES.
FROM_1_TO_2 = """
ALTER TABLE decision ADD COLUMN predicted_ms REAL;
ALTER TABLE decision ADD COLUMN predicted_sd_ms REAL;
ALTER TABLE decision ADD COLUMN runner_up TEXT;
ALTER TABLE decision ADD COLUMN runner_up_ms REAL;
ALTER TABLE decision ADD COLUMN runner_up_sd_ms REAL;
ALTER TABLE decision ADD COLUMN bounds TEXT;
ALTER TABLE decision ADD COLUMN reason TEXT;
CREATE INDEX decision_round ON decision (round);
"""


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Open, bring up to date or make the log; its connection may go to one other thread. Raises LogRefused."""
    try:
        make_database_private(path)
        connection = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
    except (sqlite3.Error, OSError) as error:
        reason = _disk_full(path) if is_disk_full(error) else f"cannot open the response log {path}: {error}"
        raise LogRefused(reason) from error
    try:
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,):
            _make(connection, path)
        if (version := _check(connection, path)) < VERSION:
            _bring_up_to_date(connection, path, version)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error as error:
        connection.close()
        if is_disk_full(error):
            raise LogRefused(_disk_full(path)) from error
        raise LogRefused(f"{path} cannot be used as response log: {error}; move it away to begin another") from error
    except LogRefused:
        connection.close()
        raise
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open an existing log for reports, also while the orchestrator writes it. Raises LogRefused."""
    if not path.exists():
        raise LogRefused(f"there is no response log {path}; an orchestrator makes it in its files.directory")
    connection = None
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
        _check(connection, path)
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise LogRefused(f"cannot read the response log {path}: {error}") from error
    except LogRefused:
        if connection is not None:
            connection.close()
        raise
    return connection


def is_disk_full(error: Exception) -> bool:
    """Whether a file could not be made or grow for lack of space."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def _disk_full(path: Path) -> str:
    return f"the disk is full: {path} cannot be written; free space in {path.parent}, or set files.directory"


def _make(connection: sqlite3.Connection, path: Path) -> None:
    _change(connection, path, f"{SCHEMA} {SHIPPING} {TOMBSTONES} PRAGMA application_id = {APPLICATION};")


def _bring_up_to_date(connection: sqlite3.Connection, path: Path, version: int) -> None:
    missing = (FROM_1_TO_2 if version < 2 else "") + (SHIPPING if version < 3 else "") + TOMBSTONES
    _change(connection, path, missing)


def _change(connection: sqlite3.Connection, path: Path, script: str) -> None:
    """All of it or nothing; nothing where another process, a shipper or an orchestrator, has just done it."""
    try:
        connection.executescript(f"BEGIN IMMEDIATE; {script} PRAGMA user_version = {VERSION}; COMMIT;")
    except sqlite3.OperationalError as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if is_disk_full(error) or _check(connection, path) != VERSION:
            raise


def _check(connection: sqlite3.Connection, path: Path) -> int:
    """The log's version. Raises LogRefused."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION:
        raise LogRefused(f"{path} is a database, but no response log; name another file")
    if not OLDEST <= version <= VERSION:
        raise LogRefused(
            f"{path} is a response log of schema version {version}, this Tierwise reads version {VERSION}; "
            "move it away to begin another, or use the Tierwise that wrote it"
        )
    return version


def has_explanations(connection: sqlite3.Connection) -> bool:
    """Whether the log has the columns that say why; only one that an older Tierwise wrote has not."""
    return bool(connection.execute("PRAGMA user_version").fetchone()[0] >= 2)


def has_shipping(connection: sqlite3.Connection) -> bool:
    """Whether the log has the shipper's books; only one that an older Tierwise wrote has not."""
    return bool(connection.execute("PRAGMA user_version").fetchone()[0] >= 3)


def has_tombstones(connection: sqlite3.Connection) -> bool:
    """Whether the log knows of deleted rows; only one that an older Tierwise wrote does not."""
    return bool(connection.execute("PRAGMA user_version").fetchone()[0] >= 4)


def last_round(connection: sqlite3.Connection) -> int:
    """The highest round number of the newest decisions, 0 when there are none."""
    newest = "SELECT max(round) FROM (SELECT round FROM decision ORDER BY id DESC LIMIT 10000)"
    return connection.execute(newest).fetchone()[0] or 0
