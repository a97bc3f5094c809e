"""What the parts of this package hand to each other: an observation as arrays, beliefs, and what a round showed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from broker.vocabulary import Action, ModelName, NodeId, Tier
from orchestrator.agent import Observation
from orchestrator.response_times.observed import Floats, Ints
from orchestrator.state import SystemState

Bools = npt.NDArray[np.bool_]
AnyArray = npt.NDArray[Any]

ARRAYS = ("rows", "kinds", "tier", "deficits", "models")


@dataclass(frozen=True, eq=False, slots=True)
class View:
    """One observation as arrays: N devices, A columns. `columns` are all actions of the devices, local ones first.

    `rows`, `kinds` (N,): the device's row and class; `able` (N, A); `tier`, `deficits`, `models` (A,); `states` of edge
    and cloud; `budget` of deficits in tenths.
    """

    observation: Observation
    columns: tuple[Action, ...]
    column: Mapping[Action, int]
    rows: Ints
    kinds: Ints
    able: Bools
    tier: Ints
    deficits: Ints
    models: Ints
    states: tuple[int, int]
    budget: int

    def same(self, other: View) -> bool:
        """Whether there is the same to decide, under the same floor."""
        if self is other:
            return True
        if (self.columns, self.states, self.budget) != (other.columns, other.states, other.budget):
            return False
        names = ("rows", "kinds", "able", "deficits")
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)

    def at_floor(self, floor_tenths: int, accuracy_tenths: Mapping[ModelName, int]) -> View:
        """The same under another floor, with these accuracies."""
        tenths = np.array([accuracy_tenths[action.model] for action in self.columns])
        budget = len(self.rows) * (int(tenths.max()) - floor_tenths)
        return replace(self, deficits=tenths.max() - tenths, budget=budget)

    def save(self) -> dict[str, Any]:
        """JSON of which `loaded` makes it again, the observation's state aside."""
        seen = self.observation
        return {
            "devices": list(seen.devices),
            "columns": [[str(action.tier), str(action.model)] for action in self.columns],
            "able": ["".join("01"[int(can)] for can in row) for row in self.able.tolist()],
            "floor_tenths": seen.floor_tenths,
            "accuracy_tenths": dict(seen.accuracy_tenths),
            "budget": self.budget,
            "states": list(self.states),
            **{name: getattr(self, name).tolist() for name in ARRAYS},
        }

    @classmethod
    def loaded(cls, saved: Mapping[str, Any]) -> View:
        """What `save` gave. Raises KeyError, TypeError or ValueError."""
        columns = tuple(Action(Tier(tier), ModelName(model)) for tier, model in saved["columns"])
        able = np.array([[can == "1" for can in row] for row in saved["able"]])
        devices = tuple(NodeId(name) for name in saved["devices"])
        if able.shape != (len(devices), len(columns)):
            raise ValueError(f"a view of shape {able.shape}")
        actions = tuple(tuple(a for a, can in zip(columns, row, strict=True) if can) for row in able.tolist())
        nobody = SystemState(None, None, (None,) * len(devices))
        floor, tenths = int(saved["floor_tenths"]), dict(saved["accuracy_tenths"])
        edge, cloud = saved["states"]
        return cls(
            observation=Observation(nobody, devices, actions, floor, tenths),
            columns=columns,
            column={action: column for column, action in enumerate(columns)},
            able=able,
            states=(int(edge), int(cloud)),
            budget=int(saved["budget"]),
            **{name: np.array(saved[name], dtype=np.int64) for name in ARRAYS},
        )

    def actions_of(self, columns: Ints) -> tuple[Action, ...]:
        """The joint action of these columns."""
        return tuple(self.columns[column] for column in columns)

    def columns_of(self, actions: Sequence[Action]) -> Ints:
        """(N,): the columns of a joint action."""
        return np.array([self.column[action] for action in actions])


@dataclass(frozen=True, eq=False, slots=True)
class Belief:
    """What is believed for one view: `own_ms` (N, A), `shared_ms` (2, N + 1) as in a Problem, and standard deviations.

    `own_sd` of local columns is a share of the time (its logarithm's deviation), of edge and cloud columns in ms. Own
    times of edge and cloud are differences between devices, so they may be below 0; with what is shared they are not.
    """

    own_ms: Floats
    own_sd: Floats
    shared_ms: Floats
    shared_sd: Floats


@dataclass(slots=True)
class Noted:
    """What one round's reports showed beside numbers. Places of devices in the view, tiers as EDGE and CLOUD."""

    changed_devices: list[int] = field(default_factory=list)
    changed_tiers: list[int] = field(default_factory=list)
    suspect_devices: list[int] = field(default_factory=list)
    suspect_tiers: list[int] = field(default_factory=list)
    answered: dict[int, int] = field(default_factory=dict)  # by tier: how many of its sharers had a result
    sharers: dict[int, int] = field(default_factory=dict)
    doubtful: set[int] = field(default_factory=set)  # tiers of which one device alone had no result


def part_of(arrays: Mapping[str, AnyArray], prefix: str) -> dict[str, AnyArray]:
    """The arrays whose names begin so, without that."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
