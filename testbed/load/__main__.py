"""Load and overload of one orchestrator, with its Mosquitto, on this machine.

    python -m testbed.load --devices 1000 --rate 2 --seconds 60 --policy factored --json FILE
    python -m testbed.load overload | flood | restart | all

steady: every request decided in time? overload: how much is carried, and what becomes of 150 % of it. flood: 100 good
devices beside one that sends 5,000 messages/s. restart: how long until 1,000 clients are back after a broker restart.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from broker.errors import TierwiseError
from testbed.load.crowd import Crowd
from testbed.load.flood import flood
from testbed.load.overload import overload
from testbed.load.restart import restart_beside_crowd, restart_clients
from testbed.load.site import Site
from testbed.load.steady import crowd_at, hold, in_words, to_stderr

MODES = ("steady", "overload", "flood", "restart")
GOOD_DEVICES = 100  # of a flood


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m testbed.load", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("mode", nargs="?", default="steady", choices=(*MODES, "all"))
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=2.0, help="requests of each device per second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--from", dest="from_per_s", type=float, default=1000.0, help="overload: first requests/s")
    parser.add_argument("--policy", action="append", help="several times for several runs; default factored")
    parser.add_argument("--nice", type=int, help="-20 to 19, of all three processes; below 0 needs root")
    parser.add_argument("--realtime", action="store_true", help="SCHED_RR for all three, on a busy machine; as root")
    parser.add_argument("--json", type=Path, help="where the figures go")
    return parser


def main() -> int:
    """0 when all was measured, whatever the figures; 1 with one line why it was not."""
    options = _parser().parse_args()
    logging.getLogger("broker").setLevel(logging.ERROR)  # a thousand clients would each say that their link is lost
    policies = options.policy or ["factored"]
    modes = MODES if options.mode == "all" else (options.mode,)
    found: dict[str, Any] = {"command": " ".join(["python -m testbed.load", *sys.argv[1:]]), **_machine(options)}
    try:
        for mode in modes:
            found[mode] = {policy: _measure(mode, policy, options) for policy in policies}
    except (TierwiseError, OSError) as error:
        print(f"not measured: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if options.json is not None:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if options.json is None:
        print(json.dumps(found, indent=1))
    return 0


def _measure(mode: str, policy: str, options: argparse.Namespace) -> dict[str, Any]:
    devices = min(options.devices, GOOD_DEVICES) if mode == "flood" else options.devices
    to_stderr(f"== {mode}, {policy}, {devices} devices")
    with _site(policy, devices, options) as (site, crowd):
        if mode == "overload":
            return overload(site, crowd, options.from_per_s, options.seconds, to_stderr).as_json()
        if mode == "flood":
            return flood(site, crowd, options.rate, options.seconds, to_stderr).as_json()
        if mode == "restart":
            simulated = restart_beside_crowd(site, crowd, to_stderr).as_json()
            clients = asyncio.run(restart_clients(site.directory / "other-broker", devices, to_stderr))
            return {"simulated": simulated, "clients": clients.as_json()}
        run = hold(site, crowd, options.rate, options.seconds)
        to_stderr(in_words(run))
        return run.as_json()


@contextmanager
def _site(policy: str, devices: int, options: argparse.Namespace) -> Iterator[tuple[Site, Crowd]]:
    with (
        tempfile.TemporaryDirectory(prefix="tierwise-load-") as directory,
        Site(Path(directory), policy, nice=options.nice, realtime=options.realtime) as site,
    ):
        crowd = crowd_at(site, devices)
        try:
            yield site, crowd
        finally:
            crowd.close()


def _machine(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "nice": options.nice,
        "realtime": options.realtime,
        "load_average_at_start": os.getloadavg(),
    }


if __name__ == "__main__":
    sys.exit(main())
