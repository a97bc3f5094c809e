"""What `tierwise status` makes of what it hears."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from rich.console import Console

from broker.client import Inbound
from broker.messages import Birth, Heartbeat, State, Summary, SummaryAlarm, SummaryNode, Telemetry
from broker.topics import Address, Channel
from broker.vocabulary import Link, NodeId, NodeState, SiteId, Tier
from tierwise.site_status import SiteView, as_json, screen, span

LAB = SiteId("lab")
NOW_S = 100.0


def inbound(node: str, channel: Channel, body: Any, received_s: float = NOW_S) -> Inbound:
    return Inbound(Address(LAB, NodeId(node), channel), body, received_s=received_s)


def summary(*nodes: SummaryNode, **changed: Any) -> Summary:
    fields: dict[str, Any] = {
        "time_s": 1000, "started_s": 400, "agent_version": "0.1.0", "round": 7, "accuracy_floor_percent": 85.0,
        "policy": "factored", "policy_version": 2, "phase": "settled", "nodes": list(nodes), "alarms": [],
        "accuracy_percent": 89.1, **changed,
    }  # fmt: skip
    return Summary(**fields)


def view(made: Summary, beat_s: float = NOW_S) -> SiteView:
    found = SiteView(LAB)
    found.take(inbound("orchestrator", Channel.STATE, State(session=1, state=NodeState.ONLINE)))
    found.take(inbound("orchestrator", Channel.HEARTBEAT, Heartbeat(session=1, seq=0), beat_s))
    found.take(inbound("orchestrator", Channel.SUMMARY, made))
    return found


def printed(found: SiteView) -> list[str]:
    console = Console(width=80, force_terminal=False, record=True, file=io.StringIO())
    console.print(screen(found, NOW_S))
    return console.export_text().splitlines()


def test_a_row_joins_what_the_node_and_what_the_orchestrator_say() -> None:
    """Tier, version, link and CPU from the node itself; state, action and response time from the summary."""
    found = view(
        summary(
            SummaryNode(node="s1", state=NodeState.ONLINE, since_s=900, tier=Tier.EDGE, model="d0", response_ms=312.4)
        )
    )
    found.take(inbound("s1", Channel.BIRTH, Birth(session=1, tier=Tier.END, agent_version="9", vcpus=1, models={})))
    told = Telemetry(seq=0, cpu_percent=42.4, memory_percent=1.0, link=Link.WEAK)
    found.take(inbound("s1", Channel.TELEMETRY, told))
    (row,) = (line.split() for line in printed(found) if line.startswith("s1"))

    assert ["s1", "end", "online", "100", "s", "9", "weak", "42", "d0@edge", "312"] == row
    assert found.complete(NOW_S)


def test_telemetry_of_a_node_that_fell_silent_is_not_shown() -> None:
    """It would be taken for its present load."""
    found = view(summary(SummaryNode(node="s1", state=NodeState.OFFLINE, since_s=900)))
    told = Telemetry(seq=0, cpu_percent=42.4, memory_percent=1.0, link=Link.WEAK)
    found.take(inbound("s1", Channel.TELEMETRY, told, NOW_S - 60.0))

    assert [None] == [row["cpu_percent"] for row in as_json(found, NOW_S)["nodes"]]


def test_the_longest_names_and_texts_fit_80_columns() -> None:
    """Names are cut, alarms are wrapped, and nothing that a terminal obeys is printed."""
    nodes = [
        SummaryNode(
            node="n" * 63, state=NodeState.OFFLINE, since_s=0, tier=Tier.CLOUD, model="m" * 32, response_ms=86_400_000.0
        )
    ]
    alarm = SummaryAlarm(code="node_lost", since_s=0, detail="\x1b[2J " + "word " * 50, node="n" * 63, hint="h " * 100)
    lines = printed(view(summary(*nodes, alarms=[alarm], nodes_left_out=1, alarms_left_out=2, policy="p" * 300)))

    assert all(len(line) <= 80 for line in lines)
    assert any("1 more node of which" in line for line in lines)
    assert any("2 more alarms" in line for line in lines)
    assert "\x1b" not in "".join(lines)


def test_a_summary_of_an_orchestrator_that_is_gone_is_not_shown() -> None:
    """It is retained, and would be taken for the present."""
    found = view(summary(SummaryNode(node="s1", state=NodeState.ONLINE, since_s=900)), NOW_S - 3.0)

    assert found.orchestrator(NOW_S) is None
    assert not found.complete(NOW_S)
    assert [] == found.rows(NOW_S)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (119, "119 s"), (120, "2 m"), (7_200, "2 h"), (200_000, "2 d")]
)
def test_a_span_is_one_number_and_its_unit(seconds: int, text: str) -> None:
    """So that a column stays narrow."""
    assert text == span(seconds)


@pytest.mark.parametrize("more", [(), ("--json",)])
def test_status_without_a_broker_says_so(more: tuple[str, ...]) -> None:
    """Exit code 1, one line, no table."""
    done = subprocess.run(
        [sys.executable, "-m", "tierwise", "status", "--site", "lab", "--port", "9", *more],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": "."},
        check=False,
    )

    assert (1, "") == (done.returncode, done.stdout)
    assert "no broker" in done.stderr
    assert "Traceback" not in done.stderr


def test_json_has_the_summarys_head_and_every_row() -> None:
    """Floor, policy, phase and alarms beside the nodes."""
    read = json.loads(
        json.dumps(as_json(view(summary(SummaryNode(node="s1", state=NodeState.ONLINE, since_s=900))), NOW_S))
    )

    assert ("lab", "orchestrator", 85.0, "settled", []) == tuple(
        read[key] for key in ("site", "orchestrator", "accuracy_floor_percent", "phase", "alarms")
    )
    assert ["s1"] == [node["node"] for node in read["nodes"]]
