"""What the orchestrator's tests share: Table 4's accuracies, actions, observations, and an agent that says why."""

from __future__ import annotations

import asyncio
import statistics
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest

from broker.client import Endpoint
from broker.clock import SystemClock
from broker.vocabulary import Action, Link, ModelName, NodeId, SiteId, Tier
from configs.orchestrator import OrchestratorConfig
from model_zoo.manifest import load_manifest
from orchestrator.accuracy import Accuracies, accuracies_of
from orchestrator.agent import Bound, Choice, Experience, Explanation, Observation, Reason
from orchestrator.checkpoint import Checkpoint
from orchestrator.live import Orchestrator
from orchestrator.state import Resources, SystemState

MODELS = tuple(ModelName(f"d{place}") for place in range(8))
IDLE = Resources(5.0, 20.0, Link.REGULAR)


@pytest.fixture(scope="session")
def accuracies() -> Accuracies:
    """Table 4, from the manifest."""
    return accuracies_of(load_manifest())


class Observe(Protocol):
    """Makes an observation of `count` devices that can do everything, or the `actions` given."""

    def __call__(
        self,
        count: int,
        floor_tenths: int = 0,
        cpu_percent: float = 5.0,
        actions: Sequence[tuple[Action, ...]] | None = None,
    ) -> Observation: ...


@pytest.fixture(scope="session")
def ten_actions() -> tuple[Action, ...]:
    """The paper's: local with d0 to d7, edge with d0, cloud with d0."""
    local = (Action(Tier.END, model) for model in MODELS)
    return (*local, Action(Tier.EDGE, MODELS[0]), Action(Tier.CLOUD, MODELS[0]))


@pytest.fixture(scope="session")
def observe(accuracies: Accuracies, ten_actions: tuple[Action, ...]) -> Observe:
    """See Observe."""

    def make(
        count: int,
        floor_tenths: int = 0,
        cpu_percent: float = 5.0,
        actions: Sequence[tuple[Action, ...]] | None = None,
    ) -> Observation:
        device = Resources(cpu_percent, 20.0, Link.REGULAR)
        return Observation(
            state=SystemState(IDLE, IDLE, (device,) * count),
            devices=tuple(NodeId(f"s{place + 1}") for place in range(count)),
            actions=tuple(actions) if actions is not None else (ten_actions,) * count,
            floor_tenths=floor_tenths,
            accuracy_tenths=accuracies.tenths,
        )

    return make


class Averages:
    """Knows the mean of each action's response times, and decides by it: the least that keeps the floor.

    What it has not seen takes `guess_ms`. It is small, but what it says of itself is true.
    """

    name = "averages"
    stateful = False
    guess_ms = 500.0

    def __init__(self) -> None:
        self.seen: dict[Action, list[float]] = defaultdict(list)
        self.calls: list[tuple[Observation, int, tuple[Action | None, ...]]] = []
        self.lessons: list[tuple[int, Choice, Action | None, float | None]] = []

    def act(self, observation: Observation) -> Choice:
        """Device after device, each around those before it."""
        held: tuple[Action | None, ...] = (None,) * len(observation.devices)
        for place in range(len(held)):
            held = (*held[:place], self._best(observation, place, held)[0], *held[place + 1 :])
        actions = tuple(action for action in held if action is not None)
        return Choice(actions, why=partial(self._why, observation, actions))

    def act_one(self, observation: Observation, place: int, held: Sequence[Action | None]) -> Choice:
        """Those that were told nothing are assumed to run their most accurate model."""
        self.calls.append((observation, place, tuple(held)))
        most = [max(able, key=lambda action: observation.accuracy_tenths[action.model]) for able in observation.actions]
        actions = [told or assumed for told, assumed in zip(held, most, strict=True)]
        actions[place] = self._best(observation, place, actions)[0]
        return Choice(tuple(actions), why=partial(self._why, observation, tuple(actions)))

    def learn(self, experience: Experience) -> None:
        for action, ms in zip(experience.executed, experience.response_ms, strict=True):
            self._note(action, ms)

    def learn_one(
        self, observation: Observation, place: int, choice: Choice, executed: Action | None, response_ms: float | None
    ) -> None:
        self.lessons.append((place, choice, executed, response_ms))
        self._note(executed, response_ms)

    def save(self) -> Checkpoint:
        return Checkpoint(self.name, 1)

    def load(self, checkpoint: Checkpoint) -> None: ...

    def _note(self, action: Action | None, ms: float | None) -> None:
        if action is not None and ms is not None:
            self.seen[action].append(ms)

    def _ms(self, action: Action) -> float:
        return statistics.fmean(self.seen[action]) if self.seen[action] else self.guess_ms

    def _best(self, observation: Observation, place: int, held: Sequence[Action | None]) -> list[Action]:
        """The actions of one device that keep the floor beside the others', the fastest first."""
        tenths = observation.accuracy_tenths
        others = [tenths[action.model] for index, action in enumerate(held) if action is not None and index != place]
        needed = observation.floor_tenths * (len(others) + 1) - sum(others)
        return sorted((a for a in observation.actions[place] if tenths[a.model] >= needed), key=self._ms)

    def _why(self, observation: Observation, actions: tuple[Action, ...], place: int) -> Explanation:
        own, everything = actions[place], observation.actions[place]
        within = self._best(observation, place, actions)
        other = next((action for action in within if action != own), None)
        faster = any(self._ms(action) < self._ms(own) for action in everything if action not in within)
        return Explanation(
            action=own,
            predicted_ms=self._ms(own),
            sd_ms=statistics.pstdev(self.seen[own] or [0.0]),
            runner_up=other,
            runner_up_ms=None if other is None else self._ms(other),
            runner_up_sd_ms=None if other is None else statistics.pstdev(self.seen[other] or [0.0]),
            bounds=(Bound.FLOOR,) if faster else (),
            reason=Reason.BEST,
        )


@pytest.fixture
def averages() -> Averages:
    """An agent that implements `Immediate` and says why."""
    return Averages()


@pytest.fixture
def serve_with(
    mosquitto_endpoint: Endpoint, site: SiteId, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """`async with serve_with(agent, **sections):` runs the live loop in this one, with that agent for every policy."""

    @asynccontextmanager
    async def serving(agent: object, **sections: object) -> AsyncIterator[Orchestrator]:
        monkeypatch.setattr("orchestrator.policies.new_agent", lambda *_: agent)
        broker = {"host": mosquitto_endpoint.host, "port": mosquitto_endpoint.port}
        files = {"directory": str(tmp_path / "files")}
        (tmp_path / "files").mkdir(exist_ok=True)
        serving = {"edge": ["edge"], "cloud": ["cloud"]}
        settings = {
            "version": 1, "site": site, "broker": broker, "files": files, "serving_nodes": serving, **sections,
        }  # fmt: skip
        stop = asyncio.Event()
        orchestrator = Orchestrator(OrchestratorConfig.model_validate(settings), SystemClock())
        life = asyncio.create_task(orchestrator.run(stop), name="orchestrator")
        try:
            yield orchestrator
        finally:
            stop.set()
            await life

    return serving
