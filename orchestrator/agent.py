"""What an agent is given, what it gives back, and the protocol between. Agents know no MQTT.

Nothing here grows with the number of joint actions: an observation lists the actions of each device, a choice names
one per device. So a table for three devices, a network for five and a solver for a thousand fit alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

from broker.vocabulary import Action, ModelName, NodeId
from configs.orchestrator import StateSection
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


class Bound(StrEnum):
    """A constraint that kept a device from an action that it would be faster with."""

    FLOOR = "floor"  # the accuracy floor
    LOAD = "load"  # what its sharing the tier would cost the others there
    ENTRY = "entry"  # a tier takes no more than twice as many as were tried together


class Reason(StrEnum):
    """Why a device was told its action."""

    BEST = "best"  # part of the best joint action as far as is known
    UNCERTAIN = "uncertain"  # it may be better than what is known to be good
    PROBE = "probe"  # to see whether something unused has changed
    HELD = "held"  # decided earlier; others are decided around it


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one device was told `action`: the agent's own prediction then. Times in ms, `sd_ms` one standard deviation.

    `runner_up`: the device's next best action when all others do as decided; None where it has no other.
    `bounds`: what held in the joint decision, and so may have kept this device from something faster.
    """

    action: Action
    predicted_ms: float
    sd_ms: float
    runner_up: Action | None
    runner_up_ms: float | None
    runner_up_sd_ms: float | None
    bounds: tuple[Bound, ...]
    reason: Reason


@dataclass(frozen=True, slots=True)
class Choice:
    """A joint action: `actions[i]` is one of the observation's `actions[i]`.

    An agent that knows better than the joint fallback assignment may name a local `fallbacks[i]` for each device.
    One that can say why has `why`: the explanation of the i-th device's part, computed when it is called; and perhaps
    `whys`: that of each device, faster than one by one.
    """

    actions: tuple[Action, ...]
    explored: bool = False
    fallbacks: tuple[ModelName, ...] | None = None
    why: Callable[[int], Explanation] | None = field(default=None, compare=False, repr=False)
    whys: Callable[[], Sequence[Explanation]] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Experience:
    """What came of one choice. `response_ms[i]` is None where no result came before the deadline.

    `executed[i]` is what the device really did (its fallback, say), None where it did not tell. `reward` is equation 4
    in ms, with the deadline for each missing response time. `next_observation` is of the same devices and actions.
    `asked[i]`: whether the i-th device made a request at all; left out, all did.
    """

    observation: Observation
    choice: Choice
    executed: tuple[Action | None, ...]
    response_ms: tuple[float | None, ...]
    reward: float
    next_observation: Observation
    asked: tuple[bool, ...] | None = None


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
        """Its best joint action so far. Draws nothing and learns nothing."""


@runtime_checkable
class Transferable(Learner, Protocol):
    """A learner whose experience under one floor can begin the learning under another (section 6.2.1)."""

    def transfer(self, source_floor_tenths: int, target_floor_tenths: int) -> None:
        """Initialise what it knows under the target floor with what it has learned under the source floor."""

    def reseed(self, seed: int | None) -> None:
        """Draw from this seed on: what begins with another's experience should not repeat its draws."""

    def knows(self, observation: Observation) -> bool:
        """Whether it has learned anything for these devices with these actions under this floor, in any state."""


@runtime_checkable
class Thresholded(Protocol):
    """An agent that tells busy from available (Table 3)."""

    def reconfigure(self, thresholds: StateSection) -> None:
        """From now on, tell them apart so. What was learned is kept, under the states in which it was learned."""


@runtime_checkable
class Immediate(Agent, Protocol):
    """An agent that can decide one request on arrival, the others' current assignments held."""

    def act_one(self, observation: Observation, place: int, held: Sequence[Action | None]) -> Choice:
        """Choose for the `place`-th device alone; the observation is of all devices that are online.

        `held[i]` is what the i-th device was last told, None where that is nothing, or no more possible. The choice
        lists `held` with the new action in it, and the action that the agent assumes where there is none. What is held
        and the new action keep the floor together; what is assumed does not count.
        """

    def learn_one(
        self, observation: Observation, place: int, choice: Choice, executed: Action | None, response_ms: float | None
    ) -> None:
        """What came of one `act_one`; as in Experience, None where nothing came."""
