"""Epsilon-greedy Q-learning, Algorithm 1 of the paper.

| line | here |
|---|---|
| 1 | `QLearning(...)`; the table is empty, rows of zeros appear when first learned in |
| 3 | `act`: the observation's state, made discrete (Table 3) |
| 4-8 | `act`: with probability epsilon any joint action, else the one of the largest Q (the first of equals) |
| 9-10 | the live loop, or the simulator: response times, and equation 4's reward |
| 11 | `learn`: the experience's next observation |
| 12 | `learn`: the largest Q of the next row; not looked for when gamma is 0 |
| 13 | `learn`: Q(s, a) += alpha [R + gamma max Q(s', .) - Q(s, a)] |
| 14 | the next call of `act` |

Deviations from the paper, and readings where it is silent:
1. Epsilon decays once per `act`, by one of three readings of Table 7 (`orchestrator.exploration`); default: x (1 - d).
2. Gamma is an explicit setting, 0 by default ("a lower discount factor is better", no figure given).
3. A row belongs to a state, to the active devices with the actions each has, and to the floor: devices come and go,
   and what a joint action is worth depends on the floor (equation 4), which may change while we run.
4. A table of zeros and negative rewards is optimistic: greedy steps sweep every joint action once per visited row.
5. Equal Q-values: the lowest index, hence local d0 first. The paper does not say.
6. Rounds may overlap, so an update may come after later choices; it changes its own cell only.
7. Q-values are float32: 0.001 ms at 10 s.
8. More than 10^6 joint actions are refused (ten actions each: seven devices), a table beyond 2 GiB too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from broker.vocabulary import Action, ModelName
from configs.orchestrator import QLearningSection, StateSection
from orchestrator.agent import Choice, Experience, Observation
from orchestrator.agents.discretisation import DiscreteState, discretise
from orchestrator.checkpoint import Checkpoint
from orchestrator.errors import CheckpointImplausible, TableFull
from orchestrator.exploration import EpsilonSchedule
from orchestrator.joint_actions import Layouts

MOST_TABLE_BYTES = 2 * 2**30
FORM = 1  # of the checkpoint

Row = npt.NDArray[np.float32]
Cells = npt.NDArray[np.int32]


RowKey = tuple[int, int, DiscreteState]  # number of the layout, floor in tenths, state


class QLearning:
    """Algorithm 1 over a table whose rows hold one float32 per joint action."""

    name = "q_learning"
    stateful = True

    def __init__(
        self,
        settings: QLearningSection,
        thresholds: StateSection,
        accuracy_tenths: dict[ModelName, int],
        seed: int | None = None,
    ) -> None:
        self.updates = 0
        self._settings = settings
        self._thresholds = thresholds
        self._accuracy_tenths = dict(accuracy_tenths)
        self._random = np.random.Generator(np.random.PCG64(seed))
        self._exploration = EpsilonSchedule(
            settings.epsilon, settings.epsilon_min, settings.epsilon_decay, settings.epsilon_decay_kind
        )
        self._layouts = Layouts()
        self._rows: dict[RowKey, Row] = {}
        self._learned: dict[RowKey, tuple[Cells, Row]] = {}  # what `save` found in rows that have not changed since
        self._bytes = 0

    @property
    def epsilon(self) -> float:
        """The probability that the next choice is random."""
        return self._exploration.epsilon

    def reconfigure(self, thresholds: StateSection) -> None:
        """Other thresholds of Table 3; a row stays that of its discrete state."""
        self._thresholds = thresholds

    def act(self, observation: Observation) -> Choice:
        """Lines 3 to 8. Raises TooManyJointActions."""
        number = self._layouts.number(observation)
        layout = self._layouts[number]
        explored = self._random.random() < self._exploration.epsilon
        if explored:
            index = int(self._random.integers(layout.joint_actions))
        else:
            row = self._rows.get(self._key(number, observation))
            index = 0 if row is None else int(row.argmax())
        self._exploration.step()
        return Choice(layout.joint_action(index), explored)

    def greedy(self, observation: Observation) -> tuple[Action, ...]:
        """Line 7 alone: the joint action of the largest Q. Draws nothing and changes nothing."""
        number = self._layouts.number(observation)
        row = self._rows.get(self._key(number, observation))
        return self._layouts[number].joint_action(0 if row is None else int(row.argmax()))

    def transfer(self, source_floor_tenths: int, target_floor_tenths: int) -> None:
        """Copy the rows of the source floor to the target floor (section 6.2.1). Raises TableFull."""
        for (layout, floor, state), row in list(self._rows.items()):
            if floor == source_floor_tenths:
                key = (layout, target_floor_tenths, state)
                target = self._rows.get(key)
                if target is None:
                    target = self._new_row(key)
                target[:] = row
                self._learned.pop(key, None)

    def reseed(self, seed: int | None) -> None:
        """Draw from this seed from now on."""
        self._random = np.random.Generator(np.random.PCG64(seed))

    def knows(self, observation: Observation) -> bool:
        """Whether it has a row for these devices with these actions under this floor, in any state."""
        number = self._layouts.number(observation)
        return any((layout, floor) == (number, observation.floor_tenths) for layout, floor, _ in self._rows)

    def learn(self, experience: Experience) -> None:
        """Lines 11 to 13. Raises TooManyJointActions, TableFull."""
        number = self._layouts.number(experience.observation)
        key = self._key(number, experience.observation)
        row = self._rows.get(key)
        if row is None:
            row = self._new_row(key)
        index = self._layouts[number].index(experience.choice.actions)
        target = experience.reward
        if self._settings.gamma > 0:
            target += self._settings.gamma * self._largest(experience.next_observation)
        row[index] += self._settings.alpha * (target - float(row[index]))
        self._learned.pop(key, None)
        self.updates += 1

    def q_value(self, observation: Observation, joint_action: tuple[Action, ...]) -> float:
        """Q(s, a); 0 where nothing was learned yet."""
        number = self._layouts.number(observation)
        row = self._rows.get(self._key(number, observation))
        return 0.0 if row is None else float(row[self._layouts[number].index(joint_action)])

    def _largest(self, observation: Observation) -> float:
        row = self._rows.get(self._key(self._layouts.number(observation), observation))
        return 0.0 if row is None else float(row.max())

    def _key(self, layout: int, observation: Observation) -> RowKey:
        return layout, observation.floor_tenths, discretise(observation.state, self._thresholds)

    def _new_row(self, key: RowKey) -> Row:
        columns = self._layouts[key[0]].joint_actions
        row: Row = np.zeros(columns, dtype=np.float32)
        if self._bytes + row.nbytes > MOST_TABLE_BYTES:
            raise TableFull(
                f"the Q-table has {len(self._rows)} rows and would exceed {MOST_TABLE_BYTES >> 20} MiB; "
                "take another policy, or fewer devices"
            )
        self._bytes += row.nbytes
        self._rows[key] = row
        return row

    # -- checkpoint -------------------------------------------------------------------------------------------

    def save(self) -> Checkpoint:
        """What is not zero: at most eight bytes for each round that was learned."""
        keys = list(self._rows)
        learned = [self._learned_in(key) for key in keys]
        about = {
            "models": self._accuracy_tenths,
            "epsilon": self.epsilon,
            "random": self._random.bit_generator.state,
            "updates": self.updates,
            "layouts": self._layouts.save(),
            "rows": [{"layout": layout, "floor_tenths": floor, "state": state} for layout, floor, state in keys],
        }
        arrays = {
            "cells_per_row": np.array([len(cells) for cells, _ in learned], dtype=np.int32),
            "cells": np.concatenate([np.empty(0, np.int32), *(cells for cells, _ in learned)]),
            "values": np.concatenate([np.empty(0, np.float32), *(values for _, values in learned)]),
        }
        return Checkpoint(self.name, FORM, about, arrays)

    def _learned_in(self, key: RowKey) -> tuple[Cells, Row]:
        if key not in self._learned:
            row = self._rows[key]
            cells = np.flatnonzero(row).astype(np.int32)
            self._learned[key] = cells, row[cells]
        return self._learned[key]

    def load(self, checkpoint: Checkpoint) -> None:
        """Take over a saved table, epsilon and randomness. Raises CheckpointRefused, and then nothing has changed."""
        checkpoint.expect(self.name, FORM, self._accuracy_tenths)
        fresh = QLearning(self._settings, self._thresholds, self._accuracy_tenths)
        try:
            fresh._take(checkpoint.about, checkpoint.arrays)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            raise CheckpointImplausible(
                f"the checkpoint contradicts itself ({error!r}); move it away to start without it"
            ) from error
        self.__dict__.update(fresh.__dict__)

    def _take(self, about: Any, arrays: Any) -> None:
        self._exploration.epsilon = _probability(about["epsilon"])
        self._random.bit_generator.state = about["random"]
        self.updates = int(about["updates"])
        self._layouts.load(about["layouts"])
        cells, values = arrays["cells"].astype(np.int32), arrays["values"].astype(np.float32)
        ends = np.cumsum(arrays["cells_per_row"])
        if len(ends) != len(about["rows"]) or len(cells) != len(values) or (ends[-1] if len(ends) else 0) != len(cells):
            raise ValueError("rows, cells and values do not match")
        if not np.isfinite(values).all():
            raise ValueError("a Q-value is not a number")
        for stored, start, end in zip(about["rows"], [0, *ends][:-1], ends, strict=True):
            key = (int(stored["layout"]), int(stored["floor_tenths"]), tuple(int(value) for value in stored["state"]))
            row, visited = self._new_row(key), cells[start:end]
            if len(visited) and (visited.min() < 0 or visited.max() >= len(row)):
                raise ValueError("a cell outside its row")
            row[visited] = values[start:end]


def _probability(value: Any) -> float:
    if not 0.0 <= float(value) <= 1.0:
        raise ValueError(f"epsilon {value}")
    return float(value)
