"""Figures from the response log: response times, accuracy, shares per tier and model, outcomes.

Response times and shares are of delivered results (done or fallen back); a failed request is counted as an outcome
only. Accuracies are summed in integer tenths and divided once.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from broker.vocabulary import Outcome
from orchestrator.errors import NothingLogged

PERCENTILES = (50, 95, 99)


class GroupBy(StrEnum):
    """What a report's rows are."""

    NONE = "none"
    DEVICE = "device"
    POLICY = "policy"
    TIER = "tier"
    MODEL = "model"


COLUMN = {GroupBy.DEVICE: "node", GroupBy.POLICY: "policy", GroupBy.TIER: "tier", GroupBy.MODEL: "model"}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows count: stored at or after `since_ns`, before `until_ns` (wall clock), of one policy."""

    since_ns: int | None = None
    until_ns: int | None = None
    policy: str | None = None

    def clause(self) -> tuple[str, list[object]]:
        """The WHERE of it, with its values."""
        wanted: list[tuple[str, object]] = [("time_ns >=", self.since_ns), ("time_ns <", self.until_ns)]
        wanted.append(("policy =", self.policy))
        used = [(term, _in_64_bits(value)) for term, value in wanted if value is not None]
        return " AND ".join([f"{term} ?" for term, _ in used] or ["1"]), [value for _, value in used]


def _in_64_bits(value: object) -> object:
    """SQLite's integers; a time beyond them means the same as the last one within."""
    return min(max(value, -(2**63)), 2**63 - 1) if isinstance(value, int) else value


@dataclass(frozen=True, slots=True)
class Figures:
    """What one group of requests came to. Times in ms, None without a result; accuracy is Top-5 in %; shares 0 to 1.

    `floor_percent` is the average of the floors in force, None where no request was decided.
    """

    group: str
    requests: int
    outcomes: dict[str, int]
    mean_ms: float | None
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    accuracy_percent: float | None
    floor_percent: float | None
    explored_share: float
    tier_shares: dict[str, float]
    model_shares: dict[str, float]
    emulated: bool


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Linear between the closest ranks, as NumPy's default. `ordered` ascends and is not empty."""
    place = (len(ordered) - 1) * percent / 100
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def figures(connection: sqlite3.Connection, by: GroupBy, only: Filter) -> list[Figures]:
    """One row per group, in order of name, then one of all where there are several. Raises NothingLogged."""
    where, values = only.clause()
    if by is GroupBy.NONE:
        groups: list[str] = []
    else:
        query = f"SELECT DISTINCT {COLUMN[by]} FROM response WHERE {where} ORDER BY 1"
        groups = [name for (name,) in connection.execute(query, values)]
    rows = [_figures(connection, name, f"{where} AND {COLUMN[by]} = ?", [*values, name]) for name in groups]
    if len(rows) != 1:
        rows.append(_figures(connection, "all", where, values))
    if rows[-1].requests == 0:
        raise NothingLogged("the response log has no such rows; try another time span or policy")
    return rows


def _figures(connection: sqlite3.Connection, name: str, where: str, values: list[object]) -> Figures:
    outcomes = dict.fromkeys(map(str, Outcome), 0)
    outcomes.update(_pairs(connection, f"SELECT outcome, count(*) FROM response WHERE {where} GROUP BY 1", values))
    delivered = f"{where} AND outcome != '{Outcome.FAILED}'"
    times_query = f"SELECT response_ms FROM response WHERE {delivered} ORDER BY response_ms"
    times_ms = [ms for (ms,) in connection.execute(times_query, values)]
    tenths, accurate, emulated = connection.execute(
        f"SELECT sum(accuracy_tenths), count(accuracy_tenths), max(emulated) FROM response WHERE {delivered}", values
    ).fetchone()
    floors, decided, explored, requests = connection.execute(
        f"SELECT sum(floor_tenths), count(floor_tenths), sum(explored), count(*) FROM response WHERE {where}", values
    ).fetchone()
    p50, p95, p99 = (percentile(times_ms, percent) if times_ms else None for percent in PERCENTILES)
    return Figures(
        group=name,
        requests=requests,
        outcomes=outcomes,
        mean_ms=sum(times_ms) / len(times_ms) if times_ms else None,
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        accuracy_percent=tenths / (10 * accurate) if accurate else None,
        floor_percent=floors / (10 * decided) if decided else None,
        explored_share=(explored or 0) / requests if requests else 0.0,
        tier_shares=_shares(_pairs(connection, _count_by("tier", delivered), values)),
        model_shares=_shares(_pairs(connection, _count_by("model", delivered), values)),
        emulated=bool(emulated),
    )


def _count_by(column: str, where: str) -> str:
    return f"SELECT {column}, count(*) FROM response WHERE {where} GROUP BY 1 ORDER BY 1"


def _pairs(connection: sqlite3.Connection, query: str, values: Iterable[object]) -> dict[str, int]:
    return dict(connection.execute(query, list(values)))


def _shares(counts: dict[str, int]) -> dict[str, float]:
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()}
