"""The parts of the driver that need no site."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed.faults.driver import Counts
from testbed.faults.ledger import SUFFIX, Entry, Ledger, What
from testbed.faults.site import Program

ENDS = "raise SystemExit(3)"


def program(directory: Path, code: str) -> Program:
    return Program("one", [sys.executable, "-c", code], directory / "one.log")


def ended(one: Program) -> Callable[[], bool]:
    return lambda: one.popen is not None and one.popen.poll() is not None


def wait_until(condition: Callable[[], bool]) -> None:
    ends_s = time.monotonic() + 20.0
    while not condition():
        if time.monotonic() > ends_s:
            pytest.fail("it did not happen")
        time.sleep(0.01)


def test_a_program_that_ends_by_itself_is_started_again_and_told(tmp_path: Path) -> None:
    """Its exit code is kept; each end counts."""
    one = program(tmp_path, ENDS)
    one.start()
    for _ in range(2):
        wait_until(ended(one))
        one.look()
    one.end()

    assert [3, 3] == one.unexpected_exits


def test_a_program_that_is_killed_stays_away_until_it_is_started(tmp_path: Path) -> None:
    """That is the driver's doing, and no surprise."""
    one = program(tmp_path, "import time; time.sleep(60)")
    one.start()
    one.kill()
    one.look()

    assert [] == one.unexpected_exits
    assert ended(one)()


def test_ids_are_counted_as_the_ledgers_grow(tmp_path: Path) -> None:
    """By kind; a line that is still being written counts when it is whole."""
    counts = Counts(tmp_path)
    path = tmp_path / f"devices-1{SUFFIX}"
    ledger = Ledger(path)
    for what in (What.DRAWN, What.ISSUED, What.ISSUED, What.ACKNOWLEDGED):
        ledger.write(Entry(1.0, "device-1", what, "a"))
    counts.update()
    assert (2, 1) == (counts.issued, counts.acknowledged)

    with path.open("ab") as file:
        file.write(b'{"at_s":1.0,"node":"device-1","what":"issued"')
    counts.update()
    assert 2 == counts.issued
    with path.open("ab") as file:
        file.write(b',"request_id":"b"}\n')
    counts.update()
    ledger.close()
    assert 3 == counts.issued
