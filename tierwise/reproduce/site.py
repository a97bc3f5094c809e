"""The paper's site in the simulator: what the optimum is, and what given decisions take, without noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from broker.vocabulary import Action, Tier
from configs.calibration import CalibrationConfig
from configs.demo import ExperimentConfig
from model_zoo.manifest import load_manifest
from orchestrator.accuracy import Accuracies, accuracies_of
from orchestrator.simulator.files import find
from orchestrator.simulator.site import Site, site_of
from orchestrator.solver.exact import solve
from orchestrator.solver.problem import Problem

CALIBRATION = "a1-paper"


@cache
def accuracies() -> Accuracies:
    """Table 4's."""
    return accuracies_of(load_manifest())


@cache
def paper_site(experiment: str, users: int) -> Site:
    """The shipped calibration in one of the paper's experiments."""
    return site_of(find(CalibrationConfig, CALIBRATION), find(ExperimentConfig, experiment), users, accuracies())


@dataclass(frozen=True, slots=True)
class Outcome:
    """A joint action, its average response time in ms, and its average Top-5 accuracy in %."""

    actions: tuple[Action, ...]
    ms: float
    accuracy: float


def problem(experiment: str, users: int, floor_tenths: int) -> Problem:
    """Nobody is busy."""
    return paper_site(experiment, users).problem(floor_tenths, np.zeros(users + 2, dtype=bool))


def optimum(experiment: str, users: int, floor_tenths: int) -> Outcome:
    """Proven by the exact solver."""
    site = paper_site(experiment, users)
    best = solve(problem(experiment, users, floor_tenths))
    return outcome(experiment, [site.actions[place] for place in best.actions])


def outcome(experiment: str, actions: Sequence[Action]) -> Outcome:
    """What these decisions take."""
    site = paper_site(experiment, len(actions))
    indices = tuple(site.actions.index(action) for action in actions)
    ms = problem(experiment, len(actions), 0).total_ms(indices) / len(actions)
    return Outcome(tuple(actions), ms, accuracies().mean_percent(action.model for action in actions))


def all_on(tier: Tier, experiment: str, users: int) -> Outcome:
    """A fixed strategy: d0 everywhere on one tier."""
    site = paper_site(experiment, users)
    best = max(
        (action for action in site.actions if action.tier is tier), key=lambda action: accuracies().tenths[action.model]
    )
    return outcome(experiment, [best] * users)
