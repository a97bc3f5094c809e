"""Decisions read back from the response log: what was decided, why, and what was measured then."""

from __future__ import annotations

import sqlite3
import statistics
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from broker.vocabulary import Action, ModelName, NodeId, Outcome, RequestId, Tier
from orchestrator.errors import NothingLogged
from orchestrator.explaining import Why
from orchestrator.response_log import has_explanations, has_tombstones, last_round
from orchestrator.retention import expired_time_ns

MIN_OF_SPREAD, MAX_OF_SPREAD = 5, 100  # response times of which a spread is taken
WHY_COLUMNS = tuple(field.name for field in fields(Why))
NOT_AHEAD_NS = "(CAST(strftime('%s', 'now') AS INTEGER) + 3600) * 1000000000"


@dataclass(frozen=True, slots=True)
class Measured:
    """What the device reported."""

    outcome: Outcome
    action: Action
    response_ms: float


@dataclass(frozen=True, slots=True)
class LoggedDecision:
    """One decision. `why` is None where the agent did not say; `measured` where no report is stored (yet)."""

    node: NodeId
    request_id: RequestId
    round: int
    policy: str
    explored: bool
    floor_tenths: int
    action: Action
    why: Why | None
    measured: Measured | None
    spread_ms: float | None = None  # standard deviation of single response times of this device with this action


@dataclass(frozen=True, slots=True)
class Expired:
    """A decision or report that was stored at that time (wall clock, ns) and deleted since."""

    request_id: RequestId
    time_ns: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which decisions: of a round, of a device, of a request; of nothing at all, the last round."""

    round: int | None = None
    node: str | None = None
    request_id: str | None = None


def decision_of(connection: sqlite3.Connection, node: NodeId, request_id: RequestId | None) -> LoggedDecision | None:
    """The decision of one request of `node`, or its last one; None where there is none. Raises sqlite3.Error."""
    found = _select(connection, Wanted(node=node, request_id=request_id))
    return found[0] if found else None


def decisions(connection: sqlite3.Connection, wanted: Wanted) -> list[LoggedDecision]:
    """By device; of a device without round or request the last one. Raises NothingLogged."""
    if wanted == Wanted():
        wanted = Wanted(round=last_round(connection))
    found = _select(connection, wanted)
    if not found:
        if wanted.request_id is not None and has_tombstones(connection):
            time_ns = expired_time_ns(connection, wanted.node, wanted.request_id)
            if time_ns is not None:
                stored = datetime.fromtimestamp(time_ns / 1e9, UTC)
                raise NothingLogged(
                    f"expired: {wanted.request_id} was stored on {stored:%Y-%m-%d} and has been deleted "
                    "(files.retention_days, files.max_megabytes)"
                )
        raise NothingLogged("the response log has no such decision")
    return [replace(decision, spread_ms=_spread_ms(connection, decision)) for decision in found]


def _spread_ms(connection: sqlite3.Connection, decision: LoggedDecision) -> float | None:
    """How much single times vary, from the last ones up to that round; None while there are too few."""
    rows = connection.execute(
        "SELECT response_ms FROM response WHERE node = ? AND tier = ? AND model = ? AND outcome = 'done' "
        "AND round <= ? ORDER BY id DESC LIMIT ?",
        (decision.node, decision.action.tier, decision.action.model, decision.round, MAX_OF_SPREAD),
    )
    times_ms = [ms for (ms,) in rows]
    return statistics.stdev(times_ms) if len(times_ms) >= MIN_OF_SPREAD else None


def _select(connection: sqlite3.Connection, wanted: Wanted) -> list[LoggedDecision]:
    terms = [("d.round", wanted.round), ("d.node", wanted.node), ("d.request_id", wanted.request_id)]
    used = [(column, value) for column, value in terms if value is not None]
    last_alone = wanted.round is None and wanted.request_id is None
    # Rows that were stored while the clock was ahead (`series_times`) count as the last only where there are no others.
    for until in (f" AND d.time_ns <= {NOT_AHEAD_NS}", "") if last_alone else ("",):
        if found := _rows(connection, used, until, "d.time_ns DESC LIMIT 1" if last_alone else "d.node"):
            return found
    return []


def _rows(connection: sqlite3.Connection, used: list[tuple[str, Any]], until: str, order: str) -> list[LoggedDecision]:
    why = ", ".join(f"d.{column}" if has_explanations(connection) else "NULL" for column in WHY_COLUMNS)
    rows = connection.execute(
        "SELECT d.node, d.request_id, d.round, d.policy, d.explored, d.floor_tenths, d.tier, d.model, "
        f"r.outcome, r.tier, r.model, r.response_ms, {why} "
        "FROM decision d LEFT JOIN response r ON r.node = d.node AND r.request_id = d.request_id "
        f"WHERE {' AND '.join(f'{column} = ?' for column, _ in used)}{until} ORDER BY {order}",
        [value for _, value in used],
    )
    return [_decision(*row) for row in rows]


def _decision(*row: Any) -> LoggedDecision:
    node, request_id, round_, policy, explored, floor, tier, model, outcome, did_tier, did_model, ms, *why = row
    measured = None
    if outcome is not None:
        measured = Measured(Outcome(outcome), Action(Tier(did_tier), ModelName(did_model)), ms)
    action, reason = Action(Tier(tier), ModelName(model)), why[-1]
    kept = None if reason is None else Why(*why)
    return LoggedDecision(node, request_id, round_, policy, bool(explored), floor, action, kept, measured)
