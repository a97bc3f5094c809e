"""The devices' own books, kept beside the code under test: one JSON object a line, appended, never rewritten.

    drawn          a device has a new id, and nothing else has happened
    issued         the id is on record in the device's outbox; now it may leave
    given_up       it was drawn, and will not be issued after all
    acknowledged   the orchestrator says that its report is stored

A line is one write of its own, so a process that is killed leaves whole lines; what a torn line would have said is
counted as torn and left out.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import msgspec

SUFFIX = ".ledger.jsonl"


class What(StrEnum):
    """What happened to an id."""

    DRAWN = "drawn"
    ISSUED = "issued"
    GIVEN_UP = "given_up"
    ACKNOWLEDGED = "acknowledged"


class Entry(msgspec.Struct, frozen=True):
    """One line."""

    at_s: float  # wall clock
    node: str
    what: What
    request_id: str


class Ledger:
    """The books of one process, of as many lives as it has."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(self._file, b"\n")  # should the former life have ended within a line

    def write(self, entry: Entry) -> None:
        """Returns when the line is with the kernel, which outlives this process."""
        os.write(self._file, msgspec.json.encode(entry) + b"\n")

    def close(self) -> None:
        """No more lines."""
        os.close(self._file)


@dataclass(slots=True)
class Books:
    """All ledgers together; ids with when (wall clock) and by whom they were issued."""

    drawn: set[str] = field(default_factory=set)
    issued: dict[str, tuple[float, str]] = field(default_factory=dict)
    given_up: set[str] = field(default_factory=set)
    acknowledged: set[str] = field(default_factory=set)
    torn_lines: int = 0

    def enter(self, entry: Entry) -> None:
        """Take in one line."""
        if entry.what is What.DRAWN:
            self.drawn.add(entry.request_id)
        elif entry.what is What.ISSUED:
            self.issued[entry.request_id] = entry.at_s, entry.node
        elif entry.what is What.GIVEN_UP:
            self.given_up.add(entry.request_id)
        else:
            self.acknowledged.add(entry.request_id)


def read_books(lines: Iterable[bytes]) -> Books:
    """What ledgers say."""
    books, decoder = Books(), msgspec.json.Decoder(Entry)
    for line in lines:
        if line.strip():
            try:
                books.enter(decoder.decode(line))
            except msgspec.DecodeError:
                books.torn_lines += 1
    return books


def read_folder(directory: Path) -> Books:
    """The books of all processes that kept theirs in `directory`."""

    def lines() -> Iterable[bytes]:
        for path in sorted(directory.glob(f"*{SUFFIX}")):
            with path.open("rb") as file:
                yield from file

    return read_books(lines())


@dataclass(frozen=True, slots=True)
class Effect:
    """One row of the response log."""

    request_id: str
    node: str
    outcome: str
    tier: str


def read_effects(response_log: Path) -> list[Effect]:
    """Every row of the response log, read past our own code: what is on disk is what counts."""
    with closing(sqlite3.connect(f"{response_log.absolute().as_uri()}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT request_id, node, outcome, tier FROM response ORDER BY id")
        return [Effect(*row) for row in rows]
