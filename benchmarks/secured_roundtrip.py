"""Request to decision for one device on a site with certificates and access rules, beside bare paho ping-pongs.

    python benchmarks/secured_roundtrip.py [--rounds 500] [--json FILE]

Ours: the real orchestrator and a device, both with certificates, on a Mosquitto with dynamic security, every message
stored before it is acknowledged. Bare: the ping-pong of decision_latency.py, once in plain text and once with the same
certificates on a Mosquitto without access rules. Blocks take turns. Goal: at most 2.5 times each, by the medians.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import decision_latency
from benchmarks.access_matrix.site import Site, running_site
from benchmarks.decision_latency import BLOCK, WARM_UP, BarePing, typical
from benchmarks.report_form import Goal, Report, Row, write_report
from benchmarks.site import SITE, Device, orchestrator
from broker.access import Role
from broker.children import start_child, wait_or_kill
from broker.client import Endpoint
from broker.identity.accounts import Account
from broker.mosquitto import MosquittoProcess, MosquittoSettings, find_mosquitto
from broker.ports import free_port
from broker.vocabulary import NodeId

GOAL_RATIO = 2.5
DEVICE, ORCHESTRATOR = NodeId("s1"), NodeId("orchestrator")
ACCOUNTS = [Account(DEVICE, Role.END_DEVICE), Account(ORCHESTRATOR, Role.ORCHESTRATOR)]
WHY_MISSED = "both ends encrypt, and the orchestrator stores what it decides in the same process: see the load"
START_S = 10.0


@contextlib.contextmanager
def without_rules(directory: Path, site: Site) -> Iterator[Endpoint]:
    """A second Mosquitto with the site's certificates, and nothing that says who may do what."""
    port = free_port()
    directory.mkdir()
    lines = []
    for line in (site.process.settings.directory / "mosquitto.conf").read_text(encoding="utf-8").splitlines():
        word = line.split(" ")[0]
        if word == "listener":
            lines.append(f"listener {port} 127.0.0.1")
        elif word == "persistence_location":
            lines.append(f"persistence_location {directory}/")
        elif word not in ("plugin", "plugin_opt_config_file", "use_username_as_clientid"):
            lines.append(line)
    configuration = directory / "mosquitto.conf"
    configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with (directory / "mosquitto.log").open("wb") as log:
        process = start_child([str(find_mosquitto()), "-c", str(configuration)], log)
    try:
        yield Endpoint("127.0.0.1", port, tls=site.tls(DEVICE))
    finally:
        process.terminate()
        wait_or_kill(process, START_S)


def tls_section(site: Site, name: NodeId) -> dict[str, Any]:
    """The `broker:` section of a program with that account."""
    tls, endpoint = site.tls(name), site.endpoint(name)
    files = {key: str(getattr(tls, key)) for key in ("ca_file", "certificate_file", "key_file")}
    return {"host": endpoint.host, "port": endpoint.port, "tls": files}


@contextlib.contextmanager
def bare(endpoint: Endpoint) -> Iterator[BarePing]:
    """A bare requester, and its responder in a process of its own."""
    request, answer = typical()
    certificates = [str(endpoint.tls.ca_file.parent)] if endpoint.tls is not None else []
    script = str(Path(decision_latency.__file__))
    command = [sys.executable, script, "--respond", str(endpoint.port), answer.decode(), *certificates]
    responder = subprocess.Popen(command)
    ping = BarePing(endpoint, request)
    try:
        ping.measure(WARM_UP)
        yield ping
    finally:
        ping.close()
        responder.terminate()
        responder.wait()


async def measure(site: Site, directory: Path, sides: dict[str, BarePing], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each side, in blocks that take turns."""
    times: dict[str, list[float]] = {"ours": [], **{name: [] for name in sides}}
    section = tls_section(site, ORCHESTRATOR)
    with orchestrator(site.endpoint(ORCHESTRATOR), directory, 1, broker=section):
        device = Device(site.endpoint(DEVICE), DEVICE)
        for _ in range(WARM_UP):
            await device.ask()
        for _ in range(max(1, rounds // BLOCK)):
            times["ours"] += [await device.ask() for _ in range(BLOCK)]
            for name, ping in sides.items():
                times[name] += await asyncio.to_thread(ping.measure, BLOCK)
        await device.close()
    return times


def run(rounds: int) -> dict[str, list[float]]:
    """Start everything, measure, stop everything."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        site = stack.enter_context(running_site(directory / "secured", SITE, ACCOUNTS))
        plain = stack.enter_context(MosquittoProcess(MosquittoSettings(directory=directory / "plain"))).endpoint
        encrypted = stack.enter_context(without_rules(directory / "encrypted", site))
        sides = {
            "bare paho ping-pong, plain": stack.enter_context(bare(plain)),
            "bare paho ping-pong, mTLS": stack.enter_context(bare(encrypted)),
        }
        return asyncio.run(measure(site, directory / "orchestrator", sides, rounds))


def report(times: dict[str, list[float]], rounds: int) -> Report:
    """Ours beside each of the two."""
    rows = [
        Row(
            what="one device, request to decision, certificates and access rules in place",
            ours=statistics.median(times["ours"]),
            unit="ms",
            tail=statistics.quantiles(times["ours"], n=100)[98],
            beside=name,
            beside_value=statistics.median(of_side),
            goal=Goal(limit=GOAL_RATIO, of="ratio", why_missed=WHY_MISSED),
        )
        for name, of_side in times.items()
        if name != "ours"
    ]
    medians = {name: statistics.median(of_side) for name, of_side in times.items()}
    details = {"rounds": rounds, "median_ms": medians}
    return Report(
        benchmark="secured_roundtrip", title="Request to decision on a secured site", rows=rows, details=details
    )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    times = run(arguments.rounds)
    ours_ms = statistics.median(times["ours"])
    for name, of_side in times.items():
        median_ms = statistics.median(of_side)
        print(f"{name:<32} median {median_ms:7.3f} ms   ours is {ours_ms / median_ms:5.2f} times that")
    print(f"goal: at most {GOAL_RATIO:g} times each")
    write_report(arguments.json, report(times, arguments.rounds))


if __name__ == "__main__":
    main()
