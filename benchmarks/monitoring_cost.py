"""Processor time of Resource Monitoring at a period of one second.

    python benchmarks/monitoring_cost.py [--seconds 60] [--json FILE]

Two agents at rest in one run, on one Mosquitto, over the same seconds: one with telemetry and heartbeat each second,
one with both as rare as the settings allow (an hour and a minute). The difference is what monitoring costs, reading,
encoding and sending included. Goal: at most 0.5 % of one core.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from broker.client import Endpoint
from broker.mosquitto import MosquittoProcess, MosquittoSettings
from configs.node import NodeConfig
from tierwise.reproduce.monitoring_cost import cpu_s

GOAL_PERCENT = 0.5
SETTLE_S = 8.0  # the start, and the probes that measure the round trip until there are enough of them
MODES = {
    "each second": {"period_s": 1.0, "heartbeat_s": 1.0},
    "almost never": {"period_s": 3600.0, "heartbeat_s": 60.0},
}


def main() -> None:
    """Print the table; write JSON if asked to."""
    parser = argparse.ArgumentParser(description="What Resource Monitoring costs.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        shares = measure(Path(directory), options.seconds)
    print(f"{'monitoring':20}{'CPU % of one core':>20}")
    for name, percent in shares.items():
        print(f"{name:20}{percent:20.3f}")
    cost = shares["each second"] - shares["almost never"]
    met = cost <= GOAL_PERCENT
    print(f"goal: monitoring at most {GOAL_PERCENT} % of one core; found {cost:.3f} %: {'met' if met else 'MISSED'}")
    if options.json:
        result: dict[str, Any] = {"benchmark": "monitoring_cost", "machine": platform.machine()}
        result |= {"seconds": options.seconds, "cpu_percent": shares, "cost_percent": cost}
        result |= {"goal_percent": GOAL_PERCENT, "met": met}
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(directory: Path, seconds: float) -> dict[str, float]:
    """Share of one core that each agent used, over the same time, in percent."""
    with MosquittoProcess(MosquittoSettings(directory=directory / "broker")) as broker:
        agents = {
            name: agent(directory, broker.endpoint, f"node-{number}", monitoring)
            for number, (name, monitoring) in enumerate(MODES.items())
        }
        try:
            time.sleep(SETTLE_S)
            before = {name: cpu_s(process.pid) for name, process in agents.items()}
            time.sleep(seconds)
            return {name: 100 * (cpu_s(process.pid) - before[name]) / seconds for name, process in agents.items()}
        finally:
            for process in agents.values():
                process.terminate()
            for process in agents.values():
                process.wait(60)


def agent(directory: Path, endpoint: Endpoint, node: str, monitoring: dict[str, float]) -> subprocess.Popen[bytes]:
    """A real node that serves and asks for nothing."""
    config = NodeConfig.model_validate(
        {
            "version": 1,
            "site": "bench",
            "node": node,
            "tier": "edge",
            "broker": {"host": endpoint.host, "port": endpoint.port},
            "monitoring": monitoring,
            "log_level": "error",
        }
    )
    file = directory / f"{node}.yaml"
    file.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)), encoding="utf-8")
    return subprocess.Popen([sys.executable, "-m", "device_agent", "run", "--config", str(file)])


if __name__ == "__main__":
    main()
