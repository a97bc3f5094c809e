"""What would be: the best response time at every floor, from what the factored agent has learned. Touches no device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from broker.vocabulary import ModelName
from configs.orchestrator import FactoredSection, StateSection
from orchestrator.agents.factored import Factored
from orchestrator.checkpoint import Checkpoint
from orchestrator.errors import CheckpointRefused, FloorUnreachable
from orchestrator.response_times.observed import Floats, Ints
from orchestrator.response_times.planning import cautious, served, times_ms
from orchestrator.response_times.view import Belief, View
from orchestrator.solver.bounded import solve_within
from orchestrator.solver.problem import LOCAL

GAP = 0.0005  # certified; what is believed is less certain by far


@dataclass(frozen=True, slots=True)
class WhatIf:
    """The best joint action at one floor, for the devices of the last round. Times are averages over devices in ms.

    `sd_ms`: how sure the expectation is; `gap`: by what share the optimum for it may be better, certified.
    `actions`: how many devices do what, `d4@end`.
    """

    floor_tenths: int
    mean_ms: float
    sd_ms: float
    gap: float
    accuracy_tenths: float
    actions: Mapping[str, int]


def what_if(
    checkpoint: Checkpoint, models: Mapping[ModelName, int], floors: Iterable[int] | None = None
) -> list[WhatIf]:
    """A row per floor in tenths, rising; by default from the least accurate model's to the most accurate one's.

    Edge and cloud are taken no fuller than twice what was tried, unless the floor cannot be kept so. Floors that these
    devices cannot meet are left out.
    Raises CheckpointRefused when it is no checkpoint of the agent, of other models, or from before the first round.
    """
    agent = Factored(FactoredSection(), StateSection(), models, seed=0)
    agent.load(checkpoint)
    view = agent.last_view
    if view is None:
        raise CheckpointRefused("it has learned nothing yet; let it decide some rounds first")
    belief = agent.belief(view)
    tenths = [models[action.model] for action in view.columns]
    wanted = sorted(floors) if floors is not None else range(min(tenths), max(tenths) + 1)
    found: list[WhatIf] = []
    for floor in reversed(list(wanted)):
        at_floor = view.at_floor(floor, models)
        try:
            row = _row(agent, at_floor, belief, floor, tenths)
        except FloorUnreachable:
            continue
        # What meets a higher floor meets this one: no gap may make the lower one look slower.
        if found and found[-1].mean_ms < row.mean_ms:
            best = found[-1]
            gap = max(0.0, best.mean_ms / row.mean_ms * (1 + row.gap) - 1)
            row = WhatIf(floor, best.mean_ms, best.sd_ms, gap, best.accuracy_tenths, best.actions)
        found.append(row)
    return found[::-1]


def _row(agent: Factored, view: View, belief: Belief, floor: int, tenths: list[int]) -> WhatIf:
    solve = partial(solve_within, gap=GAP)
    solution = served(solve, view, belief, agent.schedule.tiers, 0.0, cautious(view, belief, 0.0))
    columns = np.array(solution.actions)
    counted = Counter(str(view.columns[column]) for column in columns.tolist())
    return WhatIf(
        floor_tenths=floor,
        mean_ms=float(times_ms(view, belief, columns).mean()),
        sd_ms=_sd_ms(view, belief, columns),
        gap=solution.gap,
        accuracy_tenths=sum(tenths[column] for column in columns.tolist()) / len(columns),
        actions=dict(sorted(counted.items())),
    )


def _sd_ms(view: View, belief: Belief, columns: Ints) -> float:
    """Of the average: devices err apart, whoever shares a tier errs together."""
    devices = np.arange(len(columns))
    own_ms, sd = belief.own_ms[devices, columns], belief.own_sd[devices, columns]
    tiers = view.tier[columns]
    local = tiers == LOCAL
    variance = float(((own_ms * sd)[local] ** 2).sum() + (sd[~local] ** 2).sum())
    on = np.bincount(tiers, minlength=3)
    together: Floats = np.array([on[tier] * belief.shared_sd[tier - 1, on[tier]] for tier in (1, 2)])
    return float(np.sqrt(variance + (together**2).sum()) / len(columns))
