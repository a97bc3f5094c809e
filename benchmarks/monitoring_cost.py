"""Processor time of Resource Monitoring at a period of one second.

    python benchmarks/monitoring_cost.py [--seconds 60] [--json FILE]

Two agents at rest in one run, on one Mosquitto, over the same seconds: one with telemetry and heartbeat each second,
one with both as rare as the settings allow (an hour and a minute). The difference is what monitoring costs, reading,
encoding and sending included. Goal: at most 0.5 % of one core.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.report_form import Goal, Report, Row, write_report
from benchmarks.site import node
from broker.mosquitto import MosquittoProcess, MosquittoSettings
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
    row = Row(
        what="monitoring and heartbeat each second, of one core",
        ours=cost,
        unit="%",
        goal=Goal(limit=GOAL_PERCENT, why_missed="the difference of two agents at rest: see the load"),
        note=f"{shares['each second']:.2f} % with it, {shares['almost never']:.2f} % almost without",
    )
    details = {"seconds": options.seconds, "cpu_percent": shares}
    report = Report(benchmark="monitoring_cost", title="What monitoring costs", rows=[row], details=details)
    write_report(options.json, report)


def measure(directory: Path, seconds: float) -> dict[str, float]:
    """Share of one core that each agent used, over the same time, in percent."""
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(MosquittoProcess(MosquittoSettings(directory=directory / "broker")))
        agents = {
            name: stack.enter_context(node(broker.endpoint, directory, f"node-{number}", "edge", monitoring=monitoring))
            for number, (name, monitoring) in enumerate(MODES.items())
        }
        time.sleep(SETTLE_S)
        before = {name: cpu_s(running.pid) for name, running in agents.items()}
        time.sleep(seconds)
        return {name: 100 * (cpu_s(running.pid) - before[name]) / seconds for name, running in agents.items()}


if __name__ == "__main__":
    main()
