"""What the orchestrator's tests share: Table 4's accuracies, actions, observations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import pytest

from broker.vocabulary import Action, Link, ModelName, NodeId, Tier
from model_zoo.manifest import load_manifest
from orchestrator.accuracy import Accuracies, accuracies_of
from orchestrator.agent import Observation
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
