"""Freezes and kills peers at random moments and tells how soon that is known; then takes the cloud away.

    python -m testbed.recovery --freezes 50 --json results/reliability/recovery.json

Exit codes: 0 all within the goals (3 s, 1 s); 1 one was not; 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from broker.errors import TierwiseError
from broker.vocabulary import NodeId
from orchestrator.response_log import LOG_NAME, open_for_reading
from testbed.recovery.site import CLOUD, DEVICES, EDGE, ORCHESTRATOR, SITE, TrialSite
from testbed.recovery.watch import Watch, seconds_until
from testbed.verdict import told

GOAL_KNOWN_S = 3.0
GOAL_LOCAL_MS = 1000.0
PATIENCE_S = 120.0
AWAY_S = 6.0  # how long the cloud is gone


async def freezes(site: TrialSite, watch: Watch, count: int, seed: int) -> dict[str, list[float]]:
    """Seconds until a frozen peer is known, by who it is and who notices."""
    chance = random.Random(seed)
    kinds: list[tuple[str, NodeId | None, Callable[[], bool]]] = [
        ("device, by the orchestrator's registry", DEVICES[0], lambda: not watch.online(DEVICES[0])),
        ("edge, by the orchestrator's registry", EDGE, lambda: not watch.online(EDGE)),
        ("edge, by a device", EDGE, lambda: watch.peers.gone(EDGE) is not None),
        ("orchestrator, by a device", ORCHESTRATOR, lambda: watch.peers.orchestrator_gone() is not None),
        ("broker, by its client", None, lambda: not watch.device.connected),
    ]
    known: dict[str, list[float]] = {name: [] for name, _, _ in kinds}
    for number in range(count):
        name, node, gone = kinds[number % len(kinds)]
        await _all_well(watch)
        await asyncio.sleep(chance.uniform(0.0, 1.0))  # any phase of a heartbeat
        site.send(node, signal.SIGSTOP)
        known[name].append(await seconds_until(gone, PATIENCE_S))
        site.send(node, signal.SIGCONT)
        if sys.stderr.isatty():
            print(f"\r{number + 1} of {count} freezes", end="", file=sys.stderr)
    return known


async def kills(site: TrialSite, watch: Watch) -> dict[str, float]:
    """Seconds until a killed peer is known: its last will comes at once."""
    took = {}
    for node, gone in (
        (EDGE, lambda: watch.peers.gone(EDGE) is not None),
        (DEVICES[0], lambda: not watch.online(DEVICES[0])),
        (ORCHESTRATOR, lambda: watch.peers.orchestrator_gone() is not None),
    ):
        await _all_well(watch)
        site.kill(node)
        took[str(node)] = await seconds_until(gone, PATIENCE_S)
        site.start(node)
    return took


async def without_the_cloud(site: TrialSite, watch: Watch, how: str, away_s: float) -> dict[str, float]:
    """Kill or freeze orchestrator and cloud node at once; what devices' requests took until they were back."""
    await _all_well(watch)
    await asyncio.sleep(1.0)
    gone_ns = time.time_ns()
    for node in (ORCHESTRATOR, CLOUD):
        if how == "killed":
            site.kill(node)
        else:
            site.send(node, signal.SIGSTOP)
    await asyncio.sleep(away_s)
    for node in (ORCHESTRATOR, CLOUD):
        if how == "killed":
            site.start(node)
        else:
            site.send(node, signal.SIGCONT)
    await _all_well(watch)
    await asyncio.sleep(3.0)  # the reports of that time come in
    with closing(open_for_reading(site.log_directory / LOG_NAME)) as connection:
        query = "SELECT response_ms, outcome, reason FROM response WHERE outcome != 'done' AND time_ns > ?"
        rows = connection.execute(query, (gone_ns,)).fetchall()
    # Until its peer is known to be gone, a request that is under way waits for it.
    known = [ms for ms, _, reason in rows if reason is not None and reason.startswith("the orchestrator is")]
    waited = [ms for ms, _, reason in rows if reason is None or not reason.startswith("the orchestrator is")]
    return {
        "answered_locally": len(rows),
        "failed": sum(outcome == "failed" for _, outcome, _ in rows),
        "median_ms": statistics.median(known) if known else 0.0,
        "longest_ms": max(known, default=0.0),
        "under_way_when_it_went": len(waited),
        "under_way_longest_ms": max(waited, default=0.0),
    }


async def _all_well(watch: Watch) -> None:
    """Everybody is there, as everybody sees it. Raises TierwiseError when that does not come."""
    nodes = (EDGE, CLOUD, *DEVICES)

    def well() -> bool:
        linked = watch.device.connected and watch.listener.connected
        peers = watch.peers.orchestrator_gone() is None and watch.peers.gone(EDGE) is None
        return linked and peers and all(watch.online(node) for node in nodes)

    if await seconds_until(well, PATIENCE_S) >= PATIENCE_S:
        raise TierwiseError("the site did not come back to its senses")


async def trial(directory: Path, count: int, seed: int, away_s: float = AWAY_S) -> dict[str, Any]:
    """All of it; the cloud is away for so long each time."""
    with TrialSite(directory, "cloud_only") as site:
        watch = Watch(site.broker.endpoint, SITE)
        links = asyncio.create_task(watch.run(), name="watch")
        try:
            await watch.device.wait_connected(PATIENCE_S)
            watch.peers.watch(EDGE)
            await asyncio.sleep(3.0)  # the devices' first requests load their models
            frozen = await freezes(site, watch, count, seed)
            killed = await kills(site, watch)
            away = {how: await without_the_cloud(site, watch, how, away_s) for how in ("killed", "frozen")}
        finally:
            await watch.stop()
            await links
    worst = {name: max(times, default=0.0) for name, times in frozen.items()}
    return {
        "freezes": count,
        "known_after_s": {
            name: {"median": statistics.median(times), "worst": worst[name]} for name, times in frozen.items() if times
        },
        "killed_known_after_s": killed,
        "without_the_cloud": away,
    }


def faults_of(result: dict[str, Any]) -> list[str]:
    """What is later than the goals."""
    late = [
        f"{name}: known after {times['worst']:.2f} s"
        for name, times in result["known_after_s"].items()
        if times["worst"] > GOAL_KNOWN_S
    ]
    late += [f"{node} killed: {s:.2f} s" for node, s in result["killed_known_after_s"].items() if s > GOAL_KNOWN_S]
    for how, away in result["without_the_cloud"].items():
        longest_ms = max(away["longest_ms"], away["under_way_longest_ms"] if how == "killed" else 0.0)
        if longest_ms > GOAL_LOCAL_MS or away["failed"] or not away["answered_locally"]:
            late.append(f"without the cloud ({how}): {away}")
    return late


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m testbed.recovery",
        description="How soon frozen and dead peers are known, and devices answer without the cloud.",
        epilog="Example: python -m testbed.recovery --freezes 10",
    )
    parser.add_argument("--freezes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="where the result goes")
    options = parser.parse_args()
    command = f"python -m testbed.recovery --freezes {options.freezes} --seed {options.seed}"
    about: dict[str, Any] = {"command": command, "machine": machine()}
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = asyncio.run(trial(Path(folder), options.freezes, options.seed))
    except KeyboardInterrupt:
        return 130
    except TierwiseError as error:
        print(f"testbed.recovery: {error}", file=sys.stderr)
        return 1
    return told({**about, **result}, faults_of(result), options.json)


if __name__ == "__main__":
    sys.exit(main())
