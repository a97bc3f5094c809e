"""`tierwise status` of a running site, and what the orchestrator's log says of its nodes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

from broker.vocabulary import Tier


def _status(process: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    broker = process.config.broker
    where = ("--site", process.config.site, "--host", broker.host, "--port", str(broker.port))
    return subprocess.run(
        [sys.executable, "-m", "tierwise", "status", *where, *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": ".", "COLUMNS": "80"},
        check=False,
    )


def test_status_shows_a_running_site_and_its_log_names_who_comes_and_goes(
    open_site: Any, orchestrator_process: Any
) -> None:
    """Nodes with tier, action and response time, floor, policy and phase; then no orchestrator, and exit code 1."""
    process = orchestrator_process(goal={"policy": "edge_only"}, rounds={"min_devices": 2})

    async def scenario() -> tuple[Any, Any]:
        async with open_site() as site:
            watcher = await site.watcher()
            await watcher.online()
            await site.node("edge", Tier.EDGE)
            await site.node("s1", closed_loop=True)
            second = await site.node("s2", closed_loop=True)
            await watcher.rounds(3)
            table = await asyncio.to_thread(_status, process)
            await second.client.stop()
            machine = await asyncio.to_thread(_status, process, "--json")
            process.end()
            return table, (machine, await asyncio.to_thread(_status, process, "--timeout", "3"))

    table, (machine, without) = asyncio.run(scenario())

    assert table.returncode == 0, table.stderr
    lines = table.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    text = " ".join(table.stdout.split())
    assert "3 of 3 nodes online" in text
    assert "floor 89 % (last round 89.9 %), policy edge_only v1, learning: fixed" in text
    (row,) = (line.split() for line in lines if line.startswith("s1 "))
    assert ["s1", "end", "online"] == row[:3]
    assert ["test", "-", "-", "d0@edge", "10"] == row[-5:]  # such a node sends telemetry once

    read = json.loads(machine.stdout)
    states = {node["node"]: node["state"] for node in read["nodes"]}
    assert {"edge": "online", "s1": "online", "s2": "stopped"} == states

    assert without.returncode == 1
    assert "no orchestrator: orchestrator is stopped" in without.stderr

    log = process.log()
    assert "node_joined node=edge tier=edge version=test reason='first seen'" in log
    assert "node_left node=s2 tier=end version=test reason='stopped cleanly'" in log
    assert " requests requests=" in log
    assert " round round=" not in log
