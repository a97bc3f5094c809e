"""`tierwise ping` on a real Mosquitto, as a person runs it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from broker.client import Endpoint, MqttClient
from broker.clock import SystemClock
from broker.messages import Birth, State
from broker.pings import PingAnswering
from broker.vocabulary import NodeState, SiteId, Tier, node_id
from tierwise.person import linked
from tierwise.pinging import OnePing, Trip, spread

WAIT_S = 120.0


def _with_edge(endpoint: Endpoint, site: SiteId, ask: Callable[..., Coroutine[Any, Any, Any]], *arguments: str) -> Any:
    """What `ask` makes of `tierwise ping edge-1` while that node answers."""

    async def scenario() -> Any:
        edge = MqttClient(endpoint, site, node_id("edge-1"), "agent")
        PingAnswering(edge, SystemClock())
        async with linked(edge):
            await edge.wait_connected(120.0)
            place = ["--site", site, "--host", endpoint.host, "--port", str(endpoint.port)]
            command = [sys.executable, "-m", "tierwise", "ping", "edge-1", *arguments, *place]
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
            try:
                return await asyncio.wait_for(ask(process), WAIT_S)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    return asyncio.run(scenario())


def test_the_stages_of_each_ping_add_up_to_its_round_trip(mosquitto_endpoint, site):
    """Sent, received, and each stage with its spread; exit code 0."""

    async def ask(process: Any) -> tuple[int, dict[str, Any]]:
        output, _ = await process.communicate()
        return process.returncode, json.loads(output)

    code, told = _with_edge(mosquitto_endpoint, site, ask, "--count", "5", "--interval", "0.05", "--json")

    assert (0, 5, 5, 0) == (code, told["sent"], told["received"], told["lost"])
    for ping in told["pings"]:
        parts = ping["broker_ms"] + ping["between_ms"] + ping["node_ms"]
        assert ping["whole_ms"] == pytest.approx(parts)
    for stage in told["stages"].values():
        assert stage["min"] <= stage["median"] <= stage["p95"] <= stage["max"]
    assert told["connect_ms"] > 0


def test_ctrl_c_ends_it_with_what_was_measured_so_far(mosquitto_endpoint, site):
    """The table of the pings that came back, and exit code 130."""

    async def ask(process: Any) -> tuple[int, str, str]:
        first = await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        output, errors = await process.communicate()
        return process.returncode, (first + output).decode(), errors.decode()

    code, output, errors = _with_edge(mosquitto_endpoint, site, ask, "--count", "1000")

    assert 130 == code
    assert "whole round trip" in output
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("node", "says"),
    [("edge-2", "no such node, did you mean edge-1?"), ("edge-1", "it is offline: the broker lost it (session 7)")],
)
def test_a_node_that_does_not_answer_is_told_of_what_is_known(mosquitto_endpoint, site, stranger, person, node, says):
    """Its last state, or the name that may have been meant; exit code 1."""
    stranger.says("edge-1/state", '{"session": 7, "state": "offline"}')
    process = person(mosquitto_endpoint, site, "ping", node, "--count", "2", "--interval", "0.05", "--timeout", "0.3")
    output, errors = process.communicate(timeout=WAIT_S)

    assert 1 == process.returncode
    assert f"{node}: 2 sent, 0 received, 2 lost (100%)" in output
    assert says in errors


def test_a_node_that_says_online_and_is_silent_may_be_frozen_or_old():
    """Nobody can tell which, so both are said."""
    birth = Birth(session=7, tier=Tier.EDGE, agent_version="0.0.9", vcpus=1, models={})
    trip = Trip(birth=birth, state=State(session=7, state=NodeState.ONLINE))

    assert "online, Tierwise 0.0.9: it is frozen, or of a version" in trip.why_silent(node_id("edge-1"), "lab")


def test_a_version_that_would_move_the_cursor_is_shown_as_text():
    """Any node may say what it likes of its version; a terminal must not obey it."""
    birth = Birth(session=7, tier=Tier.EDGE, agent_version="\x1b[2J", vcpus=1, models={})
    trip = Trip(birth=birth, state=State(session=7, state=NodeState.ONLINE))

    assert r"Tierwise \x1b[2J: it is frozen" in trip.why_silent(node_id("edge-1"), "lab")


def test_the_spread_of_nothing_is_nothing_and_of_several_in_order():
    """Median and p95 lie between the closest ranks."""
    assert spread([]) is None
    assert (1.0, 2.5, pytest.approx(3.85), 4.0) == tuple(
        getattr(spread([4.0, 1.0, 3.0, 2.0]), name) for name in ("min", "median", "p95", "max")
    )


def test_what_is_not_known_yet_is_no_stage():
    """A pong without a PUBACK has a whole, and nothing between."""
    ping = OnePing(sent_s=1.0, pong_s=1.5, handling_ms=2.0)

    assert (500.0, None, None, 2.0) == (ping.whole_ms, ping.broker_ms, ping.between_ms, ping.node_ms)
    assert (None, None) == (OnePing(1.0).whole_ms, OnePing(1.0).node_ms)
