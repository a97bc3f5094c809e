"""The units in `systemd/` as systemd reads them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from device_agent.__main__ import _parser
from tierwise.__main__ import COMMANDS

UNITS = sorted((Path(__file__).parents[1] / "systemd").glob("*.service"))


def started_by(unit: Path) -> list[str]:
    """The words of its ExecStart."""
    found = re.search(r"^ExecStart=(.*)$", unit.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return shlex.split(found[1])


def test_there_is_a_unit_for_each_program_that_runs_for_ever() -> None:
    """Agent, broker and orchestrator; each restarts, and none runs as root."""
    assert ["tierwise-agent", "tierwise-broker", "tierwise-orchestrator"] == [unit.stem for unit in UNITS]
    for unit in UNITS:
        text = unit.read_text(encoding="utf-8")
        assert "\nRestart=always\n" in text
        assert "\nUser=tierwise\n" in text


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_the_command_of_a_unit_exists(unit: Path) -> None:
    """With the options that it is given."""
    program, *arguments = started_by(unit)

    if program.endswith("tierwise-agent"):
        _parser().parse_args(arguments)
    else:
        assert arguments[0] in COMMANDS
        assert [arguments[1], "--config"] == ["run", arguments[2]]


def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say; the programs are replaced by one that exists here."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd")
    copies = []
    for unit in UNITS:
        text = unit.read_text(encoding="utf-8").replace(started_by(unit)[0], sys.executable)
        copies.append(tmp_path / unit.name)
        copies[-1].write_text(text, encoding="utf-8")
    done = subprocess.run(
        [analyze, "verify", *map(str, copies)],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
        check=False,
    )
    told = [line for line in (done.stdout + done.stderr).splitlines() if "tierwise" in line]

    assert [] == told
