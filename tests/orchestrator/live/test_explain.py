"""Why something was decided: asked over a real Mosquitto, and `tierwise explain` as a person types it."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from broker.client import Inbound
from broker.messages import Decision, Explain, ExplainAsk
from broker.topics import Address, Channel, filter_for
from broker.vocabulary import Action, ModelName, NodeId, Tier
from orchestrator.decision_log import EXPLAINED_AT_ONCE
from orchestrator.response_log import LOG_NAME

D0, D4 = (Action(Tier.END, ModelName(name)) for name in ("d0", "d4"))
ALONE = {"min_devices": 1, "window_ms": 20.0, "open_period_s": 0.1}
GOAL = {"policy": "random", "accuracy_floor": 89.9}


class Curious:
    """Asks why, and hears the answers, as a program of its own."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._heard: asyncio.Queue[tuple[NodeId, Explain]] = asyncio.Queue()
        client.subscribe(filter_for(client.site, Channel.EXPLAIN), Channel.EXPLAIN, self._hear)

    def _hear(self, inbound: Inbound) -> None:
        assert isinstance(inbound.body, Explain)
        self._heard.put_nowait((inbound.address.node, inbound.body))

    async def ask(self, device: str, request_id: str | None = None) -> tuple[NodeId, Explain]:
        address = Address(self._client.site, NodeId(device), Channel.EXPLAIN_ASK)
        self._client.publish(address, ExplainAsk(request_id=request_id))
        return await asyncio.wait_for(self._heard.get(), 15)


async def _decided(device: Any) -> Decision:
    before = len(device.decisions)
    device.ask()
    await device.until(lambda: len(device.decisions) > before)
    decision: Decision = device.decisions[-1]
    return decision


def _tierwise(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tierwise", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": ".", "COLUMNS": "200"},
        check=False,
    )


def test_a_decision_is_explained_to_whoever_asks(open_site: Any, serve_with: Any, averages: Any) -> None:
    """By request and as the last one, on the device's topic; another's and unknown requests are not known."""
    averages.seen[D0], averages.seen[D4] = [300.0, 320.0], [100.0]

    async def scenario() -> list[Any]:
        async with open_site() as site, serve_with(averages, rounds=ALONE, goal=GOAL):
            watcher = await site.watcher()
            curious = Curious(watcher.client)
            device = await site.node("s1")
            await watcher.opened.wait()
            decision = await _decided(device)
            return [
                decision,
                await curious.ask("s1", decision.request_id),
                await curious.ask("s1"),
                await curious.ask("s2", decision.request_id),
                await curious.ask("s2"),
            ]

    decision, by_request, last, anothers, none = asyncio.run(scenario())

    expected = Explain(
        request_id=decision.request_id, round=decision.round, tier=Tier.END, model="d0", policy="averages",
        explored=False, predicted_ms=310.0, sd_ms=10.0, bounds=["floor"], reason="best",
    )  # fmt: skip
    assert ("s1", expected) == by_request == last
    assert ("s2", Explain(request_id=decision.request_id, refused="unknown_request")) == anothers
    assert ("s2", Explain(request_id=None, refused="unknown_request")) == none


def test_a_request_decided_alone_is_explained_too(open_site: Any, serve_with: Any, averages: Any) -> None:
    """In immediate mode; the runner-up is the next best beside what the others were told."""
    averages.seen[D0], averages.seen[D4] = [300.0], [340.0, 360.0]

    async def scenario() -> Explain:
        goal = {"policy": "random", "accuracy_floor": 88.9}
        async with open_site() as site, serve_with(averages, rounds={**ALONE, "mode": "immediate"}, goal=goal):
            watcher = await site.watcher()
            curious = Curious(watcher.client)
            device = await site.node("s1")
            await watcher.opened.wait()
            await _decided(device)
            return (await curious.ask("s1"))[1]

    said = asyncio.run(scenario())

    assert ("d0", 300.0, Tier.END, "d4", 350.0, 10.0, []) == (
        said.model, said.predicted_ms, said.runner_up_tier, said.runner_up_model, said.runner_up_ms,
        said.runner_up_sd_ms, said.bounds,
    )  # fmt: skip


def test_a_defect_in_the_explanation_does_not_stop_the_service(
    open_site: Any, serve_with: Any, averages: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decision leaves, is logged, and is known without a why; the next one too."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(averages, "_why", broken)

    async def scenario() -> list[tuple[str, Explain]]:
        async with open_site() as site, serve_with(averages, rounds=ALONE, goal=GOAL):
            watcher = await site.watcher()
            curious = Curious(watcher.client)
            device = await site.node("s1")
            await watcher.opened.wait()
            return [
                ((await _decided(device)).request_id, (await curious.ask("s1"))[1]),
                ((await _decided(device)).request_id, (await curious.ask("s1"))[1]),
            ]

    for request_id, said in asyncio.run(scenario()):
        assert (request_id, "d0", "not_explained") == (said.request_id, said.model, said.refused)


def test_every_device_of_a_large_round_is_explained(
    open_site: Any, serve_with: Any, averages: Any, tmp_path: Path
) -> None:
    """More devices than are explained in one turn of the loop."""
    count = EXPLAINED_AT_ONCE + 3

    async def scenario() -> int:
        async with open_site() as site, serve_with(averages, rounds={"min_devices": count, "window_ms": 60_000.0}):
            watcher = await site.watcher()
            for place in range(count):
                await site.node(f"s{place}", closed_loop=True, rounds_wanted=1)
            (done,) = await watcher.rounds(1)
            return int(done.summary.devices)

    devices = asyncio.run(scenario())
    with closing(sqlite3.connect(tmp_path / "files" / LOG_NAME)) as database:
        explained = database.execute("SELECT count(reason) FROM decision").fetchone()

    assert (count, (count,)) == (devices, explained)


def test_explain_says_in_plain_words_what_the_log_has(
    open_site: Any, serve_with: Any, averages: Any, tmp_path: Path
) -> None:
    """The last round: a sentence per device, and beside it what was measured; the same as JSON."""
    averages.seen[D0], averages.seen[D4] = [300.0, 320.0], [100.0]

    async def scenario() -> Decision:
        async with open_site() as site, serve_with(averages, rounds=ALONE, goal=GOAL):
            watcher = await site.watcher()
            device = await site.node("s1", response_ms=lambda _decision: 305.0)
            await watcher.opened.wait()
            decision = await _decided(device)
            await device.until(lambda: device.acknowledged)
            return decision

    decision = asyncio.run(scenario())
    directory = str(tmp_path / "files")
    table = _tierwise("explain", "--directory", directory)
    as_json = _tierwise("explain", "--directory", directory, "--request", decision.request_id, "--json")

    assert 0 == table.returncode, table.stderr
    shown = " ".join(table.stdout.split())
    assert f"Round {decision.round}, decided by averages" in shown
    assert "s1 runs d0 itself: a mean of 310 ms (known to 10 ms) expected; no other action" in shown
    assert "may be held back by the accuracy floor; chosen because best known. 305 ms" in shown
    (told,) = json.loads(as_json.stdout)["decisions"]
    assert ("s1", decision.round, {"tier": "end", "model": "d0"}) == (told["node"], told["round"], told["action"])
    assert (310.0, "floor", 305.0) == (
        told["why"]["predicted_ms"],
        told["why"]["bounds"],
        told["measured"]["response_ms"],
    )


def test_explain_asks_a_running_site(open_site: Any, orchestrator_process: Any) -> None:
    """A device's last decision; q_learning does not say why, and a device that is not there has none: exit code 1."""
    process = orchestrator_process(rounds=ALONE, goal={"policy": "q_learning"})
    config = str(process.config_file)

    async def scenario() -> None:
        async with open_site() as site:
            watcher = await site.watcher()
            device = await site.node("s1")
            await watcher.opened.wait()
            await _decided(device)

    asyncio.run(scenario())
    known = _tierwise("explain", "--live", "--config", config, "--device", "s1")
    unknown = _tierwise("explain", "--live", "--config", config, "--device", "s9")

    assert (1, True) == (known.returncode, "q_learning does not say why" in known.stderr)
    assert (1, True) == (unknown.returncode, "s9 was never told anything" in unknown.stderr)


def test_explain_asks_a_running_site_and_prints_the_sentence(
    open_site: Any, serve_with: Any, averages: Any, tmp_path: Path, mosquitto_endpoint: Any, site: Any
) -> None:
    """With the orchestrator's YAML alone, from anywhere."""
    averages.seen[D0], averages.seen[D4] = [300.0, 320.0], [100.0]
    config = tmp_path / "orchestrator.yaml"
    broker = f"{{host: {mosquitto_endpoint.host}, port: {mosquitto_endpoint.port}}}"
    config.write_text(f"version: 1\nsite: {site}\nbroker: {broker}\n")
    arguments = ["explain", "--live", "--config", str(config), "--device", "s1"]

    async def scenario() -> subprocess.CompletedProcess[str]:
        async with open_site() as here, serve_with(averages, rounds=ALONE, goal=GOAL):
            watcher = await here.watcher()
            device = await here.node("s1")
            await watcher.opened.wait()
            await _decided(device)
            return await asyncio.to_thread(_tierwise, *arguments)

    done = asyncio.run(scenario())

    assert 0 == done.returncode, done.stderr
    assert "s1 runs d0 itself: a mean of 310 ms (known to 10 ms) expected" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "an older Tierwise"),
        (["--round", "7"], "no such decision"),
        (["--device", "s9"], "no such decision"),
    ],
)
def test_explain_refuses_a_log_without_explanations(tmp_path: Path, arguments: list[str], said: str) -> None:
    """One of version 1 that no orchestrator has opened since: exit code 1, one line."""
    with closing(sqlite3.connect(tmp_path / LOG_NAME)) as database:
        database.executescript((Path(__file__).parents[1] / "response-log-1.sql").read_text())
    done = _tierwise("explain", "--directory", str(tmp_path), *arguments)

    assert (1, True) == (done.returncode, said in done.stderr), done.stderr
    assert 1 == len(done.stderr.splitlines())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--live"], "--config"), (["--live", "--config", "x.yaml"], "--device"), (["--config", "x.yaml"], "--live")],
)
def test_explain_says_what_goes_together(arguments: list[str], said: str) -> None:
    """Wrong usage is exit code 2."""
    done = _tierwise("explain", *arguments)

    assert (2, True) == (done.returncode, said in done.stderr), done.stderr
