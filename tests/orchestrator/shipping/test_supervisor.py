"""The shipping process as the orchestrator keeps it: started, started again when it dies, ended with it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from benchmarks.shipping_study.compare import compare
from benchmarks.shipping_study.rows import fill
from broker.clock import SystemClock
from configs.influxdb import InfluxSection
from configs.orchestrator import OrchestratorConfig
from orchestrator.response_log import LOG_NAME, open_for_reading, open_for_writing
from orchestrator.shipping import supervisor
from orchestrator.shipping.status import statuses
from orchestrator.shipping.supervisor import ShippingProcess

PATIENCE_S = 120.0


def waiting(directory: Path) -> int:
    with closing(open_for_reading(directory / LOG_NAME)) as log:
        return sum(table.waiting for target in statuses(log) for table in target.tables)


def shipped_all(directory: Path) -> bool:
    with closing(open_for_reading(directory / LOG_NAME)) as log:
        return bool(statuses(log)) and waiting(directory) == 0


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.02)


async def _lives_and_dies(directory: Path, config: OrchestratorConfig, section: InfluxSection) -> None:
    """See the test below."""
    process = ShippingProcess(config, section, SystemClock())
    life = asyncio.create_task(process.run(), name="shipping")

    await until(lambda: shipped_all(directory))
    first = process.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    with closing(open_for_writing(directory / LOG_NAME)) as log:
        log.execute("UPDATE decision SET reason = 'probe'")
    await until(lambda: process.pid not in (None, first) and waiting(directory) == 0)
    second = process.pid
    assert second is not None
    await process.stop()
    await asyncio.wait_for(life, PATIENCE_S)
    assert process.pid is None
    with pytest.raises(ProcessLookupError):
        os.kill(second, 0)


@pytest.mark.influxdb
def test_the_process_ships_is_started_again_when_killed_and_ends_with_us(
    directory: Path, section: InfluxSection, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """All rows are there; the second process goes on where the first was killed; none is left behind."""
    monkeypatch.setattr(supervisor, "RESTART_MIN_S", 0.01)
    monkeypatch.setattr(supervisor, "LOOK_S", 0.01)
    config = OrchestratorConfig.model_validate(
        {"version": 1, "site": "home", "files": {"directory": str(directory)}, "influxdb": section.model_dump()}
    )

    asyncio.run(_lives_and_dies(directory, config, section))

    assert all(each.equal for each in compare(directory / LOG_NAME, section).values())
    capfd.readouterr()


@pytest.mark.influxdb
def test_an_orchestrator_with_the_section_ships_its_log_and_leaves_no_process(
    serve_with: Any, averages: Any, section: InfluxSection, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Started with it, from what the log held before; ended with it."""
    log = fill(tmp_path / "files", 300)

    async def scenario() -> int:
        async with serve_with(averages, influxdb=section.model_dump()) as orchestrator:
            await until(lambda: shipped_all(log.parent))
            pid: int = orchestrator._shipping.pid
        return pid

    pid = asyncio.run(scenario())

    assert all(each.equal for each in compare(log, section).values())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    capfd.readouterr()


def test_an_orchestrator_without_the_section_never_imports_influxdb_client() -> None:
    """39 MB that a site without InfluxDB does not pay; with it, the shipping process pays them alone."""
    code = "import sys, orchestrator.live; sys.exit('influxdb_client' in sys.modules)"

    assert 0 == subprocess.run([sys.executable, "-c", code], check=False, timeout=PATIENCE_S).returncode


def test_a_shipper_that_cannot_use_the_log_ends_with_one_line(tmp_path: Path) -> None:
    """So that who supervises it can tell why."""
    section = InfluxSection(url="http://127.0.0.1:1", bucket="b").model_dump_json(exclude_none=True)
    command = [sys.executable, "-m", "orchestrator.shipping", "--directory", str(tmp_path), "--influxdb", section]

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)

    assert 1 == done.returncode
    assert done.stderr.startswith("orchestrator.shipping: there is no response log")
    assert 1 == done.stderr.count("\n")
