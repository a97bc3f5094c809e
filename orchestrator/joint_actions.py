"""Joint actions as numbers: which devices take part, what each may do, and the columns of that. For agents that list
all joint actions; it refuses more than can be listed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from broker.vocabulary import Action, ModelName, NodeId, Tier
from orchestrator.agent import Observation
from orchestrator.errors import TooManyJointActions

MOST_JOINT_ACTIONS = 10**6  # a row of a table is 4 MB then


@dataclass(frozen=True, slots=True)
class Layout:
    """Which devices take part and what each may do; the columns are the joint actions in mixed radix."""

    devices: tuple[NodeId, ...]
    actions: tuple[tuple[Action, ...], ...]

    @property
    def joint_actions(self) -> int:
        """The number of columns."""
        return math.prod(len(actions) for actions in self.actions)

    def joint_action(self, index: int) -> tuple[Action, ...]:
        """The joint action of column `index`; the last device's action varies fastest."""
        chosen = []
        for actions in reversed(self.actions):
            index, place = divmod(index, len(actions))
            chosen.append(actions[place])
        return tuple(reversed(chosen))

    def index(self, joint_action: tuple[Action, ...]) -> int:
        """The column of `joint_action`; the exact inverse. Raises ValueError."""
        index = 0
        for actions, action in zip(self.actions, joint_action, strict=True):
            index = index * len(actions) + actions.index(action)
        return index


class Layouts:
    """All layouts that one agent has met, by number. Mutable."""

    def __init__(self) -> None:
        self._layouts: list[Layout] = []
        self._last = -1

    def __getitem__(self, number: int) -> Layout:
        return self._layouts[number]

    def number(self, observation: Observation) -> int:
        """The number of the observation's layout, a new one if it is new. Raises TooManyJointActions."""
        wanted = Layout(observation.devices, observation.actions)
        # Nearly always the same devices as in the last round; then nothing is searched.
        if self._last >= 0 and self._layouts[self._last] == wanted:
            return self._last
        if wanted.joint_actions > MOST_JOINT_ACTIONS:
            raise TooManyJointActions(
                f"{len(wanted.devices)} devices have {wanted.joint_actions:.0e} joint actions, at most "
                f"{MOST_JOINT_ACTIONS:.0e} can be listed; take another policy, or fewer devices"
            )
        if wanted not in self._layouts:
            self._layouts.append(wanted)
        self._last = self._layouts.index(wanted)
        return self._last

    def save(self) -> list[dict[str, Any]]:
        """JSON with which `load` gives the same numbers."""
        return [
            {"devices": layout.devices, "actions": [[str(a) for a in actions] for actions in layout.actions]}
            for layout in self._layouts
        ]

    def load(self, stored: Any) -> None:
        """Take over what `save` gave. Raises KeyError, TypeError, ValueError, AttributeError."""
        layouts = [_layout_from(layout) for layout in stored]
        if any(layout.joint_actions > MOST_JOINT_ACTIONS for layout in layouts):
            raise ValueError("a layout with too many joint actions")
        self._layouts, self._last = layouts, -1


def _layout_from(stored: Any) -> Layout:
    actions = tuple(tuple(_action(text) for text in texts) for texts in stored["actions"])
    layout = Layout(tuple(NodeId(device) for device in stored["devices"]), actions)
    if len(layout.devices) != len(layout.actions) or not all(layout.actions):
        raise ValueError("a device without actions")
    return layout


def _action(text: str) -> Action:
    model, _, tier = text.partition("@")
    return Action(Tier(tier), ModelName(model))
