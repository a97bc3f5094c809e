"""Faults on a whole site, and whether any request was lost or doubled.

    python -m testbed.faults --seed 7 --faults 1000 --ids 100000 --json results/reliability/faults.json

The same seed gives the same schedule (`schedule` in the JSON is its fingerprint). When each request meets it is up to
the machine. Exit codes: 0 nothing lost or doubled; 1 something was, or the site did not recover; 2 wrong usage;
130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import sys
import tempfile
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from broker.errors import TierwiseError
from broker.events import log_to_stderr
from configs.orchestrator import Policy
from testbed.faults.driver import Driver, Progress, Ran
from testbed.faults.schedule import Fault, Kind, fingerprint, schedule
from testbed.faults.site import FaultSite, SiteSize

PACKAGES = ("paho-mqtt", "msgspec")


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    description, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m testbed.faults",
        description=description,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    size = SiteSize()
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--faults", type=int, default=1000, help="how many are injected")
    parser.add_argument("--ids", type=int, default=0, help="go on until so many requests were issued")
    parser.add_argument("--pace", type=float, default=2.0, metavar="S", help="a new fault each so many seconds")
    parser.add_argument("--longest", type=float, default=30.0, metavar="S", help="no fault lasts longer")
    parser.add_argument("--minutes", type=float, default=720.0, help="begin no fault after that")
    parser.add_argument("--processes", type=int, default=size.device_processes, help="with devices in them")
    parser.add_argument("--devices", type=int, default=size.devices_each, help="in each of these processes")
    parser.add_argument("--pause", type=float, default=size.pause_s, metavar="S", help="of a device between requests")
    parser.add_argument("--policy", type=Policy, default=Policy.RANDOM, choices=list(Policy))
    parser.add_argument("--influxdb", action="store_true", help="ship to a real InfluxDB, and judge that, too")
    parser.add_argument("--directory", type=Path, help="where everything is kept; default: a folder that is removed")
    parser.add_argument("--json", type=Path, help="where the result goes")
    return parser.parse_args(arguments)


async def run(options: argparse.Namespace, directory: Path) -> tuple[list[Fault], Ran]:
    """The whole run, in a folder that must not exist yet. Raises TierwiseError."""
    size = SiteSize(options.processes, options.devices, options.pause)
    influx = None
    if options.influxdb:
        from testbed.faults.influx import InfluxServer

        influx = InfluxServer(directory)
    site = FaultSite(directory, size, options.seed, options.policy, influx)
    faults = schedule(options.seed, options.faults, site.targets, options.pace, options.longest)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Bar(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=len(faults))

        def told(progress: Progress) -> None:
            bar.update(task, completed=progress.faults, description=f"{progress.phase}, {progress.issued} ids")

        async with site:
            return faults, await Driver(site, faults, told).run(options.ids, options.minutes * 60)


def report(options: argparse.Namespace, faults: list[Fault], ran: Ran) -> dict[str, Any]:
    """What the JSON file holds."""
    verdicts = [ran.verdict] if ran.in_influxdb is None else [ran.verdict, ran.in_influxdb]
    counted = Counter(fault.kind for fault in ran.faults)
    return {
        "command": "python -m testbed.faults " + " ".join(told_options(options)),
        "holds": all(verdict.holds for verdict in verdicts) and ran.drained and not ran.unexpected_exits,
        "verdict": asdict(ran.verdict),
        "in_influxdb": None if ran.in_influxdb is None else {**asdict(ran.in_influxdb), "outcomes": "as above"},
        "faults": {"injected": len(ran.faults), **{kind: counted[kind] for kind in Kind}},
        "schedule": {"seed": options.seed, "faults": len(faults), "fingerprint": fingerprint(faults)},
        "drained": ran.drained,
        "unexpected_exits": ran.unexpected_exits,
        "broker_messages": {"flooded": ran.flooded, "dropped": ran.dropped},
        "devices": options.processes * options.devices,
        "policy": options.policy,
        "seconds": round(ran.seconds, 1),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": {
            "processor": f"{platform.machine()}, {psutil.cpu_count()} cores",
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
            "python": platform.python_version(),
            **{package: version(package) for package in PACKAGES},
        },
    }


def told_options(options: argparse.Namespace) -> list[str]:
    """The options that make the same run again, without paths."""
    names = ("seed", "faults", "ids", "pace", "longest", "minutes", "processes", "devices", "pause", "policy")
    return [*(f"--{name} {getattr(options, name)}" for name in names), *(["--influxdb"] if options.influxdb else [])]


def summary(told: dict[str, Any]) -> str:
    """For a person, a few lines."""
    verdict, faults = told["verdict"], told["faults"]
    lines = [
        f"{verdict['issued']} ids issued, {verdict['effected']} in the response log, under {faults['injected']} faults"
        f" of {sum(faults[kind] > 0 for kind in Kind)} kinds in {told['seconds'] / 60:.1f} min",
        f"response log: {counts(verdict)}",
    ]
    if told["in_influxdb"] is not None:
        lines.append(f"InfluxDB:     {counts(told['in_influxdb'])}")
    if not told["drained"]:
        lines.append("not every device could hand in its reports")
    for name, codes in told["unexpected_exits"].items():
        lines.append(f"{name} ended by itself: exit codes {codes}")
    return "\n".join(lines)


def counts(verdict: dict[str, Any]) -> str:
    """What must all be 0."""
    return (
        f"lost {verdict['lost_count']}, doubled {verdict['doubled_count']}, acknowledged without a row "
        f"{verdict['acknowledged_without_row']}, of nobody {verdict['of_nobody']}, by another {verdict['by_another']}"
    )


def main() -> int:
    """Entry point."""
    options = parsed()
    log_to_stderr("error")
    try:
        with tempfile.TemporaryDirectory(prefix="tierwise-faults-") as temporary:
            directory = options.directory or Path(temporary) / "site"
            faults, ran = asyncio.run(run(options, directory))
    except (TierwiseError, OSError) as error:
        print(f"faults: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    told = report(options, faults, ran)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=1) + b"\n")
    print(summary(told))
    return 0 if told["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
