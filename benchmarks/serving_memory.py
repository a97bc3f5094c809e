"""Memory of one serving node over 100,000 jobs: whether it grows.

    nice python benchmarks/serving_memory.py [--model d7] [--jobs 1000 10000 100000] [--json FILE]

A real agent on tier edge serves the shipped photographs, which come as devices send them (JPEG, 224 pixels), from 20
devices over one real Mosquitto: first 300 one at a time, then four at a time. Its memory is read after the former, and
when it has answered 1,000, 10,000 and 100,000. `rss` are resident pages, `uss` what the process alone occupies. Each
worker that runs a network while another one does has a copy of its own, which is the step from the first reading to the
second. Goal: from 1,000 jobs to 100,000 no growth of more than 3 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.report_form import Goal, Report, Row, write_report
from benchmarks.site import SITE, node
from broker.client import Endpoint, Inbound, MqttClient
from broker.messages import Result
from broker.mosquitto import MosquittoProcess, MosquittoSettings
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import NodeId, NodeState, new_request_id
from device_agent.images.pixels import encode_for_offload
from device_agent.images.source import SHIPPED_PHOTOGRAPHS

EDGE = NodeId("edge")
DEVICES = [NodeId(f"device-{number}") for number in range(20)]
DEFAULT_AT_ONCE = 4
ALONE = 300  # jobs one at a time, before the others
PATIENCE_S = 60.0
MAX_GROWTH_MB = 3.0
MB = 1_000_000
WHY_MISSED = "the allocator keeps what threads freed, or a table grows: tracemalloc in the agent tells which"


class Requester:
    """Sends photographs under the names of many devices, and counts the answers."""

    def __init__(self, endpoint: Endpoint, model: str) -> None:
        self._model = model
        self._images = [
            encode_for_offload(path.read_bytes(), 224, 90) for path in sorted(SHIPPED_PHOTOGRAPHS.glob("*.jpg"))
        ]
        self._sent = 0
        self._changed = asyncio.Event()
        self._online = asyncio.Event()
        self.answered = 0
        self.refused: dict[str, int] = {}
        self._client = MqttClient(endpoint, SITE, NodeId("requester"), "test", announces_state=False)
        self._client.subscribe(filter_for(SITE, Channel.RESULT), Channel.RESULT, self._on_result)
        self._client.subscribe(filter_for(SITE, Channel.STATE), Channel.STATE, self._on_state)
        self._link = asyncio.create_task(self._client.run(), name="requester-link")

    async def until_online(self) -> None:
        """Return when the edge node is there."""
        async with asyncio.timeout(PATIENCE_S):
            await self._online.wait()

    async def send_until(self, jobs: int, at_once: int) -> None:
        """Send photographs, so many at a time, until `jobs` are answered in all."""
        while self.answered < jobs:
            while self._sent < jobs and self._sent - self.answered < at_once:
                self._send()
            self._changed.clear()
            async with asyncio.timeout(PATIENCE_S):
                await self._changed.wait()

    def _send(self) -> None:
        number, self._sent = self._sent, self._sent + 1
        self._client.publish(
            Address(SITE, EDGE, Channel.INFER, DEVICES[number % len(DEVICES)]),
            self._images[number % len(self._images)],
            correlation=new_request_id().encode("ascii"),
            properties={"model": self._model, "deadline_ms": "30000"},
        )

    async def close(self) -> None:
        """End the connection."""
        await self._client.stop()
        await self._link

    def _on_state(self, inbound: Inbound) -> None:
        if getattr(inbound.body, "state", None) is NodeState.ONLINE:
            self._online.set()

    def _on_result(self, inbound: Inbound) -> None:
        if isinstance(inbound.body, Result):
            self.answered += 1
            self._changed.set()
            if inbound.body.refused is not None:
                self.refused[inbound.body.refused] = self.refused.get(inbound.body.refused, 0) + 1


async def measure(directory: Path, model: str, jobs: list[int], at_once: int) -> dict[str, Any]:
    """Memory after each number of jobs."""
    readings = []
    with (
        MosquittoProcess(MosquittoSettings(directory / "broker")) as broker,
        node(broker.endpoint, directory, "edge", "edge", models={"pool": [model]}) as running,
    ):
        requester = Requester(broker.endpoint, model)
        await requester.until_online()
        started_s = time.monotonic()
        for number in [ALONE, *sorted(jobs)]:
            await requester.send_until(number, 1 if number == ALONE else at_once)
            readings.append({"jobs": number, "seconds": time.monotonic() - started_s, **memory_of(running.pid)})
            print(readings[-1], flush=True)
        await requester.close()
    return {"model": model, "readings": readings, "refused": requester.refused}


def memory_of(pid: int) -> dict[str, float]:
    """Resident and unique memory of one process, and how many threads it has."""
    process = psutil.Process(pid)
    memory = process.memory_full_info()
    return {"rss_mb": memory.rss / MB, "uss_mb": memory.uss / MB, "threads": process.num_threads()}


def report(runs: list[dict[str, Any]]) -> Report:
    """Memory at each number of jobs, and the growth from the first to the last."""
    rows = []
    for run in runs:
        first, last = run["readings"][1], run["readings"][-1]
        rows += [
            Row(
                what=f"serving node with {run['model']}, {_jobs(reading)}, resident (RSS)",
                ours=reading["rss_mb"],
                unit="MB",
                note=f"USS {reading['uss_mb']:.1f} MB, {reading['threads']:.0f} threads",
            )
            for reading in run["readings"]
        ]
        rows.append(
            Row(
                what=f"serving node with {run['model']}, growth from {first['jobs']:,} to {last['jobs']:,} jobs",
                ours=last["rss_mb"] - first["rss_mb"],
                unit="MB",
                goal=Goal(limit=MAX_GROWTH_MB, why_missed=WHY_MISSED),
            )
        )
    return Report(benchmark="serving_memory", title="Memory of a serving node over 100,000 jobs", rows=rows)


def _jobs(reading: dict[str, Any]) -> str:
    return f"{reading['jobs']:,} jobs" + (" one at a time" if reading["jobs"] == ALONE else "")


def main() -> None:
    """Print the readings; write JSON if asked to."""
    parser = argparse.ArgumentParser(description="Memory of a serving node over many jobs.")
    parser.add_argument("--model", nargs="+", default=["d7"], help="one run for each")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1_000, 10_000, 100_000], help="when to read")
    parser.add_argument("--at-once", type=int, default=DEFAULT_AT_ONCE, help="jobs that are sent before an answer")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    runs = []
    for model in options.model:
        with tempfile.TemporaryDirectory() as directory:
            runs.append(asyncio.run(measure(Path(directory), model, options.jobs, options.at_once)))
    figures = report(runs)
    write_report(options.json, figures)


if __name__ == "__main__":
    main()
