"""What goes to the thread that owns the response log, and whom it tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgspec import Struct

from broker.messages import Decision, Report, Telemetry
from broker.vocabulary import NodeId, RequestId, Tier
from orchestrator.explained import Expired, LoggedDecision
from orchestrator.explaining import Why


class DecisionRow(Struct, frozen=True):
    """One decision as it was sent."""

    node: NodeId
    floor_tenths: int
    decision: Decision


class ExplanationRow(Struct, frozen=True):
    """Why one decision was made; its own row comes before."""

    node: NodeId
    request_id: RequestId
    why: Why


class ReportRow(Struct, frozen=True):
    """One report as it came."""

    node: NodeId
    report: Report


class TelemetryRow(Struct, frozen=True):
    """One telemetry message; `tier` as the node's birth said."""

    node: NodeId
    tier: Tier | None
    telemetry: Telemetry


class QuestionRow(Struct, frozen=True):
    """Nothing to store: asks for the decision of one request, or the last of its device, after all rows before it."""

    node: NodeId
    request_id: RequestId | None


Row = DecisionRow | ExplanationRow | ReportRow | TelemetryRow | QuestionRow
Stored = list[tuple[NodeId, RequestId]]
Answered = list[tuple[QuestionRow, LoggedDecision | Expired | None]]


@dataclass(frozen=True, slots=True)
class Listener:
    """Who is told, in the writer's thread, what became of reports and questions.

    A report was stored (or was before), is of another device's request, or is one too many without a decision, which
    is not stored now; a question was answered, with None where there is no such decision.
    """

    stored: Callable[[Stored], None]
    foreign: Callable[[Stored], None]
    answered: Callable[[Answered], None] = lambda _answers: None
    deferred: Callable[[Stored], None] = lambda _ids: None
