"""The end of rounds: learned in order, on disk, and only then announced."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest

from broker.messages import Report, RoundSummary, Stages
from broker.vocabulary import Action, ModelName, NodeId, Outcome, RequestId, Tier
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Choice
from orchestrator.checkpoint import Checkpoint, read_checkpoint
from orchestrator.deciding import JointDecision
from orchestrator.finishing import Finisher, Surroundings
from orchestrator.goal import Memory
from orchestrator.rounds import Asked, RoundEntry
from orchestrator.settling import Decided

D0 = Action(Tier.END, ModelName("d0"))


class Counting:
    """An agent that notes what it learns, and how often it is saved."""

    name = "counting"
    stateful = True

    def __init__(self) -> None:
        self.learned: list[float | None] = []
        self.saves = 0

    def act(self, observation: Any) -> Choice:
        raise NotImplementedError

    def act_one(self, observation: Any, place: int, held: Any) -> Choice:
        raise NotImplementedError

    def learn(self, experience: Any) -> None:
        self.learned += experience.response_ms

    def learn_one(self, observation: Any, place: int, choice: Any, executed: Any, response_ms: float | None) -> None:
        self.learned.append(response_ms)

    def save(self) -> Checkpoint:
        self.saves += 1
        return Checkpoint(self.name, len(self.learned))

    def load(self, checkpoint: Checkpoint) -> None: ...


class OneAgent:
    """Stands in for Policies: the finisher asks where checkpoints go, and for all agents at the end."""

    def __init__(self, directory: Path, agent: Counting) -> None:
        self._directory, self._agent = directory, agent

    def checkpoint_path(self, agent: Any) -> Path:
        return self._directory / f"{agent.name}.npz"

    def stateful(self) -> list[Any]:
        return [self._agent]


def _entry(number: int) -> RoundEntry:
    request = RequestId(f"request-{number}")
    report = Report(
        request_id=request, outcome=Outcome.DONE, decided=True, tier=Tier.END, model="d0", serving_node="s1",
        response_ms=float(number), stages=Stages(),
    )  # fmt: skip
    return RoundEntry(number, 0.0, {NodeId("s1"): Asked(NodeId("s1"), request, report)})


@pytest.mark.parametrize("place", [None, 0])
def test_rounds_that_completed_meanwhile_share_one_checkpoint(
    accuracies: Accuracies, observe: Any, tmp_path: Path, place: int | None
) -> None:
    """Five rounds, joint or of one request: learned in order, saved once, each announced when that is on disk."""
    agent, told = Counting(), []
    memory = Memory(
        form=1, next_round=9, policy_version=1, floor_tenths=0, policy="random", configured_floor_tenths=0,
        configured_policy="random",
    )  # fmt: skip

    def announce(number: int, summary: RoundSummary | None) -> None:
        told.append((number, summary and summary.mean_response_ms, read_checkpoint(tmp_path / "counting.npz").version))

    async def scenario() -> None:
        policies: Any = OneAgent(tmp_path, agent)
        finisher = Finisher(
            tmp_path, 1, policies, accuracies, Surroundings(lambda seen: seen, lambda: memory, announce)
        )
        joint = JointDecision(observe(1), Choice((D0,)), (ModelName("d0"),), "counting", agent, place, (None,))
        for number in range(1, 6):
            finisher.finish(_entry(number), Decided(joint, 1, 5000.0, 10_000.0))
        assert finisher.busy
        running = asyncio.create_task(finisher.run(), name="finisher")
        async with asyncio.timeout(120):
            await finisher.close()
        running.cancel()
        assert not finisher.busy

    asyncio.run(scenario())

    assert [1.0, 2.0, 3.0, 4.0, 5.0] == agent.learned
    assert [(number, float(number), 5) for number in range(1, 6)] == told
    assert 2 == agent.saves  # the second at the end


def test_a_full_disk_is_told_of_ever_more_rarely_and_when_it_is_over(
    accuracies: Accuracies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand checkpoints that fail are ten lines, not a thousand; the first that succeeds again is one."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def scenario() -> None:
        agent = Counting()
        policies: Any = OneAgent(tmp_path, agent)
        around = Surroundings(lambda seen: seen, lambda: pytest.fail("not asked"), lambda *_: None)
        finisher = Finisher(tmp_path, 1, policies, accuracies, around)
        with monkeypatch.context() as patched:
            patched.setattr("orchestrator.finishing.write_checkpoint", full)
            for _ in range(1000):
                finisher.save(agent, agent.save())
        finisher.save(agent, agent.save())

    asyncio.run(scenario())
    lines = [record.getMessage() for record in caplog.records]

    assert 10 == sum("checkpoint_not_written" in line for line in lines)
    assert 1 == sum("checkpoint_written_again" in line and "after_failures=1000" in line for line in lines)
