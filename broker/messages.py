"""The JSON messages, one frozen type each. `docs/protocol.md` describes them for other languages.

A field carries its unit in its name. Unknown fields are ignored, so that old and new nodes mix; a field that is
missing, of another type or out of its bounds makes the message refused. No message repeats the id of the node it is
about: the topic says that, because the broker's access rules can prove a topic and not a payload.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from broker.vocabulary import (
    LABEL_SET_PATTERN,
    MODEL_PATTERN,
    NAME_PATTERN,
    REQUEST_ID_PATTERN,
    Link,
    NodeState,
    Outcome,
    Tier,
)

Node = Annotated[str, Meta(pattern=NAME_PATTERN)]
Request_ = Annotated[str, Meta(pattern=REQUEST_ID_PATTERN)]
Model = Annotated[str, Meta(pattern=MODEL_PATTERN)]
LabelSet = Annotated[str, Meta(pattern=LABEL_SET_PATTERN)]
LONGEST_TEXT = 300
LONGEST_MS = 86_400_000  # a day
Text = Annotated[str, Meta(max_length=LONGEST_TEXT)]


def cut(text: str) -> str:
    """`text` as a field of type Text can carry it: not too long, and UTF-8, which the name of a file need not be."""
    return text[:LONGEST_TEXT].encode(errors="replace").decode()


Milliseconds = Annotated[float, Meta(ge=0, le=LONGEST_MS)]
Percent = Annotated[float, Meta(ge=0, le=100)]
Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Ticket = Annotated[str, Meta(pattern=r"^[0-9a-f]{32}\Z")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Birth(Struct, frozen=True, kw_only=True):
    """A node on each connect: who it is in this session and what it can run."""

    session: Count
    tier: Tier
    agent_version: Text
    vcpus: Annotated[int, Meta(ge=1, le=4096)]
    models: Annotated[dict[Model, Sha256], Meta(max_length=256)]
    emulated: bool = False
    label_sets: Annotated[dict[Model, LabelSet], Meta(max_length=256)] = {}


class State(Struct, frozen=True, kw_only=True):
    """Whether a node is there. The last will is the same message with `offline` and its session."""

    session: Count
    state: NodeState


class Telemetry(Struct, frozen=True, kw_only=True):
    """Resource Monitoring of one node: P, M and B of section 4.1, measured, or emulated where it says so."""

    seq: Count
    cpu_percent: Percent
    memory_percent: Percent
    link: Link
    rtt_ms: Milliseconds | None = None
    uplink_mbit_s: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    queue_length: Count = 0
    overruns: Count = 0
    refused: Count = 0
    emulated: bool = False


class Request(Struct, frozen=True, kw_only=True):
    """A device asks what to do with one inference."""

    request_id: Request_


class Decision(Struct, frozen=True, kw_only=True):
    """What one device shall do with one request, and what if it cannot."""

    request_id: Request_
    round: Count
    tier: Tier
    model: Model
    serving_node: Node
    fallback_model: Model
    deadline_ms: Milliseconds
    policy: Text
    policy_version: Count
    explored: bool
    ticket: Ticket | None = None


class Stages(Struct, frozen=True, kw_only=True):
    """The parts of one response time; they add up to it within the requester's own bookkeeping."""

    decide_ms: Milliseconds = 0.0
    encode_ms: Milliseconds = 0.0
    uplink_ms: Milliseconds = 0.0
    queue_ms: Milliseconds = 0.0
    compute_ms: Milliseconds = 0.0
    downlink_ms: Milliseconds = 0.0


class Report(Struct, frozen=True, kw_only=True):
    """How one request ended. `tier`, `model` and `serving_node` are what was really done, not what was asked."""

    request_id: Request_
    outcome: Outcome
    decided: bool
    tier: Tier
    model: Model
    serving_node: Node
    response_ms: Milliseconds
    stages: Stages
    label: Text | None = None
    trained: bool = False
    emulated: bool = False
    reason: Text | None = None


class ReportAck(Struct, frozen=True, kw_only=True):
    """The orchestrator has stored these reports; the device may forget them."""

    request_ids: Annotated[list[Request_], Meta(max_length=1000)]


class Result(Struct, frozen=True, kw_only=True):
    """What a serving node answers to one `infer`: a label and its times, or a refusal and why."""

    request_id: Request_
    model: Model
    queue_ms: Milliseconds = 0.0
    compute_ms: Milliseconds = 0.0
    label: Text | None = None
    trained: bool = False
    emulated: bool = False
    refused: Text | None = None
    detail: Text | None = None


class Heartbeat(Struct, frozen=True, kw_only=True):
    """Sent every second: this session is alive and not frozen."""

    session: Count
    seq: Count


class RoundSummary(Struct, frozen=True, kw_only=True):
    """What came of one round."""

    policy: Text
    policy_version: Count
    explored: bool
    devices: Count
    missing: Count
    mean_response_ms: Milliseconds
    accuracy_percent: Percent
    accuracy_floor_percent: Percent
    floor_met: bool
    reward: float


class Round(Struct, frozen=True, kw_only=True):
    """`open`: devices in closed loop may ask now. Not `open`: every report is in, or its deadline has passed.

    `immediate`, with `open`: requests are decided one by one, so a device asks again as soon as its own has ended.
    """

    round: Count
    open: bool
    summary: RoundSummary | None = None
    immediate: bool = False


class Goal(Struct, frozen=True, kw_only=True):
    """The Quality of Service Goal and the policy in force. A floor of 0 is no constraint (the paper's `min`)."""

    accuracy_floor_percent: Percent
    policy: Text
    policy_version: Count
    metric: Text = "top5"


class GoalSet(Struct, frozen=True, kw_only=True):
    """A person changes the goal; what is left out stays as it is. With `ask_id` the answer can be told from others."""

    accuracy_floor_percent: Percent | None = None
    policy: Text | None = None
    ask_id: Request_ | None = None


class GoalAck(Struct, frozen=True, kw_only=True):
    """The orchestrator's answer to one `goal/set`: taken, or refused and why. `policy_version` is in force after it."""

    accepted: bool
    policy_version: Count
    ask_id: Request_ | None = None
    reason: Text | None = None


class SummaryNode(Struct, frozen=True, kw_only=True):
    """One node as the orchestrator sees it. Times are seconds since 1970 on the orchestrator's clock, for people."""

    node: Node
    state: NodeState
    since_s: Count
    tier: Tier | None = None
    model: Model | None = None
    response_ms: Milliseconds | None = None


class SummaryAlarm(Struct, frozen=True, kw_only=True):
    """A condition that a person should look at. `node` is null where it is about the whole site."""

    code: Text
    since_s: Count
    detail: Text
    node: Node | None = None
    hint: Text | None = None


class Summary(Struct, frozen=True, kw_only=True):
    """What the orchestrator alone knows of its site. Retained. Lists are cut to their bounds, and say by how much."""

    time_s: Count
    started_s: Count
    agent_version: Text
    round: Count
    accuracy_floor_percent: Percent
    policy: Text
    policy_version: Count
    phase: Text
    nodes: Annotated[list[SummaryNode], Meta(max_length=1000)]
    alarms: Annotated[list[SummaryAlarm], Meta(max_length=16)]
    nodes_left_out: Count = 0
    alarms_left_out: Count = 0
    accuracy_percent: Percent | None = None


class ExplainAsk(Struct, frozen=True, kw_only=True):
    """Why was this decided? Null: the device's last decision."""

    request_id: Request_ | None = None


class Explain(Struct, frozen=True, kw_only=True):
    """Why one device was told its action: what was expected of it and of the next best, and what held.

    `refused` and no more where the request is not known; `refused`, but what was decided, where nobody said why.
    """

    request_id: Request_ | None
    round: Count | None = None
    tier: Tier | None = None
    model: Model | None = None
    policy: Text | None = None
    explored: bool | None = None
    predicted_ms: Milliseconds | None = None
    sd_ms: Milliseconds | None = None
    runner_up_tier: Tier | None = None
    runner_up_model: Model | None = None
    runner_up_ms: Milliseconds | None = None
    runner_up_sd_ms: Milliseconds | None = None
    bounds: Annotated[list[Text], Meta(max_length=16)] | None = None
    reason: Text | None = None
    refused: Text | None = None


class Ping(Struct, frozen=True, kw_only=True):
    """Is this node there, and how far away is it?"""

    ping_id: Request_


class Pong(Struct, frozen=True, kw_only=True):
    """This node is there. `handling_ms` is what it needed to answer, on its own monotonic clock."""

    ping_id: Request_
    session: Count
    handling_ms: Milliseconds


Message = (
    Birth
    | State
    | Telemetry
    | Request
    | Decision
    | Report
    | ReportAck
    | Result
    | Heartbeat
    | Round
    | Goal
    | GoalSet
    | GoalAck
    | Summary
    | ExplainAsk
    | Explain
    | Ping
    | Pong
)
