"""What all devices of a site hold together, as sums that one request changes in a few steps: the floor in O(1).

In integer tenths of a point, as `orchestrator.accuracy` has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from broker.vocabulary import Action, ModelName, NodeId, Tier
from orchestrator.accuracy import Accuracies
from orchestrator.laps import Part
from orchestrator.observe import cheapest_local


@dataclass(frozen=True, slots=True)
class Beside:
    """So many others hold something: the sum of its accuracies, and of the worse of each one's two models."""

    count: int
    tenths: int
    worst_tenths: int

    def left(self, floor: int, best: int) -> int:
        """By how much one more may be below the best, so that with these it keeps the floor."""
        return self.tenths + best - (self.count + 1) * floor

    def left_to_fall_back(self, floor: int, best: int) -> int:
        """The same should any of them fall back."""
        return self.worst_tenths + best - (self.count + 1) * floor


class Standing:
    """Mutable: `tell`, and `of_site` where the site has changed."""

    def __init__(self, accuracies: Accuracies) -> None:
        self._tenths = accuracies.tenths
        self._held: dict[NodeId, tuple[Action, ModelName]] = {}
        self._counted: dict[NodeId, tuple[int, int]] = {}
        self._sums = (0, 0)
        self._online: object = None
        self._offered: object = None

    def held(self, device: NodeId) -> Action | None:
        """What it was told last."""
        held = self._held.get(device)
        return None if held is None else held[0]

    def tell(self, device: NodeId, action: Action, fallback: ModelName) -> None:
        """A decision has left for `device`."""
        self._held[device] = (action, fallback)
        self._count(device)

    def is_of(self, online: object, offered: object) -> bool:
        """Whether the sums are of this site: the same objects."""
        return online is self._online and offered is self._offered

    def of_site(self, online: object, offered: object, holders: Iterable[tuple[NodeId, tuple[Action, ...]]]) -> None:
        """From now on the sums are of these devices, each with what it can do: what it cannot, it holds no more."""
        self._online, self._offered = online, offered
        self._counted, self._sums = {}, (0, 0)
        for device, able in holders:
            held = self._held.get(device)
            if held is not None and held[0] in able:
                self._count(device)

    def beside(self, device: NodeId) -> Beside:
        """The others."""
        own = self._counted.get(device)
        count = len(self._counted) - (own is not None)
        tenths, worst = own or (0, 0)
        return Beside(count, self._sums[0] - tenths, self._sums[1] - worst)

    def _count(self, device: NodeId) -> None:
        action, fallback = self._held[device]
        tenths = self._tenths[action.model]
        new = tenths, min(tenths, self._tenths.get(fallback, tenths))
        old = self._counted.get(device, (0, 0))
        self._counted[device] = new
        self._sums = (self._sums[0] + new[0] - old[0], self._sums[1] + new[1] - old[1])


def fit(
    part: Part | None,
    held: Action | None,
    able: tuple[Action, ...],
    beside: Beside,
    floor: int,
    accuracies: Accuracies,
) -> tuple[Action, ModelName, bool]:
    """What one device is told, its fallback, and whether that is its part of the plan.

    Its part, if it can do that and the floor allows it beside what the others hold, also should they fall back; else
    what it holds; else the cheapest local model that the floor allows it beside them and by itself, or its most
    accurate.
    """
    best = accuracies.best_tenths
    left, left_to_fall_back = beside.left(floor, best), beside.left_to_fall_back(floor, best)
    planned = None if part is None else part.action
    for action in (planned, held):
        if action is not None and action in able:
            allowed = left_to_fall_back if action.tier is Tier.END else left
            if accuracies.deficit(action.model) <= allowed:
                break
    else:
        own = cheapest_local(able, min(left_to_fall_back, best - floor), accuracies)
        action = able[0] if own is None else Action(Tier.END, own)
    return action, _fallback(part, action, able, left_to_fall_back, accuracies), action == planned


def _fallback(
    part: Part | None, action: Action, able: tuple[Action, ...], left: int, accuracies: Accuracies
) -> ModelName:
    if action.tier is Tier.END:
        return action.model
    if part is not None and part.action == action and accuracies.deficit(part.fallback) <= left:
        return part.fallback
    # A device without any local model cannot fall back; the message must name one all the same.
    return cheapest_local(able, left, accuracies) or action.model
