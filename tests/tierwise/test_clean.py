"""`tierwise clean` on a real Mosquitto: what is removed, and what must never be."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
from collections.abc import Iterator

import pytest
from typer.testing import CliRunner

from broker.client import Endpoint, MqttClient
from broker.clock import SystemClock
from broker.messages import Birth, Heartbeat
from broker.tap import Tap
from broker.topics import Address, Channel, filter_for_everything
from broker.vocabulary import NodeState, SiteId, Tier, node_id
from tierwise.cleaning import Cleaning
from tierwise.commands import clean as command
from tierwise.ghosts import Survey, judge
from tierwise.person import Bus, linked, name_for

WAIT_S = 120.0
LOOK_S = 0.2
S1 = node_id("s1")
OLD_BIRTH = '{"session": 5, "tier": "end", "agent_version": "1", "vcpus": 1, "models": {}}'
NEW_BIRTH = OLD_BIRTH.replace("5", "6")
OFFLINE = '{"session": 5, "state": "offline"}'


def retained_at(endpoint: Endpoint, site: SiteId) -> dict[str, str]:
    """What a new subscriber gets: below the site, topic and payload."""

    async def look() -> Survey:
        async with Cleaning(Bus(endpoint, site), SystemClock()) as cleaning:
            await cleaning.look(LOOK_S)
            return cleaning.survey

    survey = asyncio.run(look())
    return {topic.removeprefix(f"tierwise/v1/{site}/"): payload.decode() for topic, payload in survey.retained.items()}


def ghost_of(stranger) -> None:
    """A device that the broker lost."""
    stranger.says("s1/birth", OLD_BIRTH)
    stranger.says("s1/state", OFFLINE)


class LivingNode:
    """A node of ours that announces itself and beats, in a loop of its own."""

    def __init__(self, endpoint: Endpoint, site: SiteId, node: str) -> None:
        self.client = MqttClient(endpoint, site, node_id(node), "agent")
        self.client.on_connect.append(self._announce)

    def _announce(self) -> None:
        birth = Birth(session=self.client.session, tier=Tier.END, agent_version="1", vcpus=1, models={})
        self.client.publish(Address(self.client.site, self.client.node, Channel.BIRTH), birth)
        self.client.publish_state(NodeState.ONLINE)

    async def beat(self) -> None:
        for seq in range(10_000):
            if self.client.connected:
                body = Heartbeat(session=self.client.session, seq=seq)
                self.client.publish(Address(self.client.site, self.client.node, Channel.HEARTBEAT), body)
            await asyncio.sleep(0.05)


def test_ghosts_are_removed_and_a_living_node_and_other_sites_stay(mosquitto_endpoint, site, stranger, stranger_at):
    """Of the dead all, of the living only what nobody would act on; with --yes nobody is asked."""
    ghost_of(stranger)
    stranger.says("s2/decision", "{}")
    stranger.says("s3/state", "}{")
    elsewhere = stranger_at(mosquitto_endpoint, SiteId(f"{site}-b"))
    ghost_of(elsewhere)

    async def scenario() -> tuple[int, dict[str, list[str]]]:
        living = LivingNode(mosquitto_endpoint, site, "s2")
        async with linked(living.client):
            beating = asyncio.create_task(living.beat(), name="beat")
            try:
                return await _clean(mosquitto_endpoint, site, "--yes", "--json")
            finally:
                beating.cancel()

    code, told = asyncio.run(scenario())
    left = retained_at(mosquitto_endpoint, site)

    assert 0 == code
    below = [topic.removeprefix(f"tierwise/v1/{site}/") for topic in told["removed"]]
    assert ["s1/birth", "s1/state", "s2/decision", "s3/state"] == below
    assert {"s2/birth", "s2/state"} == set(left)
    assert {"s1/birth", "s1/state"} == set(retained_at(mosquitto_endpoint, elsewhere.site))


async def _clean(endpoint: Endpoint, site: SiteId, *arguments: str) -> tuple[int, dict[str, list[str]]]:
    place = ["--site", site, "--host", endpoint.host, "--port", str(endpoint.port)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tierwise", "clean", *arguments, *place, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), WAIT_S)
    return process.returncode or 0, json.loads(output)


def test_where_nobody_can_be_asked_it_only_shows(mosquitto_endpoint, site, stranger, monkeypatch):
    """Exit code 0, what it found, and that nothing was removed."""
    ghost_of(stranger)
    monkeypatch.setattr(command, "LEAST_LOOK_S", 1)
    place = ["--site", site, "--port", str(mosquitto_endpoint.port), "--for", "1s"]
    done = CliRunner().invoke(command.app, place)

    assert 0 == done.exit_code
    assert "s1/state" in done.stdout
    assert "offline, and silent" in done.stdout
    assert "nothing was removed: there is no terminal to ask at" in done.stdout
    assert {"s1/birth": OLD_BIRTH, "s1/state": OFFLINE} == retained_at(mosquitto_endpoint, site)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a pseudo-terminal."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def test_a_node_that_comes_alive_between_showing_and_removing_stays(
    mosquitto_endpoint, site, stranger, person, terminal
):
    """It is shown, it comes back while the question stands, the answer is yes: only the other one is removed."""
    ours, theirs = terminal
    ghost_of(stranger)
    stranger.says("s2/state", OFFLINE)
    process = person(mosquitto_endpoint, site, "clean", stdin=theirs, stdout=theirs, stderr=theirs)
    shown = _read_until(ours, "Remove these 3?")
    stranger.says("s1/birth", NEW_BIRTH)
    stranger.says("s1/state", '{"session": 6, "state": "online"}')
    os.write(ours, b"y\n")
    told = _read_until(ours, "changed or came back meanwhile\r\n  tierwise")
    code = process.wait(WAIT_S)

    assert 0 == code
    assert "s1/state" in shown
    assert "1 removed, left as they are:" in told
    left = retained_at(mosquitto_endpoint, site)
    assert {"s1/birth": NEW_BIRTH, "s1/state": '{"session": 6, "state": "online"}'} == left


def _read_until(terminal: int, text: str) -> str:
    read = ""
    while text not in read:
        read += os.read(terminal, 4096).decode()
    return read


def test_a_node_that_slips_in_at_the_moment_of_the_removal_is_put_back(mosquitto_endpoint, site, stranger, monkeypatch):
    """Its new words reach the broker after the decision and before the removal, which takes them away: they return."""
    ghost_of(stranger)
    stranger.says("s2/state", OFFLINE)
    real = Tap.publish_retained

    def slow(tap: Tap, topic: str, payload: bytes) -> None:
        if topic.endswith("s1/birth") and not payload:
            stranger.says("s1/birth", NEW_BIRTH)
        real(tap, topic, payload)

    async def scenario():
        async with Cleaning(Bus(mosquitto_endpoint, site), SystemClock()) as cleaning:
            await cleaning.look(LOOK_S)
            ghosts = judge(cleaning.survey, LOOK_S, 0.0).ghosts
            monkeypatch.setattr(Tap, "publish_retained", slow)
            return await cleaning.remove(ghosts)

    cleaned = asyncio.run(scenario())
    below = [[ghost.topic.partition(f"{site}/")[2] for ghost in some] for some in (cleaned.removed, cleaned.came_back)]

    assert [["s1/state", "s2/state"], ["s1/birth"]] == below
    assert {"s1/birth": NEW_BIRTH} == retained_at(mosquitto_endpoint, site)


def test_a_node_that_is_heard_after_the_judgement_is_left(mosquitto_endpoint, site, stranger):
    """One heartbeat is enough, though its retained words are still the old ones."""
    ghost_of(stranger)

    async def scenario():
        async with Cleaning(Bus(mosquitto_endpoint, site), SystemClock()) as cleaning:
            await cleaning.look(LOOK_S)
            ghosts = judge(cleaning.survey, LOOK_S, 0.0).ghosts
            stranger.says("s1/heartbeat", "{}", retain=False)
            await cleaning.look(LOOK_S)
            return await cleaning.remove(ghosts)

    cleaned = asyncio.run(scenario())

    assert (0, 2) == (len(cleaned.removed), len(cleaned.came_back))
    assert {"s1/birth": OLD_BIRTH, "s1/state": OFFLINE} == retained_at(mosquitto_endpoint, site)


def test_a_tap_hears_what_no_node_would(mosquitto_endpoint, site, stranger):
    """Any topic below the site, any bytes."""

    async def scenario() -> list[bytes]:
        heard: asyncio.Queue[bytes] = asyncio.Queue()
        tap = Tap(mosquitto_endpoint, site, name_for("test"), lambda publish, _: heard.put_nowait(publish.payload))
        tap.listen(filter_for_everything(site))
        async with linked(tap):
            await tap.wait_connected(120.0)
            stranger.says("x/y/z/none", "}{", retain=False)
            return [await asyncio.wait_for(heard.get(), WAIT_S)]

    assert [b"}{"] == asyncio.run(scenario())
