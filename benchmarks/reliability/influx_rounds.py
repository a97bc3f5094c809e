"""The demo's fleet for hundreds of rounds, its response log shipped to an InfluxDB that is killed and started again.

    python benchmarks/reliability/influx_rounds.py [--rounds 500] [--json results/reliability/influxdb.json]

The same programs as `tierwise demo`, with emulated times a twentieth as long so that it takes minutes. InfluxDB 1.6.7
as Debian installs it is killed with -9 and stays away for a tenth of the rounds, later again and is back at once; in
between the shipping process is killed with -9. At the end each row of SQLite is compared with what InfluxDB answers,
every column of it; then the same log is shipped to VictoriaMetrics, whose samples are counted: it keeps whole
milliseconds, so two rows of one series within one are one sample. Exit code 1 if anything differs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import psutil
from rich.console import Console

from benchmarks.machine import machine, versions
from benchmarks.shipping_study.compare import Comparison, compare, samples_expected, samples_of
from benchmarks.shipping_study.servers import DATABASE, Influxd, VictoriaMetrics
from broker.client import MqttClient
from broker.errors import TierwiseError
from broker.vocabulary import NodeId
from configs.demo import DemoConfig
from configs.influxdb import InfluxSection
from configs.loader import load
from orchestrator.response_log import LOG_NAME, open_for_reading
from orchestrator.shipping.running import shipper
from orchestrator.shipping.status import statuses
from tierwise.fleet import Fleet
from tierwise.observer import Observer

FASTER = 20
ROUND_TIMEOUT_S = 60.0
SHIPPED_TIMEOUT_S = 120.0
SAMPLES = {"response": "response_response_ms", "decision": "decision_deadline_ms", "telemetry": "telemetry_cpu_percent"}


def main() -> int:
    """Run, compare, tell."""
    parser = argparse.ArgumentParser(description="Every row of hundreds of rounds, with InfluxDB killed in between.")
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--json", type=Path, help="write the result here too")
    options = parser.parse_args()
    facts, started_s = machine(), time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        try:
            result = proof(Path(directory), options.rounds)
        except TierwiseError as error:
            print(f"influx_rounds: {error}", file=sys.stderr)
            return 1
    result |= {"command": shlex.join(["python", *sys.argv]), "took_s": round(time.monotonic() - started_s, 1)}
    result |= {"machine": facts, "versions": versions()}
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, table in result["tables"].items():
        print(
            f"{name:10} {table['sqlite_rows']:8} rows in SQLite, {table['influxdb_rows']:8} in InfluxDB, "
            f"{table['missing']} missing or otherwise, {table['foreign']} foreign; "
            f"{table['victoria_metrics_samples']} in VictoriaMetrics, which can tell {table['distinct_milliseconds']}"
        )
    verdict = "equal" if result["equal"] else "DIFFERENT"
    print(f"after {result['rounds']} rounds with {', '.join(result['events'])}: {verdict}")
    return 0 if result["equal"] else 1


def proof(directory: Path, rounds: int) -> dict[str, Any]:
    """What is written as JSON, without the machine."""
    events: list[str] = []
    with Influxd(directory / "influxd") as influxd:
        section = InfluxSection(url=influxd.url, database=DATABASE, retry_min_s=0.5, retry_max_s=5.0)
        with Fleet(faster_demo(), {}, directory / "fleet", seed=1, influxdb=section) as fleet:
            fleet.start()
            log = fleet.log_directory / LOG_NAME
            asyncio.run(run_rounds(fleet, rounds, Faults(influxd, fleet, rounds, events)))
            fleet.stop_devices()
            until_shipped(log)
        with shipper(log.parent, section) as (ships, outbox):  # the last rows of the orchestrator's end, if any
            left = outbox.waiting_rows()
            ships.ship()
        tables = compare(log, section)
    sampled, expected = victoria_metrics(directory, log), samples_expected(log)
    return {
        "rounds": rounds,
        "events": events,
        "left_for_later": left,
        "equal": all(each.equal for each in tables.values()) and sampled == expected,
        "tables": {name: _told(each, sampled[name], expected[name]) for name, each in tables.items()},
    }


def _told(table: Comparison, samples: int, expected: int) -> dict[str, Any]:
    return {**asdict(table), "victoria_metrics_samples": samples, "distinct_milliseconds": expected}


def faster_demo() -> DemoConfig:
    """The demo's fleet, its emulated times a fraction."""
    settings = load(Path(str(resources.files("configs") / "demo.yaml")), DemoConfig).model_dump(exclude_none=True)
    for tier in settings["emulate"].values():
        tier["reference_ms"] = {model: ms / FASTER for model, ms in tier["reference_ms"].items()}
    return DemoConfig.model_validate(settings)


class Faults:
    """What happens to InfluxDB and to the shipping process, and after which round."""

    def __init__(self, influxd: Influxd, fleet: Fleet, rounds: int, events: list[str]) -> None:
        server = influxd.server
        self._events = events
        self._plan: dict[int, tuple[str, Callable[[], object]]] = {
            rounds // 5: ("InfluxDB killed", server.kill),
            rounds * 3 // 10: ("InfluxDB started again", server.start),
            rounds // 2: ("the shipper killed", lambda: _kill_shipper(fleet)),
            rounds * 7 // 10: ("InfluxDB killed and started again", lambda: (server.kill(), server.start())),
        }

    def after(self, number: int) -> None:
        """Do what is planned after so many rounds."""
        if number in self._plan:
            what, act = self._plan.pop(number)
            act()
            self._events.append(f"{what} after round {number}")


def _kill_shipper(fleet: Fleet) -> None:
    for process in psutil.process_iter():
        try:
            command = process.cmdline()
        except psutil.Error:
            continue
        if "orchestrator.shipping" in command and str(fleet.log_directory) in command:
            os.kill(process.pid, signal.SIGKILL)
            return
    raise TierwiseError(f"no shipping process runs; see {fleet.directory}/orchestrator.log")


async def run_rounds(fleet: Fleet, rounds: int, faults: Faults) -> None:
    """Return when so many rounds are complete. Raises TierwiseError when none is for a minute."""
    client = MqttClient(fleet.endpoint, fleet.config.site, NodeId("observer"), "observer", announces_state=False)
    link = asyncio.create_task(client.run(), name="observer-link")
    console = Console(stderr=True)
    try:
        await client.wait_connected(10.0)
        observer = Observer(client, lambda _round: None)
        with console.status("rounds") as status:
            for number in range(1, rounds + 1):
                async with asyncio.timeout(ROUND_TIMEOUT_S):
                    await observer.complete.get()
                fleet.check()
                faults.after(number)  # in this thread: a child ends with the thread that started it
                status.update(f"round {number} of {rounds}")
    except TimeoutError as error:
        words = "\n".join(file.read_text(errors="replace")[-500:] for file in sorted(fleet.directory.glob("*.log")))
        raise TierwiseError(f"no round was completed for {ROUND_TIMEOUT_S:g} s:\n{words}") from error
    finally:
        await client.stop()
        await link


def until_shipped(log: Path) -> None:
    """Wait until no row waits. Raises TierwiseError."""
    ends_s = time.monotonic() + SHIPPED_TIMEOUT_S
    while True:
        with closing(open_for_reading(log)) as connection:
            found = statuses(connection)
        if found and not any(table.waiting for table in found[0].tables):
            return
        if time.monotonic() > ends_s:
            raise TierwiseError(f"rows still wait after {SHIPPED_TIMEOUT_S:g} s: {found}")
        time.sleep(0.2)


def victoria_metrics(directory: Path, log: Path) -> dict[str, int]:
    """The same rows to a second server; how many samples it has of one field of each table."""
    with VictoriaMetrics(directory / "victoria-metrics") as server:
        with shipper(log.parent, InfluxSection(url=server.url, bucket="edge", timeout_s=60.0)) as (ships, _outbox):
            ships.ship()
        return {name: samples_of(server.export(f'{{__name__="{metric}"}}')) for name, metric in SAMPLES.items()}


if __name__ == "__main__":
    sys.exit(main())
