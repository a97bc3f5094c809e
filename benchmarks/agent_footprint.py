"""Memory of an agent at rest and with d0 loaded, beside a bare interpreter and a bare paho process.

    python benchmarks/agent_footprint.py [--settle 3] [--json FILE]

All four are processes of one run, on one Mosquitto, measured at the same moment, after they have settled. `rss` is
what the goals are set for: all resident pages, shared ones counted whole. `uss` is what the process alone occupies.
The interpreter imports asyncio and nothing else; paho is connected with MQTT 5 and subscribed. The loaded agent has
classified a photograph with d0 because no decision came. Goals: 60 MB at rest, 130 MB with d0.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import yaml

from broker.client import Endpoint, Inbound, MqttClient
from broker.messages import Report
from broker.mosquitto import MosquittoProcess, MosquittoSettings
from broker.topics import Channel, filter_for
from broker.vocabulary import NodeId, NodeState, SiteId
from configs.node import NodeConfig

SITE = SiteId("bench")
GOALS_MB = {"agent at rest": 60.0, "agent with d0": 130.0}
PATIENCE_S = 60.0
MB = 1_000_000

INTERPRETER = "import asyncio, sys; print('ready', flush=True); sys.stdin.read()"
PAHO = """
import sys
import paho.mqtt.client as mqtt
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="bare", protocol=mqtt.MQTTv5)
client.on_connect = lambda client, *rest: client.subscribe("bare/#", qos=1)
client.on_subscribe = lambda *rest: print("ready", flush=True)
client.connect("{host}", {port})
client.loop_start()
sys.stdin.read()
"""


def main() -> None:
    """Print the table; write JSON if asked to."""
    parser = argparse.ArgumentParser(description="Memory of an agent, beside bare processes.")
    parser.add_argument("--settle", type=float, default=3.0, help="seconds to wait before measuring")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        rows = asyncio.run(measure(Path(directory), options.settle))
    print(f"{'process':20}{'rss MB':>10}{'uss MB':>10}{'goal MB':>10}")
    for row in rows:
        goal = row["goal_rss_mb"]
        verdict = "" if goal is None else ("  met" if row["rss_mb"] <= goal else "  MISSED")
        print(f"{row['process']:20}{row['rss_mb']:10.1f}{row['uss_mb']:10.1f}{goal or '':>10}{verdict}")
    if options.json:
        result = {"benchmark": "agent_footprint", "machine": platform.machine(), "python": platform.python_version()}
        options.json.write_text(json.dumps({**result, "rows": rows}, indent=1) + "\n", encoding="utf-8")


async def measure(directory: Path, settle_s: float) -> list[dict[str, Any]]:
    """Start all four, wait until each has done what it is measured for, and read their memory."""
    with MosquittoProcess(MosquittoSettings(directory=directory / "broker")) as broker:
        endpoint = broker.endpoint
        processes = {
            "bare interpreter": spawn("-c", INTERPRETER),
            "bare paho": spawn("-c", PAHO.format(host=endpoint.host, port=endpoint.port)),
            "agent at rest": agent(directory, endpoint, "at-rest", {"mode": "none"}),
            "agent with d0": agent(
                directory, endpoint, "loaded", {"mode": "periodic", "period_s": 0.5, "decision_timeout_ms": 50.0}
            ),
        }
        try:
            for name in ("bare interpreter", "bare paho"):
                await asyncio.to_thread(read_line, processes[name])
            await reported(endpoint)
            await asyncio.sleep(settle_s)
            return [row(name, psutil.Process(process.pid)) for name, process in processes.items()]
        finally:
            for process in processes.values():
                process.terminate()
            for process in processes.values():
                process.wait(PATIENCE_S)


def spawn(*arguments: str) -> subprocess.Popen[bytes]:
    """A Python process that lives as long as its standard input is open."""
    return subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def agent(directory: Path, endpoint: Endpoint, node: str, requester: dict[str, Any]) -> subprocess.Popen[bytes]:
    """A real end device with all eight models in its pool."""
    config = NodeConfig.model_validate(
        {
            "version": 1,
            "site": SITE,
            "node": node,
            "tier": "end",
            "broker": {"host": endpoint.host, "port": endpoint.port},
            "requester": requester,
            "log_level": "error",
        }
    )
    file = directory / f"{node}.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
    return spawn("-m", "device_agent", "run", "--config", str(file))


def read_line(process: subprocess.Popen[bytes]) -> None:
    """Return once the process has said that it is ready."""
    if process.stdout is None or not process.stdout.readline():
        raise SystemExit("a bare process ended before it was ready")


async def reported(endpoint: Endpoint) -> None:
    """Return once the agent at rest is online and the other has reported some local runs of d0."""
    client = MqttClient(endpoint, SITE, NodeId("observer"), "observer", announces_state=False)
    reports, online = 0, asyncio.Event()
    loaded = asyncio.Event()

    def on_report(inbound: Inbound) -> None:
        nonlocal reports
        if isinstance(inbound.body, Report) and inbound.body.label is not None and inbound.body.model == "d0":
            reports += 1
            if reports >= 3:
                loaded.set()

    def on_state(inbound: Inbound) -> None:
        if inbound.address.node == "at-rest" and getattr(inbound.body, "state", None) is NodeState.ONLINE:
            online.set()

    client.subscribe(filter_for(SITE, Channel.REPORT), Channel.REPORT, on_report)
    client.subscribe(filter_for(SITE, Channel.STATE), Channel.STATE, on_state)
    link = asyncio.create_task(client.run(), name="observer-link")
    try:
        async with asyncio.timeout(PATIENCE_S):
            await online.wait()
            await loaded.wait()
    finally:
        await client.stop()
        await link


def row(name: str, process: psutil.Process) -> dict[str, Any]:
    """Resident and unique memory of one process."""
    memory = process.memory_full_info()
    return {
        "process": name,
        "rss_mb": memory.rss / MB,
        "uss_mb": memory.uss / MB,
        "goal_rss_mb": GOALS_MB.get(name),
    }


if __name__ == "__main__":
    main()
