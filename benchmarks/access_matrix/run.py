"""The whole access matrix on a real Mosquitto: `python -m benchmarks.access_matrix.run --json FILE`."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median

from benchmarks.access_matrix.cells import ACTORS, BYSTANDER, FAMILIES, SITE, VERSIONS, Actor, Verb
from benchmarks.access_matrix.handshakes import ACCEPTED, bad_handshakes
from benchmarks.access_matrix.matrix import accounts_for, cells, judge
from benchmarks.access_matrix.revocation import revoke_one_after_the_other
from benchmarks.access_matrix.site import running_site
from benchmarks.access_matrix.takeover import take_over
from benchmarks.machine import machine
from broker.access import Role

REVOCATIONS = 20


def main() -> int:
    """Print and write what came of it; 1 if a cell is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("results/reliability/access.json"))
    output: Path = parser.parse_args().json
    started_s = time.monotonic()
    victim, orchestrator = ACTORS[0].name, Actor(Role.ORCHESTRATOR, "5").name
    with tempfile.TemporaryDirectory() as directory, running_site(Path(directory), SITE, accounts_for()) as site:
        tried, wrong = judge(site)
        handshakes = bad_handshakes(site, BYSTANDER)
        takeover = take_over(site, victim, BYSTANDER, orchestrator)
    with tempfile.TemporaryDirectory() as directory:
        revocations = revoke_one_after_the_other(Path(directory), REVOCATIONS)
    figures = {
        "command": "make access",
        "roles": [str(role) for role in Role],
        "families": [str(family) for family in FAMILIES],
        "verbs": [str(verb) for verb in Verb],
        "mqtt_versions": list(VERSIONS),
        "cells": cells(tried),
        "trials": len(tried),
        "wrong_cells": cells(item.trial for item in wrong),
        "wrong": [str(item) for item in wrong],
        "bad_handshakes": handshakes,
        "bad_handshakes_refused": sum(told != ACCEPTED for told in handshakes.values()),
        "takeover": asdict(takeover),
        "revocation": revocations.as_json(),
        "machine": machine(),
        "seconds": round(time.monotonic() - started_s, 1),
    }
    output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(f"{figures['wrong_cells']} wrong of {figures['cells']} cells ({len(tried)} trials, {figures['seconds']} s)")
    print(f"{figures['bad_handshakes_refused']} of {len(handshakes)} bad handshakes refused; {takeover}")
    print(
        f"{REVOCATIONS} sessions ended within {max(revocations.session_ended_s):.2f} s of starting the command (median "
        f"{median(revocations.session_ended_s):.2f}), and within {max(revocations.called_s):.3f} s of the call"
    )
    for item in wrong:
        print(item)
    return 1 if wrong or figures["bad_handshakes_refused"] < len(handshakes) else 0


if __name__ == "__main__":
    sys.exit(main())
