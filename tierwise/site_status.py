"""One table of a site, put together from what its nodes and its orchestrator publish."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from broker.client import Inbound, MqttClient
from broker.clock import Clock
from broker.errors import NotConnected
from broker.events import count
from broker.messages import Birth, Heartbeat, State, Summary, SummaryAlarm, SummaryNode, Telemetry
from broker.topics import Channel, filter_for
from broker.vocabulary import NodeId, NodeState, SiteId
from tierwise.message_words import printable
from tierwise.person import CONNECT_TIMEOUT_S, Bus, linked, name_for

HEARTBEAT_TIMEOUT_S = 2.5  # as the protocol has it
TELEMETRY_WAIT_S = 1.5  # it comes each second
FRESH_S = 5.0  # telemetry that is older is of a node that has fallen silent
CHANNELS = (Channel.BIRTH, Channel.STATE, Channel.TELEMETRY, Channel.HEARTBEAT, Channel.SUMMARY)
COLUMNS = ("node", "tier", "state", "for", "version", "link", "CPU %", "action", "last ms")
WIDTHS = (14, 5, 7, 5, 9, 7, 5, 12, 7)  # with a space between them less than 80
STATE_STYLES = {"online": "green", "offline": "bold red", "stopped": "dim"}


@dataclass(slots=True)
class SiteView:
    """What was heard so far. Times are monotonic seconds, but those in messages."""

    site: SiteId
    births: dict[NodeId, Birth] = field(default_factory=dict)
    states: dict[NodeId, State] = field(default_factory=dict)
    telemetry: dict[NodeId, tuple[Telemetry, float]] = field(default_factory=dict)
    beats_s: dict[NodeId, float] = field(default_factory=dict)
    summaries: dict[NodeId, Summary] = field(default_factory=dict)

    def take(self, inbound: Inbound) -> None:
        """One message of one of CHANNELS."""
        node, body = inbound.address.node, inbound.body
        if isinstance(body, Birth):
            self.births[node] = body
        elif isinstance(body, State):
            self.states[node] = body
        elif isinstance(body, Telemetry):
            self.telemetry[node] = (body, inbound.received_s)
        elif isinstance(body, Heartbeat):
            self.beats_s[node] = inbound.received_s
        elif isinstance(body, Summary):
            self.summaries[node] = body

    def orchestrator(self, now_s: float) -> NodeId | None:
        """The orchestrator that is there: its state is online and its heartbeat recent. None: there is none."""
        alive = (node for node in self.orchestrators() if now_s - self.beats_s.get(node, -1e9) < HEARTBEAT_TIMEOUT_S)
        return next((node for node in alive if self._is_online(node)), None)

    def orchestrators(self) -> list[NodeId]:
        """Who published a summary, or has a state without a birth, as only an orchestrator does."""
        return sorted({*self.summaries, *(node for node in self.states if node not in self.births)})

    def complete(self, now_s: float) -> bool:
        """Whether the orchestrator is there with its summary, and each node that is online has sent telemetry."""
        orchestrator = self.orchestrator(now_s)
        if orchestrator is None or (summary := self.summaries.get(orchestrator)) is None:
            return False
        return all(row.node in self.telemetry for row in summary.nodes if row.state is NodeState.ONLINE)

    def rows(self, now_s: float) -> list[Row]:
        """One row a node, by id; of nodes that the summary leaves out, what they publish themselves."""
        orchestrator = self.orchestrator(now_s)
        summary = None if orchestrator is None else self.summaries.get(orchestrator)
        known = {} if summary is None else {NodeId(row.node): row for row in summary.nodes}
        time_s = 0 if summary is None else summary.time_s
        return [self._row(node, known.get(node), time_s, now_s) for node in sorted({*self.births, *known})]

    def _row(self, node: NodeId, seen: SummaryNode | None, time_s: int, now_s: float) -> Row:
        birth, state = self.births.get(node), self.states.get(node)
        told, heard_s = self.telemetry.get(node, (None, -1e9))
        if now_s - heard_s > FRESH_S:
            told = None
        own = None if state is None else state.state
        return Row(
            node=node,
            tier=None if birth is None else birth.tier,
            state=own if seen is None else seen.state,
            state_s=None if seen is None else max(0, time_s - seen.since_s),
            version=None if birth is None else birth.agent_version,
            link=None if told is None else told.link,
            cpu_percent=None if told is None else told.cpu_percent,
            action_tier=None if seen is None else seen.tier,
            action_model=None if seen is None else seen.model,
            response_ms=None if seen is None else seen.response_ms,
        )

    def _is_online(self, node: NodeId) -> bool:
        return (state := self.states.get(node)) is not None and state.state is NodeState.ONLINE


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One node. None: not known, or not any more. `state_s`: for so long, when the summary was published."""

    node: str
    tier: str | None
    state: str | None
    state_s: int | None
    version: str | None
    link: str | None
    cpu_percent: float | None
    action_tier: str | None
    action_model: str | None
    response_ms: float | None


class StatusClient:
    """Follows a site with a person's account. `view` is what was heard so far."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self.view = SiteView(bus.site)
        self.client = MqttClient(
            bus.endpoint, bus.site, name_for("status"), "person", announces_state=False, clock=clock
        )
        self._clock = clock
        self._heard = asyncio.Event()
        for channel in CHANNELS:
            self.client.subscribe(filter_for(bus.site, channel), channel, self._take)

    async def wait_complete(self, timeout_s: float) -> bool:
        """Return when there is all to show: False after `timeout_s`, whatever is missing. Raises NotConnected."""
        await self.client.wait_connected(CONNECT_TIMEOUT_S)
        deadline_s = self._clock.monotonic() + timeout_s
        patience_s: float | None = None  # for telemetry, once the orchestrator is there
        while (now_s := self._clock.monotonic()) < deadline_s:
            if self.view.complete(now_s):
                return True
            if self.has_orchestrator():
                patience_s = patience_s or now_s + TELEMETRY_WAIT_S
                if now_s >= patience_s:
                    return True
            self._heard.clear()
            left_s = min(deadline_s, patience_s or deadline_s) - now_s
            try:
                await asyncio.wait_for(self._heard.wait(), max(0.01, left_s))
            except TimeoutError:
                continue
        return False

    def has_orchestrator(self) -> bool:
        """Whether an orchestrator is there and has published its summary."""
        orchestrator = self.view.orchestrator(self._clock.monotonic())
        return orchestrator is not None and orchestrator in self.view.summaries

    def problem(self) -> str | None:
        """Why there is no whole status to show, in a sentence; None: there is."""
        if not self.client.connected:
            return "the connection to the broker is lost"
        orchestrator = self.view.orchestrator(self._clock.monotonic())
        if orchestrator is not None:
            if orchestrator in self.view.summaries:
                return None
            return f"{orchestrator} publishes no summary: it is of an older version, or may not (provision again)"
        for node in self.view.orchestrators():
            state = self.view.states.get(node)
            if state is not None and state.state is not NodeState.ONLINE:
                return f"no orchestrator: {node} is {state.state}; start it: tierwise orchestrator run"
            return f"no orchestrator: {node} does not answer; see its log"
        return f"no orchestrator at site {self.view.site}: start it (tierwise orchestrator run), or correct --site"

    def _take(self, inbound: Inbound) -> None:
        self.view.take(inbound)
        self._heard.set()


async def status_once(bus: Bus, clock: Clock, timeout_s: float) -> tuple[SiteView, str | None]:
    """What is to be seen of a site, after at most `timeout_s`, and what is wrong with that.

    Raises NotConnected where there is no broker, or nothing to be seen.
    """
    status = StatusClient(bus, clock)
    async with linked(status.client):
        await status.wait_complete(timeout_s)
        problem = status.problem()
        if problem is not None and not status.view.births:
            raise NotConnected(problem)
        return status.view, problem


def as_json(view: SiteView, now_s: float) -> dict[str, Any]:
    """For machines: the orchestrator's summary without its nodes, and each node's row."""
    orchestrator = view.orchestrator(now_s)
    summary = None if orchestrator is None else view.summaries.get(orchestrator)
    head = {} if summary is None else msgspec.to_builtins(summary)
    head.pop("nodes", None)
    nodes = [msgspec.to_builtins(row) for row in view.rows(now_s)]
    return {"site": view.site, "orchestrator": orchestrator, **head, "nodes": nodes}


def screen(view: SiteView, now_s: float) -> RenderableType:
    """For a person: at most 80 columns."""
    rows = view.rows(now_s)
    parts: list[RenderableType] = [*_head(view, now_s, rows), _table(rows)]
    orchestrator = view.orchestrator(now_s)
    summary = None if orchestrator is None else view.summaries.get(orchestrator)
    if summary is not None:
        if summary.nodes_left_out:
            parts.append(Text(f"{count(summary.nodes_left_out, 'more node')} of which the summary says nothing"))
        parts += [_alarm(alarm, summary.time_s) for alarm in summary.alarms]
        if summary.alarms_left_out:
            parts.append(Text(count(summary.alarms_left_out, "more alarm"), "yellow"))
    return Group(*parts)


def _head(view: SiteView, now_s: float, rows: list[Row]) -> list[Text]:
    online = sum(row.state == "online" for row in rows)
    first = f"site {view.site}: {online} of {count(len(rows), 'node')} online"
    orchestrator = view.orchestrator(now_s)
    if orchestrator is None:
        return [Text(f"{first}, no orchestrator")]
    summary = view.summaries.get(orchestrator)
    if summary is None:
        return [Text(f"{first}, {orchestrator} without summary")]
    for_ = span(summary.time_s - summary.started_s)
    accuracy = "" if summary.accuracy_percent is None else f" (last round {summary.accuracy_percent:.1f} %)"
    return [
        Text(printable(f"{first}, {orchestrator} {summary.agent_version} for {for_}, round {summary.round}")),
        Text(
            printable(
                f"floor {summary.accuracy_floor_percent:g} %{accuracy}, policy {summary.policy} "
                f"v{summary.policy_version}, learning: {summary.phase}"
            )
        ),
    ]


def _table(rows: list[Row]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    for name, width in zip(COLUMNS, WIDTHS, strict=True):
        right = name in ("for", "CPU %", "last ms")
        table.add_column(name, no_wrap=True, max_width=width, justify="right" if right else "left")
    for row in rows:
        action = None if row.action_model is None else f"{row.action_model}@{row.action_tier}"
        cells = (
            row.node,
            row.tier,
            row.state,
            None if row.state_s is None else span(row.state_s),
            row.version,
            row.link,
            None if row.cpu_percent is None else f"{row.cpu_percent:.0f}",
            action,
            None if row.response_ms is None else f"{row.response_ms:.0f}",
        )
        style = STATE_STYLES.get(row.state or "", "")
        shown = [Text("-" if cell is None else printable(cell)) for cell in cells]
        shown[2].stylize(style)
        table.add_row(*shown)
    return table


def _alarm(alarm: SummaryAlarm, time_s: int) -> Text:
    for_ = span(max(0, time_s - alarm.since_s))
    hint = f" ({alarm.hint})" if alarm.hint else ""
    return Text(printable(f"alarm {alarm.code} for {for_}: {alarm.detail}{hint}"), "yellow")


def span(seconds: int) -> str:
    """`42 s`, `17 m`, `5 h` or `12 d`: whole ones, rounded down."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{max(0, seconds)} s"
