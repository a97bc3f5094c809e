"""Kills the process that stores the response log, again and again, and looks whether an acknowledged row is missing.

    python -m testbed.storage --kills 500 --json results/reliability/storage.json

Exit codes: 0 nothing was lost or doubled; 1 something was; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from orchestrator.response_log import open_for_reading
from testbed.verdict import told

ROOT = Path(__file__).parents[2]
KINDS = ("kill", "kill", "torn_tail", "full_disk", "failing_disk")
# Each write of the process fails with `no space left on device`, one in twenty.
FAILING = ("fiu-run", "-x", "-c", "enable_random name=posix/io/rw/*,probability=0.05,failinfo=28")


@dataclass(slots=True)
class Trial:
    """What it came to. Mutable."""

    lives: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    rows: int = 0
    doubled: int = 0
    times_not_increasing: int = 0
    damaged: list[str] = field(default_factory=list)
    seconds: float = 0.0


def trial(directory: Path, kills: int, seed: int) -> Trial:
    """Let `kills` processes store into one log, one after the other, and kill each at a random moment."""
    chance, result = random.Random(seed), Trial()
    path, acknowledged = directory / "response-log.sqlite3", set[str]()
    kinds = [kind for kind in KINDS if kind != "failing_disk" or shutil.which(FAILING[0])]
    started_s = time.monotonic()
    for number in range(kills):
        kind = kinds[number % len(kinds)]
        acknowledged |= _life(path, kind, chance)
        result.lives[kind] += 1
        if kind == "torn_tail":
            _tear(path, chance)
        missing, damage = _missing(path, acknowledged)
        result.lost += sorted(missing)
        result.damaged += [f"life {number} ({kind}): {damage}"] if damage else []
        acknowledged -= missing
        if sys.stderr.isatty():
            print(f"\r{number + 1} of {kills} kills, {len(acknowledged)} rows", end="", file=sys.stderr)
    result.acknowledged, result.seconds = len(acknowledged) + len(result.lost), time.monotonic() - started_s
    _count(path, result)
    return result


def _life(path: Path, kind: str, chance: random.Random) -> set[str]:
    """The ids that one process acknowledged before it was killed."""
    command = [sys.executable, "-m", "testbed.storage.writer", str(path), str(chance.random())]
    if kind == "full_disk":
        command.append(str(chance.randint(50_000, 1_000_000)))
    if kind == "failing_disk" and path.exists():
        command = [*FAILING, *command]
    # On such a disk Python would leave torn .pyc files, which break every later start of Python.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT, env=environment
    )
    assert process.stdout is not None
    with process.stdout:
        # On a bad disk nothing may come at all; then it lives for a moment.
        lines = [] if kind in ("full_disk", "failing_disk") else [process.stdout.readline()]
        time.sleep(chance.uniform(0.0, 0.15) if lines else chance.uniform(0.3, 0.7))
        process.kill()
        lines += process.stdout.readlines()
    process.wait()
    return {line.split()[2] for line in lines if line.startswith("stored ") and line.endswith("\n")}


def _tear(path: Path, chance: random.Random) -> None:
    """Bytes behind the last commit that never were a whole page: what a power cut leaves of a write in progress."""
    with path.with_name(path.name + "-wal").open("ab") as log:
        log.write(chance.randbytes(chance.randint(1, 9000)))


def _missing(path: Path, acknowledged: set[str]) -> tuple[set[str], str]:
    """The acknowledged ids that are not there, and what SQLite finds damaged."""
    try:
        with closing(open_for_reading(path)) as connection:
            stored = {request for (request,) in connection.execute("SELECT request_id FROM response")}
            damage = str(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        return set(), str(error)
    return acknowledged - stored, "" if damage == "ok" else damage


def _count(path: Path, result: Trial) -> None:
    with closing(open_for_reading(path)) as connection:
        (result.rows,) = connection.execute("SELECT count(*) FROM response").fetchone()
        doubled = "SELECT count(*) FROM (SELECT 1 FROM response GROUP BY node, request_id HAVING count(*) > 1)"
        (result.doubled,) = connection.execute(doubled).fetchone()
        backwards = (
            "SELECT count(*) FROM (SELECT time_ns <= lag(time_ns) OVER (PARTITION BY node ORDER BY id) AS back "
            "FROM response) WHERE back"
        )
        (result.times_not_increasing,) = connection.execute(backwards).fetchone()


def faults_of(result: Trial) -> list[str]:
    """What must not be, in words."""
    faults = [f"{len(result.lost)} acknowledged rows lost"] if result.lost else []
    faults += [f"{result.doubled} doubled"] if result.doubled else []
    faults += [f"{result.times_not_increasing} times not increasing"] if result.times_not_increasing else []
    return faults + result.damaged


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m testbed.storage",
        description="Kills the writer of a response log at random points, on good, full, failing and torn disks.",
        epilog="Example: python -m testbed.storage --kills 50",
    )
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where the result goes")
    options = parser.parse_args()
    command = f"python -m testbed.storage --kills {options.kills} --seed {options.seed}"
    about: dict[str, Any] = {"command": command, "machine": machine()}
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = trial(Path(folder), options.kills, options.seed)
    except KeyboardInterrupt:
        return 130
    return told({**about, **asdict(result)}, faults_of(result), options.json)


if __name__ == "__main__":
    sys.exit(main())
