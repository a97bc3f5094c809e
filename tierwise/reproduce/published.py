"""The published figures as typed rows, from `published.yaml`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from broker.vocabulary import Action, ModelName, Tier

PLACES = {"L": Tier.END, "E": Tier.EDGE, "C": Tier.CLOUD}
FLOORS = {"min": 0, "80": 800, "85": 850, "89": 890, "max": 899}  # tenths
EXPERIMENTS = ("exp-a", "exp-b", "exp-c", "exp-d")
USERS = 5
FIXED_KEYS = {"device_only": Tier.END, "edge_only": Tier.EDGE, "cloud_only": Tier.CLOUD}


@dataclass(frozen=True, slots=True)
class Cell:
    """One published response time. `decisions` is None where the text has none that can be right.

    `floor` is the paper's word (min, 80, 85, 89, max), `accuracy` Top-5 in %.
    """

    table: int
    experiment: str
    users: int
    floor: str
    ms: float
    decisions: tuple[Action, ...] | None
    accuracy: float | None
    consistent: bool

    @property
    def floor_tenths(self) -> int:
        """The floor in tenths of a point; min is no constraint."""
        return FLOORS[self.floor]


@cache
def published() -> dict[str, Any]:
    """The whole file."""
    text = (resources.files("tierwise.reproduce") / "published.yaml").read_text(encoding="utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def table8() -> Iterator[Cell]:
    """Maximum accuracy, one to five users: 20 cells."""
    for experiment, rows in published()["table8_max_threshold"].items():
        for users, row in rows.items():
            decisions = tuple(Action(PLACES[place], ModelName("d0")) for place in row["places"])
            yield Cell(8, experiment, users, "max", row["ms"], decisions, 89.9, row.get("consistent", True))


def table9() -> Iterator[Cell]:
    """Five users, five floors: 20 cells."""
    for experiment, rows in published()["table9_five_users"].items():
        for floor, row in rows.items():
            decisions = row.get("d")
            yield Cell(
                9,
                experiment,
                USERS,
                str(floor),
                row["ms"],
                None if decisions is None else tuple(Action(PLACES[p], ModelName(m)) for m, p in decisions),
                row["acc"],
                row.get("consistent", True),
            )


def fixed_strategies() -> dict[Tier, float]:
    """Section 6.1.1: five users, Exp-A, everything on one tier; ms."""
    rows = published()["fixed_strategies_exp_a_five_users"]
    return {tier: rows[key] for key, tier in FIXED_KEYS.items()}
