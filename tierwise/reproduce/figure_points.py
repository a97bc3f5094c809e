"""What figures 1 and 5 plot: response times and accuracies of strategies for one to five users, without noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product

from broker.vocabulary import Action, Link, Tier
from tierwise.reproduce.artifact import Row
from tierwise.reproduce.published import FLOORS, USERS
from tierwise.reproduce.site import Outcome, accuracies, all_on, optimum, outcome, paper_site

NAMES = {Tier.END: "device", Tier.EDGE: "edge", Tier.CLOUD: "cloud"}
ALL_USERS = range(1, USERS + 1)
EXPERIMENT_OF = {Link.REGULAR: "exp-a", Link.WEAK: "exp-d"}  # weak: the user's link and the edge's
OPTIMUM, BASELINE = "optimum", "baseline"
LOWEST_TENTHS, HIGHEST_TENTHS = 728, 899  # d7 and d0 (Table 4)


@dataclass(frozen=True, slots=True)
class Point:
    """One strategy with so many users: its average response time in ms, and its average Top-5 accuracy in %."""

    users: int
    strategy: str
    decisions: str
    accuracy: float
    ms: float

    def row(self) -> Row:
        """For JSON and Markdown."""
        return asdict(self) | {"accuracy": round(self.accuracy, 2), "ms": round(self.ms, 2)}


def network_ms() -> dict[Link, dict[Tier, float]]:
    """Figure 1 (a): one user."""
    return {link: {tier: all_on(tier, name, 1).ms for tier in Tier} for link, name in EXPERIMENT_OF.items()}


def users_ms() -> dict[Tier, list[float]]:
    """Figure 1 (b): for one user, for two, and so on; Exp-A."""
    return {tier: [all_on(tier, "exp-a", users).ms for users in ALL_USERS] for tier in Tier}


def accuracy_points(users: int) -> Iterator[Point]:
    """Figure 1 (c): each model on the devices, d0 on edge and cloud, and the optimum over the floors; Exp-A."""
    for action in paper_site("exp-a", users).actions:
        yield _point(users, NAMES[action.tier], outcome("exp-a", [action] * users))
    yield from (_point(users, OPTIMUM, best) for best in optima(users))


def optima(users: int) -> Iterator[Outcome]:
    """The optimum at each floor, in tenths, at which it changes."""
    floor = LOWEST_TENTHS
    while floor <= HIGHEST_TENTHS:
        best = optimum("exp-a", users, floor)
        yield best
        # It stays the optimum up to the floor that it only just meets.
        floor = sum(accuracies().tenths[action.model] for action in best.actions) // users + 1


def strategy_points(users: int) -> Iterator[Point]:
    """Figure 5, in the order of its bars; Exp-A."""
    for tier, name in NAMES.items():
        yield _point(users, f"{name} only", all_on(tier, "exp-a", users))
    yield _point(users, BASELINE, offload_only(users))
    for name, floor in FLOORS.items():
        yield _point(users, name, optimum("exp-a", users, floor))


def offload_only(users: int) -> Outcome:
    """The best of all 3^N joint actions with the most accurate model: neither solver nor floor."""
    best = max(accuracies().tenths, key=lambda model: accuracies().tenths[model])
    tried = product([Action(tier, best) for tier in Tier], repeat=users)
    return min((outcome("exp-a", actions) for actions in tried), key=lambda found: found.ms)


def _point(users: int, strategy: str, found: Outcome) -> Point:
    kinds = dict.fromkeys(map(str, found.actions))
    decisions = [str(action) for action in found.actions] if len(kinds) > 1 else list(kinds)
    return Point(users, strategy, " ".join(decisions), found.accuracy, found.ms)
