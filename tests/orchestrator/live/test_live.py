"""The live loop against a real Mosquitto, with scripted devices."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import paho.mqtt.publish

from broker.messages import Decision, Goal, GoalSet, Round
from broker.topics import Address, Channel, topic_for
from broker.vocabulary import NodeId, NodeState, Outcome, Tier
from configs.orchestrator import QLearningSection, StateSection
from orchestrator.accuracy import Accuracies
from orchestrator.agents.q_learning import QLearning
from orchestrator.checkpoint import read_checkpoint

ORCHESTRATOR = NodeId("orchestrator")
SHORT = {"min_devices": 2, "deadline_ms": 300.0, "window_ms": 150.0}
Q_LEARNING = {"policy": "q_learning"}


async def _all_acknowledged(device: Any) -> None:
    await device.until(lambda: {decision.request_id for decision in device.decisions} <= device.acknowledged)


def test_rounds_happen_and_every_report_is_one_row(open_site: Any, orchestrator_process: Any) -> None:
    """Three closed-loop devices complete ten rounds; each request has one decision, one row, one acknowledgement."""
    process = orchestrator_process(rounds={"min_devices": 3, "window_ms": 60_000.0})

    async def scenario() -> list[Round]:
        async with open_site() as site:
            watcher = await site.watcher()
            await site.node("edge", Tier.EDGE)
            devices = [await site.node(name, closed_loop=True, rounds_wanted=10) for name in ("s1", "s2", "s3")]
            completed: list[Round] = await watcher.rounds(10)
            for device in devices:
                await _all_acknowledged(device)
        return completed

    completed = asyncio.run(scenario())

    assert 0 == process.end()
    assert [1] * 9 == [later.round - earlier.round for earlier, later in pairwise(completed)]
    assert {(3, 0)} == {(done.summary.devices, done.summary.missing) for done in completed if done.summary}
    reports = process.rows("SELECT node, request_id, round, policy FROM response ORDER BY 1, 2")
    assert process.rows("SELECT node, request_id, round, policy FROM decision ORDER BY 1, 2") == reports
    assert len(reports) == 30


def test_a_device_that_does_not_report_holds_its_round_until_the_deadline(
    open_site: Any, orchestrator_process: Any
) -> None:
    """The round completes without its report, whose response time counts as the deadline; the next round follows."""
    rounds = {**SHORT, "window_ms": 60_000.0}
    orchestrator_process(rounds=rounds, goal={"policy": "device_only", "accuracy_floor": "min"})

    async def scenario() -> list[Round]:
        async with open_site() as site:
            watcher = await site.watcher()
            await site.node("s1", closed_loop=True)
            await site.node("s2", closed_loop=True, response_ms=lambda _decision: None)
            completed: list[Round] = await watcher.rounds(2)
        return completed

    for done in asyncio.run(scenario()):
        assert done.summary is not None
        missing = done.summary.missing  # 2 where the other one's report was late too
        assert missing in (1, 2)
        assert (2, (10.0 * (2 - missing) + 300.0 * missing) / 2) == (
            done.summary.devices, done.summary.mean_response_ms,
        )  # fmt: skip


def test_a_device_that_does_not_ask_is_left_out_when_the_window_ends(open_site: Any, orchestrator_process: Any) -> None:
    """Rounds go on with the one that asks; both are served once the other asks too."""
    orchestrator_process(rounds=SHORT, goal={"policy": "device_only"})

    async def scenario() -> list[int]:
        async with open_site() as site:
            watcher = await site.watcher()
            await site.node("s1", closed_loop=True)
            late = await site.node("s2")
            alone = await watcher.rounds(4)
            late.closed_loop = True
            together = await watcher.rounds(4)
        return [done.summary.devices for done in (*alone, together[-1]) if done.summary]

    assert [1, 1, 1, 1, 2] == asyncio.run(scenario())


def test_forged_and_malformed_messages_are_refused_and_counted(
    open_site: Any, orchestrator_process: Any, site: Any, mosquitto_endpoint: Any
) -> None:
    """Each with its reason, and rounds go on."""
    process = orchestrator_process(rounds={"min_devices": 1}, goal={"policy": "device_only"})

    async def scenario() -> None:
        async with open_site() as here:
            watcher = await here.watcher()
            silent = await here.node("s1", response_ms=lambda _decision: None)
            thief = await here.node("s2")
            edge = await here.node("edge", Tier.EDGE)
            await watcher.online()
            edge.ask()  # not an end device
            silent.ask("request-1")
            await silent.until(lambda: silent.decisions)
            decision: Decision = silent.decisions[0]
            silent.ask("request-1")  # the id was taken before
            thief.report(decision, 1.0)  # s1's request
            thief.report(decision, 1.0, request_id="invented-id")
            for topic, payload in _bad(here.site):
                await asyncio.to_thread(_publish, mosquitto_endpoint, topic, payload)
            thief.client.publish(Address(here.site, ORCHESTRATOR, Channel.GOAL_SET), GoalSet(policy="best"))
            silent.report(decision, 12.0, outcome=Outcome.FALLEN_BACK)
            await silent.until(lambda: "request-1" in silent.acknowledged)
            thief.report(decision, 9.0, request_id="nobody-answered", decided=False)
            await thief.until(lambda: "nobody-answered" in thief.acknowledged)
            assert len(await watcher.rounds(1)) == 1

    asyncio.run(scenario())

    assert 0 == process.end()
    stopped = next(line for line in process.log().splitlines() if "orchestrator_stopped" in line)
    for refusal in ("not_an_end_device:1", "duplicate:1", "foreign_request:1", "unknown_node:1",
                    "malformed:3", "oversized:1", "bad_goal:1", "empty:1"):  # fmt: skip
        assert refusal in stopped
    stored = process.rows("SELECT node, policy, outcome FROM response ORDER BY id")
    assert [("s2", "unknown", "done"), ("s1", "device_only", "fallen_back"), ("s2", "none", "done")] == stored


def _bad(site: Any) -> list[tuple[str, bytes]]:
    def topic(node: str, channel: Channel) -> str:
        return topic_for(Address(site, NodeId(node), channel))

    return [
        (topic("stranger", Channel.REQUEST), b'{"request_id": "request-9"}'),  # no birth
        (topic("s1", Channel.REQUEST), b"{"),
        (topic("s1", Channel.REQUEST), b'{"request_id": "a/b/c/d/e"}'),
        (topic("s1", Channel.REPORT), b'{"request_id": 7}'),
        (topic("s1", Channel.TELEMETRY), b" " * 20_000),
        (topic("s1", Channel.STATE), b""),
    ]


def _publish(endpoint: Any, topic: str, payload: bytes) -> None:
    paho.mqtt.publish.single(topic, payload, qos=1, hostname=endpoint.host, port=endpoint.port)


def test_the_goal_changes_while_it_runs_and_the_table_is_kept(
    open_site: Any, orchestrator_process: Any, accuracies: Accuracies
) -> None:
    """Q-learning, device only at another floor, and back; versions grow, and learning goes on where it was."""
    process = orchestrator_process(rounds={"min_devices": 1}, goal=Q_LEARNING)

    async def scenario() -> list[tuple[Goal, Round]]:
        seen = []
        async with open_site() as site:
            watcher = await site.watcher()
            await site.node("s1", closed_loop=True)
            await watcher.rounds(3)
            for wanted in (
                GoalSet(policy="device_only", accuracy_floor_percent=85.0),
                GoalSet(policy="q_learning"),
            ):
                watcher.client.publish(Address(site.site, ORCHESTRATOR, Channel.GOAL_SET), wanted)
                async with asyncio.timeout(120):
                    goal = await watcher.goals.get()
                    while goal.policy != wanted.policy or goal.policy_version == 1:
                        goal = await watcher.goals.get()
                done = (await watcher.rounds(1))[0]
                while done.summary.policy_version != goal.policy_version:
                    done = (await watcher.rounds(1))[0]
                seen.append((goal, done))
        return seen

    (first, under_first), (second, under_second) = asyncio.run(scenario())

    assert (85.0, "device_only", 2) == (first.accuracy_floor_percent, first.policy, first.policy_version)
    assert (85.0, "q_learning", 3) == (second.accuracy_floor_percent, second.policy, second.policy_version)
    assert ("device_only", 85.0) == (under_first.summary.policy, under_first.summary.accuracy_floor_percent)  # type: ignore[union-attr]
    assert "q_learning" == under_second.summary.policy  # type: ignore[union-attr]
    assert 0 == process.end()
    rounds = process.rows("SELECT count(DISTINCT round) FROM decision WHERE policy='q_learning'")[0][0]
    agent = QLearning(QLearningSection(), StateSection(), dict(accuracies.tenths))
    agent.load(read_checkpoint(process.config.files.directory / "q_learning.npz"))
    assert rounds - 1 <= agent.updates <= rounds  # a round may have been running at the end


def test_sigterm_ends_cleanly(open_site: Any, orchestrator_process: Any) -> None:
    """Exit code 0, retained state `stopped`, and a request that was taken is still decided."""
    process = orchestrator_process(rounds={"min_devices": 2, "window_ms": 60_000.0}, goal={"policy": "device_only"})

    async def scenario() -> tuple[int, NodeState, int]:
        async with open_site() as site:
            watcher = await site.watcher()
            waiting = await site.node("s1")
            await site.node("s2")
            await watcher.online()
            waiting.ask()  # s2 never asks, and the window is a minute
            watcher.client.publish(Address(site.site, ORCHESTRATOR, Channel.GOAL_SET), GoalSet(policy="device_only"))
            async with asyncio.timeout(120):
                while (await watcher.goals.get()).policy_version == 1:  # the request was handled before
                    pass
            code = await asyncio.to_thread(process.end)
            await waiting.until(lambda: waiting.decisions)
            async with asyncio.timeout(120):
                state = await watcher.states.get()
                while state is NodeState.ONLINE:
                    state = await watcher.states.get()
        return code, state, len(waiting.decisions)

    assert (0, NodeState.STOPPED, 1) == asyncio.run(scenario())
    assert 1 == len(process.rows("SELECT * FROM decision"))


def test_rounds_go_on_when_the_agent_cannot_decide(open_site: Any, orchestrator_process: Any) -> None:
    """Seven devices are too many for a Q-table: each runs the local model that keeps the floor, and it is counted."""
    process = orchestrator_process(rounds={"min_devices": 7, "window_ms": 60_000.0}, goal=Q_LEARNING)

    async def scenario() -> tuple[list[Round], list[Any]]:
        async with open_site() as site:
            watcher = await site.watcher()
            await site.node("edge", Tier.EDGE)
            await site.node("cloud", Tier.CLOUD)
            devices = [await site.node(f"s{place}", closed_loop=True) for place in range(1, 8)]
            return await watcher.rounds(2), devices

    completed, devices = asyncio.run(scenario())

    assert {("safe_fallback", True, 7)} == {
        (done.summary.policy, done.summary.floor_met, done.summary.devices) for done in completed if done.summary
    }
    assert {Tier.END} == {decision.tier for device in devices for decision in device.decisions}
    assert 0 == process.end()
    assert "agent_cannot_decide" in process.log()
