"""The end of each round, one after the other: reward, learning, checkpoint on disk, announcement.

A round is announced as complete only when what was learned from it is on disk, so an orchestrator that is killed
after that goes on exactly there. Rounds that completed meanwhile share one checkpoint. Where each request is a round,
a checkpoint for each would cost more than all else: there they have a least pause, and announcing does not wait for
them; a kill costs what was learned in that pause.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
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
from orchestrator.large_site import settle_beside
from orchestrator.policies import Policies
from orchestrator.rounds import RoundEntry
from orchestrator.settling import Decided, settle

log = logging.getLogger(__name__)

MEMORY_NAME = "orchestrator.json"
MOST_UNFINISHED = 10_000  # complete rounds that wait to be learned from; more end without teaching anybody
LEARNS_AT_ONCE_S = 0.002  # a request waits no longer than for so much of learning, and the step under way


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What finishing needs from the conductor: the same devices seen again, what to remember, whom to tell."""

    observe_again: Callable[[Observation], Observation]
    memory: Callable[[], Memory]
    announce: Callable[[int, RoundSummary | None], None]


class Finisher:
    """Owns one task (`run`) and one thread that writes. Nothing that fails here stops the rounds: it is logged."""

    def __init__(
        self,
        directory: Path,
        every_rounds: int,
        policies: Policies,
        accuracies: Accuracies,
        around: Surroundings,
        pause_s: float = 0.0,
    ) -> None:
        """`pause_s`: the least time between two checkpoints; above 0 announcing does not wait for them."""
        self._directory = directory
        self._every_rounds = every_rounds
        self._policies = policies
        self._accuracies = accuracies
        self._around = around
        self._pause_s = pause_s
        self._loop = asyncio.get_running_loop()
        self._saved_s = float("-inf")
        self._later: asyncio.TimerHandle | None = None
        self._to_save: dict[int, Agent] = {}
        self.unlearned = 0
        self._ended: asyncio.Queue[tuple[RoundEntry, Decided | None] | None] = asyncio.Queue()
        self._unfinished = 0
        self._since_checkpoint = 0
        self._failures = 0
        self._disk = ThreadPoolExecutor(1, "checkpoint")

    def reconfigure(self, every_rounds: int) -> None:
        """Save after so many rounds."""
        self._every_rounds = every_rounds

    @property
    def busy(self) -> bool:
        """Whether a complete round is not announced yet."""
        return self._unfinished > 0

    def finish(self, entry: RoundEntry, decided: Decided | None) -> None:
        """Queue a complete round. `decided` is None where none of its devices could do anything."""
        if self._unfinished >= MOST_UNFINISHED:
            self.unlearned += 1
            self._around.announce(entry.number, None)
            return
        self._unfinished += 1
        self._ended.put_nowait((entry, decided))

    def save(self, agent: Agent, checkpoint: Checkpoint) -> None:
        """Write what an agent has saved. Called by the thread in which it learns, and blocks that."""
        self._write([(self._policies.checkpoint_path(agent), checkpoint)], None)

    def remember(self) -> None:
        """Write goal and round number soon, without waiting."""
        self._disk.submit(self._write, [], self._around.memory())

    async def run(self) -> None:
        """Finish rounds until cancelled."""
        while True:
            ended = [await self._ended.get()]
            while not self._ended.empty():
                ended.append(self._ended.get_nowait())
            summaries = await self._learn_all([round_ for round_ in ended if round_ is not None])
            if self._since_checkpoint >= self._every_rounds:
                await self._checkpoint_in_time()
            for number, summary in summaries:
                self._unfinished -= 1
                self._around.announce(number, summary)
            for _ in ended:
                self._ended.task_done()

    async def close(self) -> None:
        """Finish what is complete, and save every agent. `run` must still run."""
        await self._ended.join()
        if self._later is not None:
            self._later.cancel()
        await self._checkpoint(self._policies.stateful())
        self._disk.shutdown()

    async def _learn_all(self, ended: list[tuple[RoundEntry, Decided | None]]) -> list[tuple[int, RoundSummary | None]]:
        summaries: list[tuple[int, RoundSummary | None]] = []
        since_s = self._loop.time()
        for entry, decided in ended:
            if self._loop.time() - since_s >= LEARNS_AT_ONCE_S:
                await asyncio.sleep(0)  # a request may have come meanwhile
                since_s = self._loop.time()
            summaries.append((entry.number, None if decided is None else self._learn(entry, decided)))
            if decided is not None and decided.joint.agent is not None and decided.joint.teach is None:
                self._to_save[id(decided.joint.agent)] = decided.joint.agent
        self._since_checkpoint += len(ended)
        return summaries

    async def _checkpoint_in_time(self) -> None:
        """Now, or when the pause is over."""
        wait_s = self._saved_s + self._pause_s - self._loop.time()
        if wait_s <= 0:
            await self._checkpoint(list(self._to_save.values()))
        elif self._later is None:
            self._later = self._loop.call_later(wait_s, self._ended.put_nowait, None)

    def _learn(self, entry: RoundEntry, decided: Decided) -> RoundSummary:
        joint = decided.joint
        if joint.place is None:
            learns = joint.agent is not None and joint.agent.stateful
            again = self._around.observe_again(joint.observation) if learns else joint.observation
            experience, summary = settle(entry, decided, self._accuracies, again)
            if joint.agent is not None:
                _teach(joint, partial(joint.agent.learn, experience))
            return summary
        if joint.beside is not None:
            executed, response_ms, summary = settle_beside(entry, decided, joint.beside, self._accuracies)
            if joint.teach is not None:
                joint.teach(executed, response_ms)
            return summary
        executed, response_ms, summary = settle_one(entry, decided, self._accuracies)
        if isinstance(joint.agent, Immediate):
            lesson = (joint.observation, joint.place, joint.choice, executed, response_ms)
            _teach(joint, partial(joint.agent.learn_one, *lesson))
        return summary

    async def _checkpoint(self, agents: list[Agent]) -> None:
        self._since_checkpoint, self._saved_s, self._later = 0, self._loop.time(), None
        self._to_save.clear()
        saved = [(self._policies.checkpoint_path(agent), agent.save()) for agent in agents if agent.stateful]
        job = partial(self._write, saved, self._around.memory())
        await asyncio.get_running_loop().run_in_executor(self._disk, job)

    def _write(self, saved: list[tuple[Path, Checkpoint]], memory: Memory | None) -> None:
        try:
            for path, checkpoint in saved:
                write_checkpoint(path, checkpoint)
            if memory is not None:
                write_memory(self._directory / MEMORY_NAME, memory)
        except OSError as error:
            self._failures += 1
            if self._failures & (self._failures - 1) == 0:  # 1, 2, 4, 8...: a disk may be full for days
                told = {"directory": self._directory, "error": error, "failures": self._failures}
                event(log, logging.ERROR, "checkpoint_not_written", **told)
        else:
            if self._failures:
                told = {"directory": self._directory, "after_failures": self._failures}
                event(log, logging.WARNING, "checkpoint_written_again", **told)
            self._failures = 0


def _teach(joint: JointDecision, learn: Callable[[], None]) -> None:
    try:
        learn()
    except TierwiseError as error:
        event(log, logging.ERROR, "agent_cannot_learn", policy=joint.policy, error=error)
    except Exception:  # a defect in an agent must not end the service
        log.exception("agent_failed policy=%s", joint.policy)
