"""So many devices at one rate for some seconds: what came of their requests, and what both processes used."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from broker.errors import TierwiseError
from testbed.load.crowd import Crowd, Pace
from testbed.load.ledger import Figures
from testbed.load.site import SITE, Site, Usage

WARM_UP_S = 3.0
SETTLE_S = 15.0  # for the last decisions and acknowledgements
INTRODUCED_WITHIN_S, INTRODUCED_AT_A_TIME, INTRODUCED_PAUSE_S = 120.0, 100, 0.3
ACKNOWLEDGED_WITHIN_S = 1.2
GOAL_P99_MS = 10.0
MOST_REFUSED = 0.001

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Run:
    """One rate, held for some seconds. `late_p99_ms`: what the crowd itself was late; `lost`: connections.

    CPU in cores. `first_mib`, `last_mib`: the orchestrator's memory, the mean of the first and last fifth.
    """

    devices: int
    requests_per_s: float
    seconds: float
    figures: Figures
    lost: int
    late_p99_ms: float
    orchestrator_cores: float
    broker_cores: float
    first_mib: float
    last_mib: float
    broker_mib: float
    load_average: float

    @property
    def carried(self) -> bool:
        """Whether every request was decided in time, hardly one refused, p99 within the goal, every report stored."""
        figures = self.figures
        undone = figures.unanswered + figures.late + figures.unacknowledged + figures.doubled
        few_refused = figures.refused <= MOST_REFUSED * figures.sent
        return figures.sent > 0 and undone == 0 and few_refused and figures.p99_ms <= GOAL_P99_MS

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {**asdict(self), "carried": self.carried}


def crowd_at(site: Site, devices: int) -> Crowd:
    """A connected crowd whose devices the orchestrator knows: each has been answered. Raises TierwiseError."""
    endpoint = site.broker.endpoint
    crowd = Crowd(SITE, endpoint.host, endpoint.port, devices)
    crowd.connect_all()
    deadline_s = time.monotonic() + INTRODUCED_WITHIN_S
    while not crowd.introduce(INTRODUCED_AT_A_TIME, INTRODUCED_PAUSE_S):
        site.check()
        if time.monotonic() > deadline_s:
            raise TierwiseError(f"the orchestrator did not answer every device within {INTRODUCED_WITHIN_S:g} s")
    crowd.run(ACKNOWLEDGED_WITHIN_S)
    crowd.forget()
    return crowd


def hold(site: Site, crowd: Crowd, rate: float, seconds: float, warm_up_s: float = WARM_UP_S) -> Run:
    """Let each device ask `rate` times a second; figures are of the time after warming up. Raises TierwiseError."""
    lost, devices = crowd.lost, len(crowd.devices) - 2
    pace = Pace(rate)
    crowd.ask_at(pace)
    crowd.run(warm_up_s)
    started_s = time.monotonic()
    crowd.run(seconds)
    ended_s = time.monotonic()
    late_ms, load = crowd.late_ms(), os.getloadavg()[0]
    crowd.ask_at(Pace(0.0))
    site.check()
    crowd.run(SETTLE_S, lambda: crowd.ledger.waiting() == 0)
    used = [usage for usage in list(site.usage) if started_s <= usage.at_s <= ended_s]
    fifth = max(1, len(used) // 5)
    return Run(
        devices=devices,
        requests_per_s=rate * devices,
        seconds=ended_s - started_s,
        figures=crowd.ledger.figures(started_s, ended_s),
        lost=crowd.lost - lost,
        late_p99_ms=late_ms,
        orchestrator_cores=_cores(used, "orchestrator_cpu_s"),
        broker_cores=_cores(used, "broker_cpu_s"),
        first_mib=_mean([usage.orchestrator_mib for usage in used[:fifth]]),
        last_mib=_mean([usage.orchestrator_mib for usage in used[-fifth:]]),
        broker_mib=max((usage.broker_mib for usage in used), default=0.0),
        load_average=load,
    )


def in_words(run: Run) -> str:
    """One line."""
    figures = run.figures
    return (
        f"{run.requests_per_s:.0f} requests/s of {run.devices} devices for {run.seconds:.0f} s: {figures.sent} sent, "
        f"{figures.within} decided in time ({figures.refused} of them refused), {figures.late} late, "
        f"{figures.unanswered} unanswered, {figures.doubled} doubled, {figures.unacknowledged} reports not "
        f"acknowledged; p50 {figures.p50_ms:.2f} ms, p90 {figures.p90_ms:.2f}, p99 {figures.p99_ms:.2f} (accepted "
        f"{figures.accepted_p99_ms:.2f}), worst {figures.worst_ms:.1f}; orchestrator {run.orchestrator_cores:.2f} "
        f"cores, {run.first_mib:.0f} to {run.last_mib:.0f} MiB; broker {run.broker_cores:.2f} cores; crowd late by "
        f"{run.late_p99_ms:.2f} ms (p99)"
    )


def to_stderr(text: str) -> None:
    """Progress for a person."""
    print(text, file=sys.stderr, flush=True)


def _cores(used: list[Usage], name: str) -> float:
    if len(used) < 2:
        return 0.0
    first, last = used[0], used[-1]
    return float(getattr(last, name) - getattr(first, name)) / (last.at_s - first.at_s)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0
