"""What honest devices noticed: their rate, their accuracy and their requests, from response log and ledgers. Pure."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

REST = "rest"
MIN_RATE = 0.8  # of the rate without attackers
NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """One row of the response log."""

    at_s: float  # wall clock
    node: str
    outcome: str
    tier: str
    accuracy_tenths: int | None
    response_ms: float


@dataclass(frozen=True, slots=True)
class Window:
    """What the honest devices got in a span of time."""

    seconds: float
    answers: int
    per_s: float
    slowest_per_s: float  # of the device that got least
    mean_ms: float
    accuracy_percent: float
    offloaded_percent: float
    fallen_back_percent: float


def read_answers(response_log: Path, honest: Collection[str]) -> list[Answer]:
    """The rows of the honest devices, read past our own code."""
    with closing(sqlite3.connect(f"{response_log.absolute().as_uri()}?mode=ro", uri=True)) as database:
        rows = database.execute(
            "SELECT time_ns, node, outcome, tier, accuracy_tenths, response_ms FROM response ORDER BY id"
        ).fetchall()
    return [Answer(time_ns / NS, node, *rest) for time_ns, node, *rest in rows if node in honest]


def window(answers: Sequence[Answer], honest: Collection[str], spans: Sequence[tuple[float, float]]) -> Window:
    """The answers that were stored in `spans` (wall clock), together."""
    seconds = sum(end_s - start_s for start_s, end_s in spans)
    got = [answer for answer in answers if any(start_s <= answer.at_s < end_s for start_s, end_s in spans)]
    each = dict.fromkeys(honest, 0)
    for answer in got:
        each[answer.node] += 1
    known = [answer.accuracy_tenths for answer in got if answer.accuracy_tenths is not None]
    count = max(1, len(got))
    return Window(
        seconds=seconds,
        answers=len(got),
        per_s=len(got) / max(seconds, 1e-9),
        slowest_per_s=min(each.values(), default=0) / max(seconds, 1e-9),
        mean_ms=sum(answer.response_ms for answer in got) / count,
        accuracy_percent=sum(known) / max(1, len(known)) / 10,
        offloaded_percent=100 * sum(answer.tier != "end" for answer in got) / count,
        fallen_back_percent=100 * sum(answer.outcome != "done" for answer in got) / count,
    )


def by_attack(spans: Sequence[tuple[float, float, tuple[str, ...]]]) -> dict[str, list[tuple[float, float]]]:
    """The spans in which one attack was alone, by its name; those with several are `mixed`, with none `rest`."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for start_s, end_s, attacks in spans:
        found["mixed" if len(attacks) > 1 else attacks[0] if attacks else REST].append((start_s, end_s))
    return dict(found)


def faults_of(before: Window, during: Window, floor_percent: float, lost: int, doubled: int, untrue: int) -> list[str]:
    """What must not be, in words."""
    faults = []
    if during.per_s < MIN_RATE * before.per_s:
        faults.append(f"honest devices at {100 * during.per_s / max(before.per_s, 1e-9):.0f} % of their rate")
    if during.accuracy_percent < floor_percent:
        faults.append(f"accuracy {during.accuracy_percent:.2f} under the floor of {floor_percent}")
    faults += [f"{lost} ids lost"] if lost else []
    faults += [f"{doubled} ids doubled"] if doubled else []
    faults += [f"{untrue} acknowledged without a row"] if untrue else []
    return faults
