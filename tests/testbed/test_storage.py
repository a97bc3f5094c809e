"""The response log under what befalls disks and processes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orchestrator.response_log import open_for_writing
from testbed.storage.__main__ import KINDS, ROOT, Trial, faults_of, trial


@pytest.mark.slow
def test_no_acknowledged_row_is_lost_or_doubled(tmp_path: Path) -> None:
    """Ten lives: killed, with a torn tail, on a full disk and on a failing one, under a clock that steps by hours."""
    result = trial(tmp_path, 10, seed=3)

    assert [] == faults_of(result)
    assert (result.acknowledged, result.lives["torn_tail"]) >= (1, 2)
    assert result.rows >= result.acknowledged


def test_a_full_disk_is_met_and_acknowledges_nothing_more(tmp_path: Path) -> None:
    """The trial's own premise: with a limit to its files the writer says that it cannot store."""
    command = [sys.executable, "-m", "testbed.storage.writer", str(tmp_path / "log.sqlite3"), "1", "200000"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stderr is not None
    deadline_s, said = time.monotonic() + 60.0, ""
    try:
        while "log_not_stored" not in said and time.monotonic() < deadline_s:
            said = process.stderr.readline()
    finally:
        process.kill()
        process.stderr.close()
        process.wait()

    assert "log_not_stored" in said


def test_a_row_that_is_missing_is_found(tmp_path: Path) -> None:
    """The trial itself can fail: rows that are taken away between two lives are told as lost."""
    path = tmp_path / "response-log.sqlite3"
    first = trial(tmp_path, 1, seed=4)
    open_for_writing(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM response")
    connection.close()

    from testbed.storage import __main__ as module

    missing, damage = module._missing(path, {"acknowledged-id"})

    assert first.acknowledged > 0
    assert ({"acknowledged-id"}, "") == (missing, damage)
    assert ["1 acknowledged rows lost"] == faults_of(Trial(lost=["acknowledged-id"]))
    assert {"kill", "torn_tail", "full_disk", "failing_disk"} == set(KINDS)
