"""Ledger and judge: what counts as lost, doubled, or as an untrue acknowledgement."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from testbed.faults.judge import QUIET, Happened, Verdict, judge
from testbed.faults.ledger import Books, Effect, Entry, Ledger, What, read_books, read_effects, read_folder
from testbed.faults.schedule import Kind

ROOT = Path(__file__).parents[3]


def entry(what: What, request: str, at_s: float = 10.0, node: str = "device-1") -> Entry:
    return Entry(at_s, node, what, request)


def books_of(*entries: Entry) -> Books:
    books = Books()
    for one in entries:
        books.enter(one)
    return books


def asked(*requests: str, at_s: float = 10.0) -> Books:
    """Ids that were drawn, issued and acknowledged."""
    stages = (What.DRAWN, What.ISSUED, What.ACKNOWLEDGED)
    return books_of(*(entry(what, request, at_s) for request in requests for what in stages))


def row(request: str, node: str = "device-1", outcome: str = "done") -> Effect:
    return Effect(request, node, outcome, "end")


def verdict_of(books: Books, *effects: Effect) -> Verdict:
    return judge(books, effects, [])


def test_one_row_for_each_id_holds() -> None:
    """Nothing lost, nothing doubled."""
    verdict = verdict_of(asked("a", "b"), row("a"), row("b"))

    assert verdict.holds
    assert (2, 2, 2) == (verdict.issued, verdict.acknowledged, verdict.effected)


def test_an_issued_id_without_a_row_is_lost_and_named() -> None:
    """Whether it was acknowledged or not; acknowledged is worse, and counted besides."""
    books = asked("a", "b")
    books.enter(entry(What.DRAWN, "c"))
    books.enter(entry(What.ISSUED, "c"))
    verdict = verdict_of(books, row("a"))

    assert not verdict.holds
    assert (("b", "c"), 2) == (verdict.lost, verdict.lost_count)
    assert 1 == verdict.acknowledged_without_row


@pytest.mark.parametrize("other", ["device-1", "device-2"])
def test_two_rows_of_one_id_are_doubled(other: str) -> None:
    """Under the same node, or under another."""
    verdict = verdict_of(asked("a"), row("a"), row("a", other))

    assert not verdict.holds
    assert (("a",), 1) == (verdict.doubled, verdict.doubled_count)
    assert (other == "device-2") == verdict.by_another


def test_a_row_that_no_device_asked_for_does_not_hold() -> None:
    """An id out of nowhere."""
    verdict = verdict_of(asked("a"), row("a"), row("z"))

    assert not verdict.holds
    assert 1 == verdict.of_nobody


def test_an_id_that_was_only_drawn_may_have_a_row_or_none() -> None:
    """Its device died on the way from the outbox to the ledger."""
    books = asked("a")
    books.enter(entry(What.DRAWN, "b"))

    assert verdict_of(books, row("a")).holds
    verdict = verdict_of(books, row("a"), row("b", outcome="failed"))
    assert verdict.holds
    assert 1 == verdict.only_drawn


def test_a_run_without_a_single_id_does_not_hold() -> None:
    """Nothing asked is nothing shown."""
    assert not verdict_of(Books()).holds


def test_outcomes_are_counted_under_the_faults_that_were_on() -> None:
    """`a` in the quiet, `b` under one kind, `c` under two, `d` in the aftermath, `e` after it."""
    books = Books()
    for request, at_s in (("a", 5.0), ("b", 11.0), ("c", 15.0), ("d", 20.5), ("e", 22.0)):
        books.enter(entry(What.ISSUED, request, at_s))
        books.enter(entry(What.DRAWN, request, at_s))
    faults = [
        Happened(1, Kind.BROKER_FREEZE, "broker", 10.0, 20.0),
        Happened(2, Kind.LATENCY, "edge-1", 14.0, 16.0),
    ]
    rows = [row("a"), row("b", outcome="failed"), row("c", outcome="fallen_back"), row("d"), row("e")]

    assert {
        QUIET: {"done": 2},
        "broker frozen": {"done": 1, "failed": 1, "fallen_back": 1},
        "300 ms latency": {"fallen_back": 1},
    } == judge(books, rows, faults).outcomes


def test_the_books_of_a_killed_process_are_whole(tmp_path: Path) -> None:
    """kill -9 while it writes: every line but perhaps the last is there, and its next life goes on behind it."""
    path = tmp_path / "one.ledger.jsonl"
    code = (
        "import sys; from pathlib import Path; from testbed.faults.ledger import *\n"
        "ledger = Ledger(Path(sys.argv[1])); number = 0\n"
        "while True:\n"
        "    ledger.write(Entry(1.0, 'n', What.DRAWN, str(number))); number += 1\n"
        "    if number == 100: print('written', flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"written\n" == process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        process.wait(20)
    with path.open("ab") as file:
        file.write(b'{"at_s":1.0,"node":"n","wh')  # what a torn line would look like
    ledger = Ledger(path)
    ledger.write(entry(What.ISSUED, "0"))
    ledger.close()
    books = read_folder(tmp_path)

    assert len(books.drawn) >= 100
    assert {str(number) for number in range(len(books.drawn))} == books.drawn
    assert {"0"} == set(books.issued)
    assert 1 == books.torn_lines


def test_empty_lines_are_no_torn_ones() -> None:
    """Each life begins with one."""
    assert 0 == read_books([b"\n", b"\n"]).torn_lines


def test_effects_are_the_rows_on_disk(tmp_path: Path) -> None:
    """Also those that our own code would call impossible."""
    path = tmp_path / "log.sqlite3"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE response (id INTEGER PRIMARY KEY, request_id, node, outcome, tier)")
        rows = [("a", "device-1", "done", "end")] * 2
        database.executemany("INSERT INTO response (request_id, node, outcome, tier) VALUES (?, ?, ?, ?)", rows)
        database.commit()

    assert [row("a"), row("a")] == read_effects(path)
