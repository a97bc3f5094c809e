"""Requests decided one by one, over a real Mosquitto, with a small agent that can."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from broker.messages import Decision, Round
from broker.vocabulary import Action, ModelName, Tier
from orchestrator.response_log import LOG_NAME

IMMEDIATE = {"mode": "immediate", "deadline_ms": 5000.0, "open_period_s": 0.1}
D0, D4 = ModelName("d0"), ModelName("d4")


def _rows(directory: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(directory / "files" / LOG_NAME)) as database:
        return database.execute(query).fetchall()


def _action(decision: Decision) -> Action:
    return Action(decision.tier, ModelName(decision.model))


def test_nobody_waits_for_a_device_that_does_not_ask_or_report(
    open_site: Any, serve_with: Any, averages: Any, tmp_path: Path
) -> None:
    """Beside one that never asks and one that never reports, the third gets ten decisions in ten rounds of its own."""

    async def scenario() -> tuple[list[Decision], list[Round]]:
        async with open_site() as site, serve_with(averages, rounds=IMMEDIATE):
            watcher = await site.watcher()
            await site.node("idle")
            silent = await site.node("silent", response_ms=lambda _decision: None)
            quick = await site.node("quick")
            await watcher.online()
            silent.ask()
            await silent.until(lambda: silent.decisions)
            for count in range(1, 11):
                quick.ask()
                await quick.until(lambda count=count: len(quick.decisions) == count)
            completed: list[Round] = await watcher.rounds(10)
            await quick.until(lambda: len(quick.acknowledged) == 10)
            return quick.decisions, completed

    decisions, completed = asyncio.run(scenario())

    assert [decision.round for decision in decisions] == [done.round for done in completed]
    assert {(1, 0, 10.0, "averages")} == {
        (done.summary.devices, done.summary.missing, done.summary.mean_response_ms, done.summary.policy)
        for done in completed
        if done.summary
    }
    logged = _rows(tmp_path, "SELECT round, node, count(*) FROM decision GROUP BY round, node ORDER BY round")
    first = logged[0][0]
    assert [(first, "silent", 1), *((first + place, "quick", 1) for place in range(1, 11))] == logged
    assert _rows(tmp_path, "SELECT round FROM response ORDER BY id") == [(first + place,) for place in range(1, 11)]


def test_the_agent_sees_all_devices_and_what_they_were_told_last(
    open_site: Any, serve_with: Any, averages: Any
) -> None:
    """Nothing for who was told nothing; the last action of the others; it learns what the device did, and nothing of
    the others."""

    async def scenario() -> list[Decision]:
        async with open_site() as site, serve_with(averages, rounds={**IMMEDIATE, "min_devices": 2}):
            watcher = await site.watcher()
            first, second = [await site.node(name) for name in ("s1", "s2")]
            await watcher.opened.wait()  # two are online
            first.ask()
            await first.until(lambda: len(first.decisions) == 1)
            await watcher.rounds(1)
            second.ask()
            await second.until(lambda: len(second.decisions) == 1)
            await watcher.rounds(1)
            first.ask()
            await first.until(lambda: len(first.decisions) == 2)
            await watcher.rounds(1)
            return [*first.decisions, *second.decisions]

    told_1, told_1_again, told_2 = map(_action, asyncio.run(scenario()))

    assert [("s1", "s2")] * 3 == [observation.devices for observation, _, _ in averages.calls]
    assert [(0, (None, None)), (1, (told_1, None)), (0, (told_1, told_2))] == [call[1:] for call in averages.calls]
    assert [(0, told_1, 10.0), (1, told_2, 10.0), (0, told_1_again, 10.0)] == [
        (place, executed, ms) for place, _, executed, ms in averages.lessons
    ]


def test_a_tier_that_went_away_is_no_longer_held(open_site: Any, serve_with: Any, averages: Any) -> None:
    """s1 was told the edge; when that has stopped, s2's decision counts s1 as told nothing."""
    averages.seen[Action(Tier.EDGE, D0)] = [5.0]

    async def scenario() -> Decision:
        async with open_site() as site, serve_with(averages, rounds={**IMMEDIATE, "min_devices": 2}):
            watcher = await site.watcher()
            edge = await site.node("edge", Tier.EDGE)
            first, second = [await site.node(name) for name in ("s1", "s2")]
            await watcher.opened.wait()
            while Tier.EDGE not in (decision.tier for decision in first.decisions):  # until its heart was heard
                before = len(first.decisions)
                first.ask()
                await first.until(lambda before=before: len(first.decisions) > before)
            await edge.client.stop()  # its state `stopped` is taken by the broker before s2 asks
            second.ask()
            await second.until(lambda: second.decisions)
            return second.decisions[0]

    told = asyncio.run(scenario())

    assert (1, (None, None)) == averages.calls[-1][1:]
    assert Tier.END is told.tier


def test_the_floor_is_of_the_joint_assignment_in_force(open_site: Any, serve_with: Any, averages: Any) -> None:
    """At 89.2 %, s1 runs d4 (88.9) only because s2 is held at d0 (89.9): 89.4 together."""
    averages.seen[Action(Tier.END, D4)] = [5.0]
    averages.seen[Action(Tier.END, D0)] = [50.0]

    async def scenario() -> tuple[Decision, Decision, list[Round]]:
        goal = {"policy": "random", "accuracy_floor": 89.2}
        async with open_site() as site, serve_with(averages, rounds=IMMEDIATE, goal=goal):
            watcher = await site.watcher()
            second = await site.node("s2")
            await watcher.opened.wait()
            second.ask()  # alone it has to run d0
            await second.until(lambda: second.decisions)
            alone = await watcher.rounds(1)
            first = await site.node("s1")
            first.ask()
            await first.until(lambda: first.decisions)
            return second.decisions[0], first.decisions[0], [*alone, *await watcher.rounds(1)]

    alone, together, completed = asyncio.run(scenario())

    assert ("d0", "d4") == (alone.model, together.model)
    assert [(89.9, True), (pytest.approx(89.4), True)] == [
        (done.summary.accuracy_percent, done.summary.floor_met) for done in completed if done.summary
    ]


def test_a_missing_report_is_learned_at_the_deadline(open_site: Any, serve_with: Any, averages: Any) -> None:
    """Nothing is said to have been done; the summary counts the deadline."""

    async def scenario() -> Round:
        rounds = {**IMMEDIATE, "deadline_ms": 100.0}
        async with open_site() as site, serve_with(averages, rounds=rounds):
            watcher = await site.watcher()
            silent = await site.node("s1", response_ms=lambda _decision: None)
            await watcher.online()
            silent.ask()
            done: Round = (await watcher.rounds(1))[0]
            return done

    done = asyncio.run(scenario())

    assert done.summary is not None
    assert (1, 1, 100.0) == (done.summary.devices, done.summary.missing, done.summary.mean_response_ms)
    assert [(None, None)] == [(executed, ms) for _, _, executed, ms in averages.lessons]


def test_an_agent_that_decides_jointly_is_asked_for_the_one_device(open_site: Any, orchestrator_process: Any) -> None:
    """Q-learning decides rounds of one device, in a process of its own; both devices are served, neither waits."""
    process = orchestrator_process(rounds={**IMMEDIATE, "window_ms": 60_000.0}, goal={"policy": "q_learning"})

    async def scenario() -> list[Round]:
        async with open_site() as site:
            watcher = await site.watcher()
            first, second = [await site.node(name) for name in ("s1", "s2")]
            await watcher.online()
            for device in (first, second, first):
                before = len(device.decisions)
                device.ask()
                await device.until(lambda device=device, before=before: len(device.decisions) == before + 1)
            completed: list[Round] = await watcher.rounds(3)
            return completed

    completed = asyncio.run(scenario())

    assert [("q_learning", 1)] * 3 == [
        (done.summary.policy, done.summary.devices) for done in completed if done.summary
    ]
    assert 0 == process.end()
    assert [("s1", 2), ("s2", 1)] == process.rows("SELECT node, count(DISTINCT round) FROM decision GROUP BY node")


def test_closed_loop_devices_are_told_again_and_again_that_they_may_ask(
    open_site: Any, serve_with: Any, averages: Any
) -> None:
    """Also while a request is under way, so that who comes later, or speaks an older protocol, is paced by it."""

    async def scenario() -> tuple[int, int]:
        async with open_site() as site, serve_with(averages, rounds=IMMEDIATE):
            silent = await site.node("silent", closed_loop=True, response_ms=lambda _decision: None, rounds_wanted=1)
            loop = await site.node("loop", closed_loop=True)
            await loop.until(lambda: len(loop.decisions) >= 5)
            return len(silent.decisions), len({decision.round for decision in loop.decisions})

    silent, rounds = asyncio.run(scenario())

    assert (1, True) == (silent, rounds >= 5)


def test_the_factored_agent_decides_at_once_and_says_why(open_site: Any, orchestrator_process: Any) -> None:
    """Each of a hundred requests of three devices is its decision, and every decision is explained in the log."""
    process = orchestrator_process(rounds=IMMEDIATE, goal={"policy": "factored", "accuracy_floor": 85.0})

    async def scenario() -> None:
        async with open_site() as site:
            watcher = await site.watcher()
            await site.node("edge", Tier.EDGE)
            devices = [await site.node(name) for name in ("s1", "s2", "s3")]
            await watcher.opened.wait()
            for count in range(100):
                device = devices[count % 3]
                before = len(device.decisions)
                device.ask()
                await device.until(lambda device=device, before=before: len(device.decisions) == before + 1)
            for device in devices:
                await device.until(lambda device=device: len(device.acknowledged) == len(device.decisions))

    asyncio.run(scenario())

    assert 0 == process.end()
    assert [("factored", 100, 100, 100)] == process.rows(
        "SELECT policy, count(DISTINCT round), count(predicted_ms), count(reason) FROM decision GROUP BY policy"
    )
