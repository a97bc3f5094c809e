"""Large sites whose requests are decided at once: the agent plans jointly in a thread, a request looks up its part.

A joint decision of a thousand devices takes tens of ms, a request may not. So there are *laps*: one joint action, as in
a round, in which each device that asks gets its part, and whose reports are learned from together when most devices had
their turn. Learning, planning and saving are one job in one thread, which alone touches the agent; the loop goes on
with the plan that it has. What a device is told still has to keep the floor beside what the others hold, at each
request (`fit`): devices move to a new plan one after the other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from broker.errors import TierwiseError
from broker.events import event
from broker.vocabulary import Action, ModelName, NodeId
from orchestrator.accuracy import Accuracies
from orchestrator.agent import Choice, Experience, Explanation, Immediate, Observation
from orchestrator.checkpoint import Checkpoint
from orchestrator.deciding import check_actions, check_shape, fallbacks_of

log = logging.getLogger(__name__)

SOONEST_S = 0.1  # between two plans, whatever has happened
LEAST_S, MOST_S = 0.3, 2.0  # of a lap: when nearly all devices had their turn; and when they had not
NEARLY_ALL = 0.9
SAVED_APART_S = 5.0  # a checkpoint of a thousand devices is some MB
RESTS = 4.0  # times as long as a job took the thread leaves the processor to the loop


@runtime_checkable
class Planning(Immediate, Protocol):
    """An agent whose joint decisions serve for a lap, on sites of so many devices and more."""

    plans_from: int


@dataclass(frozen=True, slots=True)
class Part:
    """What one device is told in a lap, and why."""

    action: Action
    fallback: ModelName
    explanation: Explanation | None


@dataclass(frozen=True, slots=True)
class Came:
    """What came of a request: told, done (None: not said), and in how many ms (None: nothing came)."""

    told: Action
    executed: Action | None
    response_ms: float | None


@dataclass(slots=True)
class Lap:
    """One joint action. `came`: by device, what was reported while it was in force."""

    observation: Observation
    parts: Mapping[NodeId, Part]
    began_s: float
    came: dict[NodeId, Came] = field(default_factory=dict)

    def is_over(self, now_s: float) -> bool:
        """Whether it is time to learn from it."""
        past_s = now_s - self.began_s
        nearly_all = len(self.came) >= NEARLY_ALL * len(self.parts)
        return bool(self.came) and past_s >= (LEAST_S if nearly_all else MOST_S)

    def experience(self) -> Experience:
        """For the agent: who did not report was not asked. Times were measured for what was told then."""
        devices = self.observation.devices
        came = [self.came.get(device) for device in devices]
        able = self.observation.actions
        actions = tuple(
            self.parts[device].action if what is None or what.told not in can else what.told
            for device, what, can in zip(devices, came, able, strict=True)
        )
        return Experience(
            self.observation,
            Choice(actions),
            tuple(None if what is None else what.executed for what in came),
            tuple(None if what is None else what.response_ms for what in came),
            0.0,
            self.observation,
            tuple(what is not None for what in came),
        )


class Laps:
    """The laps of one agent. All calls but the thread's are made in the loop's. `save` gets what is to be kept."""

    def __init__(self, agent: Planning, accuracies: Accuracies, save: Callable[[Checkpoint], None]) -> None:
        self.in_force: Lap | None = None
        self._agent = agent
        self._accuracies = accuracies
        self._save = save
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, "planning")
        self._busy = False
        self._wanted = True
        self._next_s = float("-inf")
        self._began_s = 0.0
        self._saved_s = float("-inf")

    def serves(self, devices: int) -> bool:
        """Whether a site of so many devices goes by laps; one that did does while a job runs, and somewhat below."""
        if self.in_force is None and not self._busy:
            return devices >= self._agent.plans_from
        return self._busy or devices >= self._agent.plans_from // 2

    def want(self) -> None:
        """The plan in force does not do for somebody: another one soon."""
        self._wanted = True

    def note(self, device: NodeId, came: Came) -> None:
        """What came of a request, whichever lap it was told in."""
        if self.in_force is not None and device in self.in_force.parts:
            self.in_force.came[device] = came

    def turn(self, observe: Callable[[], Observation], now_s: float) -> None:
        """Begin the next plan, if it is time."""
        lap = self.in_force
        if self._busy or now_s < self._next_s or not (self._wanted or (lap is not None and lap.is_over(now_s))):
            return
        self._busy, self._wanted, self._began_s = True, False, now_s
        experience = lap.experience() if lap is not None and lap.came else None
        if lap is not None:
            lap.came.clear()
        job = self._loop.run_in_executor(self._thread, self._plan, experience, observe())
        job.add_done_callback(self._planned)

    def close(self) -> None:
        """Learn what came last, and let the thread end. Blocks; the agent is the caller's again."""
        if self.in_force is not None and self.in_force.came:
            self._thread.submit(self._learn, self.in_force.experience())
        self._thread.shutdown()

    # -- the loop, then the thread ------------------------------------------------------------------------------

    def _planned(self, job: asyncio.Future[tuple[Observation, dict[NodeId, Part]] | None]) -> None:
        self._busy, now_s = False, self._loop.time()
        self._next_s = max(self._began_s + SOONEST_S, now_s + (now_s - self._began_s) * RESTS)
        if job.cancelled() or (planned := job.result()) is None:
            self._wanted = True
            return
        self.in_force = Lap(*planned, now_s)

    def _plan(
        self, experience: Experience | None, observation: Observation
    ) -> tuple[Observation, dict[NodeId, Part]] | None:
        """None where the agent cannot; that is logged."""
        if experience is not None:
            self._learn(experience)
        try:
            choice = self._agent.act(observation)
            check_shape(choice, observation)
            check_actions(choice, observation)
            fallbacks = choice.fallbacks or fallbacks_of(choice, observation, self._accuracies)
            whys = [None] * len(fallbacks) if choice.whys is None else choice.whys()
        except TierwiseError as error:
            event(log, logging.ERROR, "agent_cannot_decide", policy=self._agent.name, error=error)
            return None
        except Exception:  # a defect in an agent must not end the service
            log.exception("agent_failed policy=%s", self._agent.name)
            return None
        parts = map(Part, choice.actions, fallbacks, whys)
        return observation, dict(zip(observation.devices, parts, strict=True))

    def _learn(self, experience: Experience) -> None:
        try:
            self._agent.learn(experience)
            if self._loop.time() - self._saved_s >= SAVED_APART_S:
                self._saved_s = self._loop.time()
                self._save(self._agent.save())
        except TierwiseError as error:
            event(log, logging.ERROR, "agent_cannot_learn", policy=self._agent.name, error=error)
        except Exception:  # a defect in an agent must not end the service
            log.exception("agent_failed policy=%s", self._agent.name)
