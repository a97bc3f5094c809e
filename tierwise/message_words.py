"""What a message says, in a few words for a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.events import count
from broker.messages import (
    Birth,
    Decision,
    Explain,
    ExplainAsk,
    Goal,
    GoalAck,
    GoalSet,
    Heartbeat,
    Message,
    Ping,
    Pong,
    Report,
    ReportAck,
    Request,
    Result,
    Round,
    State,
    Summary,
    Telemetry,
)

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


def printable(text: str) -> str:
    """`text` on one line: control characters, which could move a terminal's cursor, as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def image_format(image: bytes) -> str:
    """What the first bytes claim."""
    return "JPEG" if image.startswith(JPEG) else "PNG" if image.startswith(PNG) else "unknown format"


def words(message: Message) -> str:
    """What `message` says. Texts in it are as they came: see `printable`."""
    return WORDS[type(message)](message)


def _joined(*parts: str | None) -> str:
    return ", ".join(part for part in parts if part)


def _birth(m: Birth) -> str:
    models = f"models {' '.join(m.models)}" if m.models else "no models"
    return _joined(
        m.tier, count(m.vcpus, "vCPU"), models, f"agent {m.agent_version}", f"session {m.session}", _if(m.emulated)
    )


def _telemetry(m: Telemetry) -> str:
    return _joined(
        f"cpu {m.cpu_percent:.0f} %",
        f"memory {m.memory_percent:.0f} %",
        f"{m.link} link",
        None if m.rtt_ms is None else f"rtt {m.rtt_ms:.1f} ms",
        None if m.uplink_mbit_s is None else f"uplink {m.uplink_mbit_s:.1f} Mbit/s",
        f"{m.queue_length} waiting",
        count(m.overruns, "overrun") if m.overruns else None,
        f"{m.refused} refused" if m.refused else None,
        _if(m.emulated),
    )


def _decision(m: Decision) -> str:
    where = "itself" if m.tier == "end" else m.serving_node
    return _joined(
        f"{m.model} on {where}",
        f"else {m.fallback_model}",
        f"within {m.deadline_ms:.0f} ms",
        f"round {m.round}",
        f"by {m.policy} v{m.policy_version}",
        "explored" if m.explored else None,
        m.request_id,
    )


def _report(m: Report) -> str:
    return _joined(
        f"{m.outcome.replace('_', ' ')}: {m.model} on {'itself' if m.tier == 'end' else m.serving_node}",
        f"{m.response_ms:.1f} ms",
        None if m.label is None else m.label if m.trained else f"untrained: {m.label}",
        m.reason,
        None if m.decided else "no decision",
        _if(m.emulated),
        m.request_id,
    )


def _result(m: Result) -> str:
    if m.refused is not None:
        return _joined(f"refused {m.model}: {m.refused}", m.detail, m.request_id)
    label = None if m.label is None else m.label if m.trained else f"untrained: {m.label}"
    times = f"{m.compute_ms:.1f} ms after {m.queue_ms:.1f} ms in the queue"
    return _joined(m.model, times, label, _if(m.emulated), m.request_id)


def _round(m: Round) -> str:
    if m.open:
        return f"round {m.round} is open{', decided at once' if m.immediate else ''}"
    if (s := m.summary) is None:
        return f"round {m.round} is complete, nothing was decided"
    return _joined(
        f"round {m.round} is complete: {s.mean_response_ms:.1f} ms",
        f"{s.accuracy_percent:.1f} % of {s.accuracy_floor_percent:g} %{'' if s.floor_met else ', below the floor'}",
        count(s.devices, "device"),
        f"{s.missing} missing" if s.missing else None,
        f"by {s.policy} v{s.policy_version}",
        "explored" if s.explored else None,
    )


def _goal_set(m: GoalSet) -> str:
    floor = None if m.accuracy_floor_percent is None else f"accuracy floor {m.accuracy_floor_percent:g} %"
    return _joined(floor, None if m.policy is None else f"policy {m.policy}") or "nothing"


def _goal_ack(m: GoalAck) -> str:
    return _joined(f"accepted, v{m.policy_version}" if m.accepted else "refused", m.reason, m.ask_id)


def _summary(m: Summary) -> str:
    online = sum(row.state == "online" for row in m.nodes)
    return _joined(
        f"{online} of {count(len(m.nodes) + m.nodes_left_out, 'node')} online",
        f"floor {m.accuracy_floor_percent:g} %",
        f"policy {m.policy} v{m.policy_version}",
        m.phase,
        f"round {m.round}",
        f"{count(len(m.alarms) + m.alarms_left_out, 'alarm')}" if m.alarms else None,
    )


def _explain(m: Explain) -> str:
    if m.tier is None or m.model is None:
        return _joined(m.refused or "nothing is known", m.request_id)
    return _joined(
        f"{m.model} on {m.tier}",
        None if m.round is None else f"round {m.round}",
        None if m.predicted_ms is None else f"{m.predicted_ms:.0f} ms expected",
        None if m.runner_up_ms is None else f"next {m.runner_up_model} on {m.runner_up_tier} {m.runner_up_ms:.0f} ms",
        f"held by {' '.join(m.bounds)}" if m.bounds else None,
        m.reason,
        m.refused,
        m.request_id,
    )


def _if(emulated: bool) -> str | None:
    return "emulated" if emulated else None


WORDS: dict[type, Callable[[Any], str]] = {
    Birth: _birth,
    State: lambda m: f"{m.state}, session {m.session}",
    Telemetry: _telemetry,
    Request: lambda m: f"what to do? {m.request_id}",
    Decision: _decision,
    Report: _report,
    ReportAck: lambda m: f"{len(m.request_ids)} stored: {' '.join(m.request_ids)}",
    Result: _result,
    Heartbeat: lambda m: f"beat {m.seq}, session {m.session}",
    Round: _round,
    Goal: lambda m: f"accuracy floor {m.accuracy_floor_percent:g} %, policy {m.policy} v{m.policy_version}",
    GoalSet: _goal_set,
    GoalAck: _goal_ack,
    Summary: _summary,
    ExplainAsk: lambda m: f"why? {m.request_id or 'the last one'}",
    Explain: _explain,
    Ping: lambda m: f"are you there? {m.ping_id}",
    Pong: lambda m: f"here, session {m.session}, after {m.handling_ms:.2f} ms, {m.ping_id}",
}
