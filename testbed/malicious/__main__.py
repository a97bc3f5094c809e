"""One to three malicious devices of ten attack a secured site, and what the honest ones notice.

    python -m testbed.malicious --seed 7 --minutes 10 --json results/reliability/malicious.json

First all ten devices are honest (`--quiet` seconds); then three of them are replaced by attackers with their
certificates: each attack alone in turn, then one to three at a time at random. In between they rest, and what honest
devices get then is what the rate under attack is compared with. The same seed gives the same schedule.
Exit codes: 0 honest devices kept 80 % of their rate, the floor was held over them and nothing was lost or doubled;
1 not so; 2 wrong usage; 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import yaml

from benchmarks.access_matrix.site import Site, running_site
from benchmarks.machine import machine
from broker.access import Role
from broker.children import start_child, wait_or_kill
from broker.events import log_to_stderr
from broker.identity.accounts import Account
from broker.vocabulary import NodeId, SiteId
from configs.node import ImagesSection
from device_agent.images.pixels import encode_for_offload
from device_agent.images.source import open_source
from orchestrator.response_log import LOG_NAME
from testbed.faults.devices import DevicesConfig
from testbed.faults.judge import judge
from testbed.faults.ledger import SUFFIX, read_effects, read_folder
from testbed.malicious.attacker import Attacker
from testbed.malicious.figures import by_attack, faults_of, read_answers, window
from testbed.malicious.schedule import Segment, fingerprint, schedule
from testbed.verdict import told

SITE = SiteId("attacked")
ORCHESTRATOR, EDGE, CLOUD = NodeId("orchestrator"), NodeId("edge"), NodeId("cloud")
HONEST = [f"s{number}" for number in range(1, 8)]
MALICIOUS = [f"bad{number}" for number in range(1, 4)]  # before `edge` in the alphabet
FLOOR_PERCENT = 85.0
LOCAL_MS = {"d0": 420.0, "d1": 260.0, "d2": 130.0, "d3": 80.0, "d4": 290.0, "d5": 190.0, "d6": 110.0, "d7": 70.0}
SERVING_MS = {EDGE: 60.0, CLOUD: 90.0}
SEGMENT_S = 20.0
SETTLE_S = 3.0  # at the begin of each span, or a quarter of it, not counted: what was under way before
STOP_TIMEOUT_S = 15.0
DRAIN_TIMEOUT_S = 120.0
Spans = list[tuple[float, float, tuple[str, ...]]]  # from when to when (wall clock) which attacks were on


class Programs:
    """The processes of the site. A context manager."""

    def __init__(self, site: Site, directory: Path) -> None:
        self._site, self._directory = site, directory
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Programs:
        return self

    def __exit__(self, *_exception: object) -> None:
        for name in reversed(list(self._running)):
            self.end(name)

    def start(self, name: str, *command: str) -> None:
        """Begin a process of ours, its log beside its settings."""
        with (self._directory / f"{name}.log").open("ab") as output:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            self._running[name] = start_child([sys.executable, "-m", *command], output, environment)

    def end(self, name: str) -> None:
        """SIGTERM, and wait."""
        process = self._running.pop(name)
        process.terminate()
        wait_or_kill(process, STOP_TIMEOUT_S)

    def ended(self, name: str) -> bool:
        """Whether it has ended by itself."""
        return self._running[name].poll() is not None

    def broker_section(self, name: str) -> dict[str, Any]:
        """How that node connects, for its YAML."""
        tls = self._site.tls(NodeId(name))
        files = {"ca_file": tls.ca_file, "certificate_file": tls.certificate_file, "key_file": tls.key_file}
        return {"port": self._site.process.endpoint.port, "tls": {key: str(file) for key, file in files.items()}}

    def configured(self, name: str, module: list[str], **sections: Any) -> None:
        """Write a node's YAML and start it."""
        file = self._directory / f"{name}.yaml"
        whole = {"version": 1, "site": SITE, "node": name, "broker": self.broker_section(name), **sections}
        file.write_text(yaml.safe_dump(whole), encoding="utf-8")
        self.start(name, *module, "run", "--config", str(file))

    def devices(self, name: str, names: list[str], seed: int) -> Path:
        """Start a process of honest devices; the file that ends their asking."""
        stop_file = self._directory / f"{name}.stop"
        config = DevicesConfig(
            site=SITE,
            names=names,
            port=self._site.process.endpoint.port,
            directory=str(self._directory / "outboxes"),
            ledger=str(self._directory / "ledgers" / f"{name}{SUFFIX}"),
            stop_file=str(stop_file),
            seed=seed,
            pause_s=0.4,
            decision_timeout_ms=1500.0,
            local_ms=LOCAL_MS,
            certificates=str(self._site.tls(NodeId(names[0])).key_file.parents[1]),
            closed_loop=True,
        )
        file = self._directory / f"{name}.json"
        file.write_bytes(msgspec.json.encode(config))
        self.start(name, "testbed.faults.devices", str(file))
        return stop_file


def start_site(programs: Programs, directory: Path, seed: int) -> None:
    """Orchestrator, edge and cloud."""
    programs.configured(
        ORCHESTRATOR,
        ["tierwise", "orchestrator"],
        goal={"policy": "factored", "accuracy_floor": FLOOR_PERCENT},
        files={"directory": str(directory / "orchestrator"), "checkpoint_every_rounds": 20},
        rounds={"deadline_ms": 2000.0},
        serving_nodes={"edge": [EDGE], "cloud": [CLOUD]},
        seed=seed,
    )
    for name in (EDGE, CLOUD):
        programs.configured(
            name,
            ["device_agent"],
            tier=str(name),
            models={"pool": ["d0"]},
            service={"discipline": "fifo", "workers": 4, "queue_length": 8},
            emulate={"reference_ms": {"d0": SERVING_MS[name]}, "vcpus": 4},
        )


async def attack(site: Site, segments: list[Segment]) -> Spans:
    """Run the schedule; from when to when (wall clock) which attacks were on."""
    shipped = open_source(ImagesSection()).next()
    image = encode_for_offload(shipped.content, 224, 90)
    attackers = {name: Attacker(site.endpoint(NodeId(name)), SITE, NodeId(name), EDGE, image) for name in MALICIOUS}
    tasks = [asyncio.create_task(attacker.run(), name=name) for name, attacker in attackers.items()]
    spans: Spans = []
    try:
        for segment in segments:
            active = dict(segment.attacks)
            doing = ", ".join(f"{name}: {what}" for name, what in active.items()) or "rest"
            print(f"{segment.at_s:6.0f} s  {doing}", file=sys.stderr)
            for name, attacker in attackers.items():
                attacker.become(active.get(name))
            began_s = time.time()
            await asyncio.sleep(segment.lasts_s)
            spans.append((began_s, time.time(), tuple(str(what) for what in active.values())))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return spans


def drained(programs: Programs, name: str, stop_file: Path) -> bool:
    """Let devices ask no more; whether their process ended by itself, every report acknowledged."""
    stop_file.touch()
    ends_s = time.monotonic() + DRAIN_TIMEOUT_S
    while not programs.ended(name) and time.monotonic() < ends_s:
        time.sleep(0.2)
    return programs.ended(name)


def trial(
    directory: Path, seed: int, seconds: float, quiet_s: float, segment_s: float
) -> tuple[dict[str, Any], list[str]]:
    """The whole run: figures, and what must not be."""
    nodes = {ORCHESTRATOR: Role.ORCHESTRATOR, EDGE: Role.SERVING_NODE, CLOUD: Role.SERVING_NODE}
    accounts = [Account(NodeId(name), role) for name, role in nodes.items()]
    accounts += [Account(NodeId(name), Role.END_DEVICE) for name in (*HONEST, *MALICIOUS)]
    segments = schedule(seed, MALICIOUS, seconds, segment_s)
    (directory / "ledgers").mkdir()
    with running_site(directory, SITE, accounts) as site, Programs(site, directory) as programs:
        start_site(programs, directory, seed)
        honest_stop = programs.devices("honest", HONEST, seed)
        tamed_stop = programs.devices("tamed", MALICIOUS, seed)
        time.sleep(quiet_s)
        quiet = (time.time() - quiet_s / 2, time.time())  # the second half: the first is start and learning
        emptied = drained(programs, "tamed", tamed_stop)
        spans = asyncio.run(attack(site, segments))
        emptied = drained(programs, "honest", honest_stop) and emptied
    figures, faults = judged(directory, quiet, spans)
    if not emptied:
        faults.append("devices could not hand in all of their reports")
    return {"schedule": fingerprint(segments), **figures}, faults


def judged(directory: Path, quiet: tuple[float, float], spans: Spans) -> tuple[dict[str, Any], list[str]]:
    """What honest devices got while all were honest (`quiet`), and in each of `spans`; and what must not be."""
    log = directory / "orchestrator" / LOG_NAME
    answers = read_answers(log, HONEST)
    counted = [(start_s + min(SETTLE_S, (end_s - start_s) / 4), end_s, what) for start_s, end_s, what in spans]
    before = window(answers, HONEST, [(start_s, end_s) for start_s, end_s, what in counted if not what])
    during = window(answers, HONEST, [(start_s, end_s) for start_s, end_s, what in counted if what])
    books = read_folder(directory / "ledgers")
    # What attackers have made up are rows of nobody's; what counts is what honest devices issued.
    verdict = judge(books, [row for row in read_effects(log) if row.request_id in books.drawn], [])
    faults = faults_of(
        before, during, FLOOR_PERCENT, verdict.lost_count, verdict.doubled_count, verdict.acknowledged_without_row
    )
    figures = {
        "floor_percent": FLOOR_PERCENT,
        "rate_kept_percent": 100 * during.per_s / max(before.per_s, 1e-9),
        "ten_honest_devices": asdict(window(answers, HONEST, [quiet])),
        "attackers_rest": asdict(before),
        "under_attack": asdict(during),
        "by_attack": {name: asdict(window(answers, HONEST, spans_of)) for name, spans_of in by_attack(counted).items()},
        "honest_ids": verdict.issued,
        "lost": verdict.lost_count,
        "doubled": verdict.doubled_count,
        "acknowledged_without_row": verdict.acknowledged_without_row,
        "bytes": {
            "response_log": sum(path.stat().st_size for path in log.parent.glob(f"{LOG_NAME}*")),
            "orchestrator_output": (directory / f"{ORCHESTRATOR}.log").stat().st_size,
            "edge_output": (directory / f"{EDGE}.log").stat().st_size,
        },
    }
    return figures, faults


def main() -> int:
    """Entry point."""
    description, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m testbed.malicious",
        description=description,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--minutes", type=float, default=10.0, help="of attacks")
    parser.add_argument("--quiet", type=float, default=60.0, metavar="S", help="without attackers, before")
    parser.add_argument("--segment", type=float, default=SEGMENT_S, metavar="S", help="how long an attack lasts")
    parser.add_argument("--json", type=Path, help="write the result here too")
    options = parser.parse_args()
    log_to_stderr("error")
    with tempfile.TemporaryDirectory() as directory, contextlib.suppress(KeyboardInterrupt):
        figures, faults = trial(Path(directory), options.seed, options.minutes * 60, options.quiet, options.segment)
        arguments = {"command": " ".join(["python -m testbed.malicious", *sys.argv[1:]]), "machine": machine()}
        return told({**arguments, **figures}, faults, options.json)
    return 130


if __name__ == "__main__":
    sys.exit(main())
