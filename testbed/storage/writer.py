"""A process that stores reports in a response log until it is killed, and says which ids were acknowledged.

    python -m testbed.storage.writer LOG SEED [LARGEST_BYTES]

Its wall clock steps back and forth within an hour. With LARGEST_BYTES no file may grow beyond that, as on a full
disk; nothing is acknowledged then until the process ends.
"""

from __future__ import annotations

import random
import resource
import signal
import sys
import threading
from pathlib import Path

from broker.clock import SystemClock
from broker.messages import Decision, Report, Stages, Telemetry
from broker.vocabulary import Link, ModelName, NodeId, Outcome, SiteId, Tier, new_request_id
from orchestrator.log_rows import DecisionRow, Listener, ReportRow, Stored, TelemetryRow
from orchestrator.log_writer import LogWriter

NODES = [NodeId(f"s{number}") for number in range(1, 6)]
MAX_STEP_S = 1800.0  # the log is never more than an hour ahead: then its times would begin anew
MOST_WAITING = 500
D0 = ModelName("d0")


class SteppingClock(SystemClock):
    """The time of day jumps within an hour now and then, in both directions."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._off_s = 0.0

    def wall(self) -> float:
        if self._chance.random() < 0.02:
            self._off_s = self._chance.uniform(-MAX_STEP_S, MAX_STEP_S)
        return super().wall() + self._off_s


def report_of(request: str, model: str = D0) -> Report:
    """What each request here ends in."""
    return Report(
        request_id=request, outcome=Outcome.DONE, decided=True, tier=Tier.END, model=model, serving_node="s1",
        response_ms=12.5, stages=Stages(),
    )  # fmt: skip


def _decision(request: str) -> Decision:
    return Decision(
        request_id=request, round=1, tier=Tier.END, model=D0, serving_node="s1", fallback_model=D0, deadline_ms=5000.0,
        policy="device_only", policy_version=1, explored=False,
    )  # fmt: skip


class _Acknowledging:
    """Prints what the writer says is stored, and lets only so many rows wait."""

    def __init__(self) -> None:
        self.room = threading.Semaphore(MOST_WAITING)

    def stored(self, ids: Stored) -> None:
        sys.stdout.write("".join(f"stored {node} {request}\n" for node, request in ids))
        sys.stdout.flush()
        self.room.release(len(ids))


def main() -> None:
    """Store until killed."""
    path, seed = Path(sys.argv[1]), sys.argv[2]
    if len(sys.argv) > 3:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
    chance, acknowledging = random.Random(seed), _Acknowledging()
    listener = Listener(acknowledging.stored, lambda _foreign: None)
    writer = LogWriter(path, SiteId("home"), {D0: 899}, listener, SteppingClock(chance), telemetry_rows=2000)
    writer.start()
    sequence = 0
    while True:
        node, request = chance.choice(NODES), new_request_id()
        acknowledging.room.acquire()
        writer.put(DecisionRow(node, 850, _decision(request)))
        writer.put(ReportRow(node, report_of(request)))
        if chance.random() < 0.2:
            writer.put(ReportRow(node, report_of(request)))  # the same report again, as after a lost acknowledgement
            acknowledging.room.acquire()
        if chance.random() < 0.5:
            sequence += 1
            telemetry = Telemetry(seq=sequence, cpu_percent=1.0, memory_percent=1.0, link=Link.REGULAR)
            writer.put(TelemetryRow(node, Tier.END, telemetry))


if __name__ == "__main__":
    main()
