"""The end of each round, one after the other: reward, learning, checkpoint on disk, announcement.

A round is announced as complete only when what was learned from it is on disk, so an orchestrator that is killed
after that goes on exactly there. Rounds that completed meanwhile share one checkpoint.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from broker.errors import TierwiseError
from broker.events import event
from broker.messages import RoundSummary
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Agent, Immediate, Observation
from orchestrator.checkpoint import Checkpoint, write_checkpoint
from orchestrator.deciding import JointDecision
from orchestrator.goal import Memory, write_memory
from orchestrator.immediate import settle_one
from orchestrator.policies import Policies
from orchestrator.rounds import RoundEntry
from orchestrator.settling import Decided, settle

log = logging.getLogger(__name__)

MEMORY_NAME = "orchestrator.json"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What finishing needs from the conductor: the same devices seen again, what to remember, whom to tell."""

    observe_again: Callable[[Observation], Observation]
    memory: Callable[[], Memory]
    announce: Callable[[int, RoundSummary | None], None]


class Finisher:
    """Owns one task (`run`) and one thread that writes. Nothing that fails here stops the rounds: it is logged."""

    def __init__(
        self, directory: Path, every_rounds: int, policies: Policies, accuracies: Accuracies, around: Surroundings
    ) -> None:
        self._directory = directory
        self._every_rounds = every_rounds
        self._policies = policies
        self._accuracies = accuracies
        self._around = around
        self._ended: asyncio.Queue[tuple[RoundEntry, Decided | None]] = asyncio.Queue()
        self._unfinished = 0
        self._since_checkpoint = 0
        self._disk = ThreadPoolExecutor(1, "checkpoint")

    @property
    def busy(self) -> bool:
        """Whether a complete round is not announced yet."""
        return self._unfinished > 0

    def finish(self, entry: RoundEntry, decided: Decided | None) -> None:
        """Queue a complete round. `decided` is None where none of its devices could do anything."""
        self._unfinished += 1
        self._ended.put_nowait((entry, decided))

    def remember(self) -> None:
        """Write goal and round number soon, without waiting."""
        self._disk.submit(self._write, [], self._around.memory())

    async def run(self) -> None:
        """Finish rounds until cancelled."""
        while True:
            ended = [await self._ended.get()]
            while not self._ended.empty():
                ended.append(self._ended.get_nowait())
            summaries: list[tuple[int, RoundSummary | None]] = []
            for entry, decided in ended:
                if summaries:
                    await asyncio.sleep(0)  # a request may have come meanwhile
                summaries.append((entry.number, None if decided is None else self._learn(entry, decided)))
            self._since_checkpoint += len(ended)
            if self._since_checkpoint >= self._every_rounds:
                await self._checkpoint(_agents(decided for _, decided in ended))
            for number, summary in summaries:
                self._unfinished -= 1
                self._around.announce(number, summary)
                self._ended.task_done()

    async def close(self) -> None:
        """Finish what is complete, and save every agent. `run` must still run."""
        await self._ended.join()
        await self._checkpoint(self._policies.stateful())
        self._disk.shutdown()

    def _learn(self, entry: RoundEntry, decided: Decided) -> RoundSummary:
        joint = decided.joint
        if joint.place is None:
            again = self._around.observe_again(joint.observation)
            experience, summary = settle(entry, decided, self._accuracies, again)
            if joint.agent is not None:
                _teach(joint, partial(joint.agent.learn, experience))
            return summary
        executed, response_ms, summary = settle_one(entry, decided, self._accuracies)
        if isinstance(joint.agent, Immediate):
            lesson = (joint.observation, joint.place, joint.choice, executed, response_ms)
            _teach(joint, partial(joint.agent.learn_one, *lesson))
        return summary

    async def _checkpoint(self, agents: list[Agent]) -> None:
        self._since_checkpoint = 0
        saved = [(self._policies.checkpoint_path(agent), agent.save()) for agent in agents if agent.stateful]
        job = partial(self._write, saved, self._around.memory())
        await asyncio.get_running_loop().run_in_executor(self._disk, job)

    def _write(self, saved: list[tuple[Path, Checkpoint]], memory: Memory) -> None:
        try:
            for path, checkpoint in saved:
                write_checkpoint(path, checkpoint)
            write_memory(self._directory / MEMORY_NAME, memory)
        except OSError as error:
            event(log, logging.ERROR, "checkpoint_not_written", directory=self._directory, error=error)


def _teach(joint: JointDecision, learn: Callable[[], None]) -> None:
    try:
        learn()
    except TierwiseError as error:
        event(log, logging.ERROR, "agent_cannot_learn", policy=joint.policy, error=error)
    except Exception:  # a defect in an agent must not end the service
        log.exception("agent_failed policy=%s", joint.policy)


def _agents(decided: Iterable[Decided | None]) -> list[Agent]:
    """Those that learned from any of these rounds, each once."""
    agents = (one.joint.agent for one in decided if one is not None and one.joint.agent is not None)
    return list({id(agent): agent for agent in agents}.values())
