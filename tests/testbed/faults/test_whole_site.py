"""A real site under every kind of fault, as a person would run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testbed.faults.schedule import Kind

ROOT = Path(__file__).parents[3]
SMALL = ["--processes", "2", "--devices", "5", "--pause", "0.2"]
WAIT_S = 300.0


def command(directory: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "testbed.faults", "--directory", str(directory), *SMALL, *arguments]


@pytest.mark.influxdb
@pytest.mark.models
@pytest.mark.mosquitto
@pytest.mark.slow
@pytest.mark.system
def test_no_request_is_lost_or_doubled_under_any_kind_of_fault(tmp_path: Path) -> None:
    """One fault of each of the thirteen kinds, none longer than 1.5 s: each id is one row and one point in InfluxDB."""
    arguments = ["--seed", "7", "--faults", "13", "--pace", "0.6", "--longest", "1.5", "--ids", "300", "--influxdb"]
    said = subprocess.run(
        command(tmp_path / "site", *arguments, "--json", str(tmp_path / "faults.json")),
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=WAIT_S,
    )  # fmt: skip

    assert 0 == said.returncode, said.stdout + said.stderr
    told = json.loads((tmp_path / "faults.json").read_text())
    assert dict.fromkeys(Kind, 1) == {kind: told["faults"][kind] for kind in Kind}
    for verdict in (told["verdict"], told["in_influxdb"]):
        assert verdict["issued"] >= 300
        assert (0, 0, 0) == (verdict["lost_count"], verdict["doubled_count"], verdict["acknowledged_without_row"])
        assert verdict["issued"] <= verdict["effected"] <= verdict["issued"] + verdict["only_drawn"]
    assert {} == told["unexpected_exits"]
    assert told["broker_messages"]["dropped"] > 0  # the queue was full
    assert sum(sum(ended.values()) for ended in told["verdict"]["outcomes"].values()) >= told["verdict"]["issued"]


@pytest.mark.mosquitto
@pytest.mark.system
def test_ctrl_c_leaves_no_process_behind(tmp_path: Path) -> None:
    """Exit code 130, no traceback, and whatever it had started has ended."""
    log = tmp_path / "said"
    with log.open("wb") as output:
        driver = subprocess.Popen(command(tmp_path / "site"), cwd=ROOT, stdout=output, stderr=output)
    try:
        ends_s = time.monotonic() + WAIT_S
        while not (tmp_path / "site" / "devices-2.log").exists() and time.monotonic() < ends_s:
            time.sleep(0.02)
        driver.send_signal(signal.SIGINT)
        code = driver.wait(WAIT_S)
    finally:
        driver.kill()
        driver.wait()

    assert 130 == code
    assert "Traceback" not in log.read_text()
    assert [] == _running_in(tmp_path)


def _running_in(directory: Path) -> list[str]:
    """Command lines of processes that name `directory`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in words and int(process.name) != os.getpid():
            found.append(words)
    return found


def test_a_folder_that_is_there_already_is_refused_in_one_line(tmp_path: Path) -> None:
    """Exit code 1: the books of another run must not count in this one."""
    (tmp_path / "site" / "ledgers").mkdir(parents=True)
    said = subprocess.run(
        command(tmp_path / "site"), cwd=ROOT, capture_output=True, text=True, check=False, timeout=WAIT_S
    )

    assert 1 == said.returncode
    assert said.stderr.startswith("faults: ")
    assert 1 == len(said.stderr.splitlines())
    assert [] == _running_in(tmp_path)
