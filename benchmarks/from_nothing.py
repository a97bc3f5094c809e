"""`make demo` from nothing: no .venv, no models, no compiled files. Not part of `make bench`: it installs everything.

    python benchmarks/from_nothing.py [--json results/benchmarks/kept/from_nothing.json]

The files that git knows are copied to a temporary folder with caches of its own, and `make demo` is run there. Only
Mosquitto may be installed already. How long it takes depends on where pip finds its packages: pip keeps its settings,
and gets an empty cache. Goal: 6 minutes to the end of the demo.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.report_form import Goal, Report, Row, write_report
from orchestrator.response_log import LOG_NAME

ROOT = Path(__file__).parents[1]
GOAL_S = 360.0
WHY_MISSED = "most of it is installing packages, TensorFlow among them, and building eight networks"
KEPT_OUT = ("VIRTUAL_ENV", "PYTHONPATH")


def main() -> int:
    """Copy, run, print; write JSON if asked to."""
    parser = argparse.ArgumentParser(description="How long `make demo` takes from nothing.")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        checkout = copied(directory / "tierwise")
        environment = {name: value for name, value in os.environ.items() if name not in KEPT_OUT}
        environment |= {"XDG_CACHE_HOME": str(directory / "cache"), "PIP_NO_CACHE_DIR": "1"}
        began_s, started_s = time.time(), time.monotonic()
        code = subprocess.run(["make", "demo"], cwd=checkout, env=environment, check=False).returncode
        elapsed_s = time.monotonic() - started_s
        if code:
            print(f"make demo ended with exit code {code}", file=sys.stderr)
            return 1
        log = checkout / "run" / "demo" / "latest" / "orchestrator" / LOG_NAME
        with closing(sqlite3.connect(log)) as connection:
            first_s = connection.execute("SELECT min(time_ns) FROM decision").fetchone()[0] / 1e9 - began_s
    print(f"first decision after {first_s:.0f} s, end after {elapsed_s:.0f} s (goal {GOAL_S:.0f} s)")
    rows = [
        Row(what="make demo from nothing, first decision", ours=first_s, unit="s"),
        Row(
            what="make demo from nothing, to its end",
            ours=elapsed_s,
            unit="s",
            goal=Goal(limit=GOAL_S, why_missed=WHY_MISSED),
        ),
    ]
    write_report(options.json, Report(benchmark="from_nothing", title="From nothing", rows=rows))
    return 0


def copied(target: Path) -> Path:
    """What git knows, as it is on disk now, at `target`."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=True,
    ).stdout
    for name in filter(None, listed.decode().split("\0")):
        source = ROOT / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    return target


if __name__ == "__main__":
    raise SystemExit(main())
