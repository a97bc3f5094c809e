"""What an agent is given, what it gives back, and the protocol between. Agents know no MQTT.

Nothing here grows with the number of joint actions: an observation lists the actions of each device, a choice names
one per device. So a table for three devices, a network for five and a solver for a thousand fit alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from broker.vocabulary import Action, ModelName, NodeId
from orchestrator.checkpoint import Checkpoint
from orchestrator.state import SystemState


@dataclass(frozen=True, slots=True)
class Observation:
    """S of one step: the state, the active devices, what each may do, and the goal.

    `devices` is sorted; `state.devices` and `actions` follow its order. `actions[i]`: local models in the manifest's
    order, then edge, then cloud (the paper's ten, 0 to 9, where all is there); never empty.
    `floor_tenths` and `accuracy_tenths`: Top-5 in tenths of a point.
    """

    state: SystemState
    devices: tuple[NodeId, ...]
    actions: tuple[tuple[Action, ...], ...]
    floor_tenths: int
    accuracy_tenths: Mapping[ModelName, int]


@dataclass(frozen=True, slots=True)
class Choice:
    """A joint action: `actions[i]` is one of the observation's `actions[i]`.

    An agent that knows better than the joint fallback assignment may name a local `fallbacks[i]` for each device.
    """

    actions: tuple[Action, ...]
    explored: bool = False
    fallbacks: tuple[ModelName, ...] | None = None


@dataclass(frozen=True, slots=True)
class Experience:
    """What came of one choice. `response_ms[i]` is None where no result came before the deadline.

    `executed[i]` is what the device really did (its fallback, say), None where it did not tell. `reward` is equation 4
    in ms, with the deadline for each missing response time. `next_observation` is of the same devices and actions.
    """

    observation: Observation
    choice: Choice
    executed: tuple[Action | None, ...]
    response_ms: tuple[float | None, ...]
    reward: float
    next_observation: Observation


class Agent(Protocol):
    """Decides and learns. Every method may raise TierwiseError; the live loop then serves the round without it."""

    @property
    def name(self) -> str:
        """What policy it is, in messages, log and file names."""

    @property
    def stateful(self) -> bool:
        """Whether there is anything to save."""

    def act(self, observation: Observation) -> Choice:
        """Choose a joint action."""

    def learn(self, experience: Experience) -> None:
        """Take one round's outcome in; it may be of an earlier choice than the last."""

    def save(self) -> Checkpoint:
        """All that is needed to go on exactly as if nothing had happened, exploration's randomness included."""

    def load(self, checkpoint: Checkpoint) -> None:
        """Take over a saved state, wholly or not at all. Raises CheckpointRefused."""


@runtime_checkable
class Learner(Agent, Protocol):
    """An agent that can say what it would do without exploring."""

    def greedy(self, observation: Observation) -> tuple[Action, ...]:
        """Its best joint action so far. Draws nothing and changes nothing."""


@runtime_checkable
class Transferable(Learner, Protocol):
    """A learner whose experience under one floor can begin the learning under another (section 6.2.1)."""

    def transfer(self, source_floor_tenths: int, target_floor_tenths: int) -> None:
        """Initialise what it knows under the target floor with what it has learned under the source floor."""

    def reseed(self, seed: int | None) -> None:
        """Draw from this seed on: what begins with another's experience should not repeat its draws."""

    def knows(self, observation: Observation) -> bool:
        """Whether it has learned anything for these devices with these actions under this floor, in any state."""
