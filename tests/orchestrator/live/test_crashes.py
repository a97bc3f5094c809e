"""The orchestrator is killed, started twice, or finds its files broken."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from broker.messages import Decision
from broker.vocabulary import Tier
from configs.orchestrator import QLearningSection, StateSection
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Experience
from orchestrator.agents.q_learning import QLearning
from orchestrator.reward import reward

SHORT = {"min_devices": 2, "deadline_ms": 300.0, "window_ms": 150.0}
Q_LEARNING = {"policy": "q_learning"}


def _world_ms(decision: Decision) -> float:
    """A device's response time as a pure function of what it was told: the same in the reference run."""
    return 50.0 + 40.0 * int(decision.model[1]) + {Tier.END: 0.0, Tier.EDGE: 13.0, Tier.CLOUD: 29.0}[decision.tier]


SETTINGS = {"epsilon_decay": 0.1, "alpha": 0.5}


def _reference(accuracies: Accuracies, observe: Any, rounds: int) -> list[list[str]]:
    """What an agent that was never killed chooses in the same world, under the same seed."""
    able = tuple(action for action in observe(1).actions[0] if action.tier is not Tier.CLOUD)
    seen = observe(2, 890, cpu_percent=3.0, actions=[able, able])
    agent = QLearning(QLearningSection.model_validate(SETTINGS), StateSection(), dict(accuracies.tenths), seed=7)
    chosen = []
    for _ in range(rounds):
        choice = agent.act(seen)
        chosen.append([str(action) for action in choice.actions])
        decided = [
            Decision(request_id="reference", round=1, tier=action.tier, model=action.model, serving_node="x",
                     fallback_model="d0", deadline_ms=1.0, policy="", policy_version=1, explored=False)
            for action in choice.actions
        ]  # fmt: skip
        times_ms = tuple(_world_ms(decision) for decision in decided)
        meets = accuracies.meets([action.model for action in choice.actions], 890)
        agent.learn(Experience(seen, choice, choice.actions, times_ms, reward(times_ms, meets, 10_000.0), seen))
    return chosen


def test_killed_and_resumed_it_chooses_exactly_as_if_never_killed(
    open_site: Any, orchestrator_process: Any, accuracies: Accuracies, observe: Any
) -> None:
    """kill -9 after round 8 of 30: the 30 joint actions are those of one uninterrupted agent."""
    rounds = {"min_devices": 2, "window_ms": 60_000.0}
    process = orchestrator_process(rounds=rounds, goal=Q_LEARNING, q_learning=SETTINGS)

    async def scenario() -> tuple[list[int], list[list[str]]]:
        async with open_site() as site:
            watcher = await site.watcher()
            await site.node("edge", Tier.EDGE)
            devices = [
                await site.node(n, closed_loop=True, rounds_wanted=0, response_ms=_world_ms) for n in ("s1", "s2")
            ]
            completed = []
            for killed_after in (8, 30):
                for device in devices:  # so that nothing runs when it is killed
                    device.rounds_wanted = killed_after
                completed += [done.round for done in await watcher.rounds(killed_after - len(completed))]
                await asyncio.to_thread(process.end, signal.SIGKILL)
                process.start()
        told: dict[int, list[str]] = {number: [] for number in completed}
        for device in devices:
            for decision in device.decisions:
                if decision.round in told:
                    told[decision.round].append(f"{decision.model}@{decision.tier}")
        return completed, list(told.values())

    completed, told = asyncio.run(scenario())

    assert _reference(accuracies, observe, 30) == told
    assert sorted(set(completed)) == completed


def test_no_response_is_lost_over_kills_at_any_moment(open_site: Any, orchestrator_process: Any) -> None:
    """Five times kill -9 in the middle of rounds: in the end each decided request is one row, no round number repeats.

    Devices send again what was not acknowledged, as the protocol asks, also where the decision was lost.
    """
    process = orchestrator_process(rounds=SHORT, goal=Q_LEARNING, q_learning=SETTINGS)

    async def scenario() -> list[Any]:
        async with open_site() as site:
            watcher = await site.watcher()
            devices = [await site.node(name, closed_loop=True) for name in ("s1", "s2")]
            for kill in range(5):
                await watcher.rounds(2 + kill)
                await asyncio.to_thread(process.end, signal.SIGKILL)
                process.start()
            await watcher.rounds(2)
            for device in devices:
                device.rounds_wanted = 0
                for decision in device.decisions:
                    if decision.request_id not in device.acknowledged:
                        device.report(decision, _world_ms(decision))
                await device.until(lambda node=device: {d.request_id for d in node.decisions} <= node.acknowledged)
        return devices

    devices = asyncio.run(scenario())

    assert 0 == process.end()
    stored = [request_id for (request_id,) in process.rows("SELECT request_id FROM response")]
    decided = {decision.request_id for device in devices for decision in device.decisions}
    assert len(decided) > 20
    assert decided <= set(stored)
    assert len(set(stored)) == len(stored)
    assert [] == process.rows("SELECT node, round FROM decision GROUP BY node, round HAVING count(*) > 1")


def test_a_second_orchestrator_on_the_same_files_is_refused(open_site: Any, orchestrator_process: Any) -> None:
    """One folder, one process; the message says what to do."""
    process = orchestrator_process()

    async def until_online() -> None:
        async with open_site() as site:
            watcher = await site.watcher()
            await watcher.online()

    asyncio.run(until_online())
    second = type(process)(process.config, process.log_path.parent)
    second.log_path = process.log_path.with_name("second.log")
    second.start()
    assert 1 == second.wait()
    assert "another orchestrator keeps its files in" in second.log()


@pytest.mark.parametrize("content", [b"torn", b""])
def test_a_broken_checkpoint_is_refused_at_the_start(orchestrator_process: Any, content: bytes) -> None:
    """Exit code 1 and one line that names the file; it is neither overwritten nor ignored."""
    process = orchestrator_process(start=False, goal=Q_LEARNING)
    directory = process.config.files.directory
    directory.mkdir()
    (directory / "q_learning.npz").write_bytes(content)
    process.start()

    assert 1 == process.wait()
    assert "q_learning.npz" in process.log().splitlines()[-1]
    assert content == (directory / "q_learning.npz").read_bytes()
