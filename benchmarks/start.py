"""How long Tierwise takes to start, warm and cold, beside a bare interpreter in the same run.

    python benchmarks/start.py [--runs 5] [--cold-runs 3] [--no-demo] [--json FILE]

Wall time from the start of a process: of two commands to their end, of an agent to its birth and its first label, of an
orchestrator to its goal and its first decision for a device that waits for it, of `tierwise demo` to the first decision
in its response log and to its end. An agent's inferences are without the wait for a decision. Warm: everything was
read before. Cold: the kernel's cache of files is dropped before each run, which needs root; where that is not possible
there is no cold figure. A virtual machine's host may still have the files in its memory.

Goals: `tierwise --help` 0.4 s, `tierwise config check` of a bad file 0.5 s, the demo's first decision within 10 s and
its end, 40 rounds and the comparison, within 90 s; all warm.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.report_form import Goal, Row, write_report
from benchmarks.report_form import Report as Figures
from benchmarks.site import SITE, WAIT_S, Device, node, orchestrator
from broker.client import Inbound, MqttClient
from broker.messages import Report
from broker.mosquitto import MosquittoProcess, MosquittoSettings
from broker.topics import Channel, filter_for
from broker.vocabulary import NodeId
from orchestrator.response_log import LOG_NAME

BARE = "python -c pass"
HELP, BAD_FILE, GOOD_FILE = "tierwise --help", "tierwise config check, a bad file", "tierwise config check, a good file"
DEMO_FIRST, DEMO_END = "tierwise demo, first decision", "tierwise demo, 40 rounds and the comparison"
GOALS_S = {HELP: 0.4, BAD_FILE: 0.5, DEMO_FIRST: 10.0, DEMO_END: 90.0}
WHY_MISSED = {
    HELP: "the interpreter, typer and rich take all of it: compare with the bare interpreter, and see the load",
    BAD_FILE: "the interpreter, typer and pydantic take all of it: compare with the bare interpreter, and see the load",
    DEMO_FIRST: "seven nodes start on the same cores: see the load",
    DEMO_END: "seven nodes run on the same cores: see the load",
}
DROP_CACHES = Path("/proc/sys/vm/drop_caches")
ASK = {"mode": "periodic", "period_s": 0.2, "decision_timeout_ms": 20.0}
BAD = "version: 1\nsite: bench\nnode: s1\ntier: ende\nmonitorin: {period_s: 1}\nbroker: {port: 99999}\n"
GOOD = "version: 1\nsite: bench\nnode: s1\ntier: end\n"

TIERWISE = [sys.executable, "-m", "tierwise"]
Figure = dict[str, float]  # seconds by what was measured


def command(arguments: list[str], exit_code: int = 0) -> float:
    """Wall seconds of a command; it must end as expected."""
    started_s = time.monotonic()
    code = subprocess.run(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode
    elapsed_s = time.monotonic() - started_s
    if code != exit_code:
        raise SystemExit(f"{' '.join(arguments)} ended with {code}, not {exit_code}")
    return elapsed_s


async def bare(_directory: Path) -> Figure:
    """The interpreter alone."""
    return {BARE: command([sys.executable, "-c", "pass"])}


async def usage(_directory: Path) -> Figure:
    """The command and its subcommands."""
    return {HELP: command([*TIERWISE, "--help"])}


async def good_file(directory: Path) -> Figure:
    """A file without a mistake."""
    file = directory / "good.yaml"
    file.write_text(GOOD, encoding="utf-8")
    return {GOOD_FILE: command([*TIERWISE, "config", "check", str(file)])}


async def bad_file(directory: Path) -> Figure:
    """A file with three mistakes."""
    file = directory / "bad.yaml"
    file.write_text(BAD, encoding="utf-8")
    return {BAD_FILE: command([*TIERWISE, "config", "check", str(file)], exit_code=1)}


async def agent(directory: Path) -> Figure:
    """One agent that runs d0 by itself: its birth, and its first two inferences."""
    births: asyncio.Queue[float] = asyncio.Queue()
    reports: asyncio.Queue[tuple[float, Report]] = asyncio.Queue()

    def on_report(inbound: Inbound) -> None:
        if isinstance(inbound.body, Report) and inbound.body.label is not None:
            reports.put_nowait((inbound.received_s, inbound.body))

    with MosquittoProcess(MosquittoSettings(directory / "broker")) as broker:
        observer = MqttClient(broker.endpoint, SITE, NodeId("observer"), "observer", announces_state=False)
        topics = filter_for(SITE, Channel.BIRTH)
        observer.subscribe(topics, Channel.BIRTH, lambda inbound: births.put_nowait(inbound.received_s))
        observer.subscribe(filter_for(SITE, Channel.REPORT), Channel.REPORT, on_report)
        link = asyncio.create_task(observer.run(), name="observer-link")
        await observer.wait_connected(WAIT_S)
        with node(broker.endpoint, directory, "s1", requester=ASK) as running:
            born_s = await asyncio.wait_for(births.get(), WAIT_S)
            first_s, first = await asyncio.wait_for(reports.get(), WAIT_S)
            second = first
            while second.request_id == first.request_id:  # a report is sent again until it is acknowledged
                second = (await asyncio.wait_for(reports.get(), WAIT_S))[1]
        await observer.stop()
        await link
    return {
        "agent, to its birth": born_s - running.started_s,
        "agent, to its first label": first_s - running.started_s,
        "agent's first inference, which loads d0": (first.response_ms - first.stages.decide_ms) / 1000,
        "agent's second inference with d0": (second.response_ms - second.stages.decide_ms) / 1000,
    }


async def deciding(directory: Path) -> Figure:
    """One orchestrator, for which a device waits."""
    goals: asyncio.Queue[float] = asyncio.Queue()
    with MosquittoProcess(MosquittoSettings(directory / "broker")) as broker:
        observer = MqttClient(broker.endpoint, SITE, NodeId("observer"), "observer", announces_state=False)
        topics = filter_for(SITE, Channel.GOAL)
        observer.subscribe(topics, Channel.GOAL, lambda inbound: goals.put_nowait(inbound.received_s))
        link = asyncio.create_task(observer.run(), name="observer-link")
        await observer.wait_connected(WAIT_S)
        device = Device(broker.endpoint, "s1")
        with orchestrator(broker.endpoint, directory / "orchestrator", 1, "factored") as running:
            goal_s = await asyncio.wait_for(goals.get(), WAIT_S)
            await device.ask()
            decided_s = time.monotonic()
        await device.close()
        await observer.stop()
        await link
    return {
        "orchestrator, to its goal on the broker": goal_s - running.started_s,
        "orchestrator, to its first decision": decided_s - running.started_s,
    }


def demo(directory: Path) -> Figure:
    """One `tierwise demo` as it comes: 40 rounds, then each fixed strategy."""
    started_s = time.time()
    elapsed_s = command([*TIERWISE, "demo", "--directory", str(directory)])
    log = directory / "demo" / "latest" / "orchestrator" / LOG_NAME
    with closing(sqlite3.connect(log)) as connection:
        first_ns: int = connection.execute("SELECT min(time_ns) FROM decision").fetchone()[0]
    return {DEMO_FIRST: first_ns / 1e9 - started_s, DEMO_END: elapsed_s}


def drop_caches() -> bool:
    """Whether the kernel has forgotten the files that it had read."""
    os.sync()
    try:
        DROP_CACHES.write_text("3\n", encoding="ascii")
    except OSError:
        return False
    return True


def repeated(runs: int, cold: bool) -> Figure:
    """Medians of so many runs of everything but the demo."""
    found: dict[str, list[float]] = {}
    measures = (bare, usage, good_file, bad_file, agent, deciding)
    for _ in range(runs):
        for measure in measures:
            if cold and not drop_caches():
                return {}
            with tempfile.TemporaryDirectory() as directory:
                for name, seconds in asyncio.run(measure(Path(directory))).items():
                    found.setdefault(name, []).append(seconds)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def rows_of(warm: Figure, cold: Figure) -> list[Row]:
    """A row for each figure; goals are for warm starts."""
    rows = []
    for name, seconds in warm.items():
        goal = Goal(limit=GOALS_S[name], why_missed=WHY_MISSED[name]) if name in GOALS_S else None
        beside = "" if name == BARE or "inference" in name or "demo" in name else BARE
        value = warm[BARE] if beside else None
        rows.append(Row(what=f"{name}, warm", ours=seconds, unit="s", beside=beside, beside_value=value, goal=goal))
        if name in cold:
            value = cold[BARE] if beside else None
            rows.append(Row(what=f"{name}, cold", ours=cold[name], unit="s", beside=beside, beside_value=value))
    return rows


def main() -> None:
    """Print the table; write JSON if asked to."""
    parser = argparse.ArgumentParser(description="How long Tierwise takes to start, warm and cold.")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cold-runs", type=int, default=3)
    parser.add_argument("--no-demo", action="store_true", help="leave out the demo, which takes 40 s")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    cold = repeated(options.cold_runs, cold=True)
    repeated(1, cold=False)  # reads again what was dropped
    warm = repeated(options.runs, cold=False)
    if not options.no_demo:
        with tempfile.TemporaryDirectory() as directory:
            warm |= demo(Path(directory))
    print(f"{'s':48}{'warm':>9}{'cold':>9}{'goal':>7}")
    for name, seconds in warm.items():
        shown_cold = f"{cold[name]:9.3f}" if name in cold else f"{'':9}"
        goal = GOALS_S.get(name)
        verdict = "" if goal is None else ("  met" if seconds <= goal else "  MISSED")
        print(f"{name:48}{seconds:9.3f}{shown_cold}{goal or '':>7}{verdict}")
    if not cold:
        print("no cold figures: only root can drop the kernel's cache of files")
    details = {"warm_s": warm, "cold_s": cold, "runs": options.runs, "cold_runs": options.cold_runs}
    figures = Figures(benchmark="start", title="Start, warm and cold", rows=rows_of(warm, cold), details=details)
    write_report(options.json, figures)


if __name__ == "__main__":
    main()
