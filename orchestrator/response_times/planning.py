"""From beliefs to decision problems: P1 (equation 2) for expected and for optimistic times, and what changes cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from broker.vocabulary import Action
from orchestrator.errors import FloorUnreachable
from orchestrator.response_times.observed import Floats, Ints
from orchestrator.response_times.probing import SERVING, Costs, TierRecord
from orchestrator.response_times.shared_round import Leap
from orchestrator.response_times.view import Belief, Bools, View
from orchestrator.solver.problem import LOCAL, MOST_DEFICIT, Problem

SAME = 1e-6  # joint actions whose expected sums differ by less are one
LEAST = 0.1  # no optimism makes a tier faster than this share of what is expected

T = TypeVar("T")


def expected(view: View, belief: Belief) -> Problem:
    """P1 with the expected times; edge and cloud take any number. The sums are those that are believed in."""
    own_ms, shared_ms = np.where(view.able, belief.own_ms, np.inf), belief.shared_ms.copy()
    for tier in SERVING:
        _share_what_is_common(own_ms, shared_ms, view.tier == tier, tier)
    return Problem(own_ms, view.tier, view.deficits, np.maximum(0.0, shared_ms), view.budget)


def _share_what_is_common(own_ms: Floats, shared_ms: Floats, there: Bools, tier: int) -> None:
    """No time is negative, so what all have in common goes to what they share."""
    if there.any():
        common_ms = float(own_ms[:, there].min())
        if np.isfinite(common_ms):
            own_ms[:, there] -= common_ms
            shared_ms[tier - 1] += common_ms


def hoped(
    view: View,
    belief: Belief,
    tiers: Mapping[int, TierRecord],
    width: float | Floats,
    leaps: Mapping[int, Leap],
    limited: bool = True,
) -> Problem:
    """P1 for hoped-for times: local ones `width` deviations (per device and column) below what is expected, edge and
    cloud a leap from it.

    They take no more than the schedule allows, a dead one nobody; unless `limited` is False: some sites cannot be
    served, or cannot keep the floor, within the limits.
    """
    local = view.tier == LOCAL
    widths: Floats = np.broadcast_to(np.asarray(width, dtype=np.float64), view.able.shape)
    own_ms, shared_ms = np.where(view.able, belief.own_ms, np.inf), belief.shared_ms.copy()
    own_ms[:, local] *= np.exp(-widths[:, local] * belief.own_sd[:, local])
    least_ms = LEAST * belief.shared_ms
    for tier, record in tiers.items():
        there = view.tier == tier
        if there.any():
            own_ms[:, there] += leaps[tier].own_ms
            leaped_ms = np.maximum(least_ms[tier - 1], shared_ms[tier - 1] + leaps[tier].shared_ms)
            shared_ms[tier - 1] = np.maximum.accumulate(leaped_ms)
            _share_what_is_common(own_ms, shared_ms, there, tier)
            shared_ms[tier - 1] = np.maximum(least_ms[tier - 1], shared_ms[tier - 1])
        if limited:
            shared_ms[tier - 1, 1 if record.dead else record.most + 1 :] = np.inf
    return Problem(own_ms, view.tier, view.deficits, shared_ms, view.budget)


def served(
    solve: Callable[[Problem], T],
    view: View,
    belief: Belief,
    tiers: Mapping[int, TierRecord],
    width: float | Floats,
    leaps: Mapping[int, Leap],
) -> T:
    """`solve` of what is hoped for. Being served and the floor go before the limits of entry."""
    try:
        return solve(hoped(view, belief, tiers, width, leaps))
    except FloorUnreachable:
        return solve(hoped(view, belief, tiers, width, leaps, limited=False))


def cautious(view: View, belief: Belief, by: float) -> dict[int, Leap]:
    """Edge and cloud as expected, so many standard deviations slower where less is known."""
    nothing = {tier: np.zeros((len(view.rows), int((view.tier == tier).sum()))) for tier in SERVING}
    return {tier: Leap(by * belief.shared_sd[tier - 1], nothing[tier]) for tier in SERVING}


def with_forced(problem: Problem, forced: Mapping[int, int]) -> Problem:
    """`problem` in which these devices (by place) are on these tiers, even one that is not asked otherwise."""
    own_ms, shared_ms = problem.own_ms.copy(), problem.shared_ms.copy()
    for place, tier in forced.items():
        own_ms[place, problem.tier != tier] = np.inf
    for tier in SERVING:
        asked = sum(on == tier for on in forced.values())
        entry = shared_ms[tier - 1, : asked + 1]
        shared_ms[tier - 1, : asked + 1] = np.where(np.isfinite(entry), entry, 0.0)
    return Problem(own_ms, problem.tier, problem.deficits, shared_ms, problem.budget)


def times_ms(view: View, belief: Belief, columns: Ints) -> Floats:
    """(N,): what each device is expected to take in this joint action."""
    tiers = view.tier[columns]
    on = np.bincount(tiers, minlength=3)
    shared_ms = belief.shared_ms[np.maximum(0, tiers - 1), on[tiers]]
    own_ms: Floats = belief.own_ms[np.arange(len(columns)), columns]
    return own_ms + np.where(tiers == LOCAL, 0.0, shared_ms)


def differ(view: View, belief: Belief, columns: Ints, best: Ints) -> bool:
    """Whether these are another joint action than the best, and not merely one that is believed to be as good."""
    if (columns == best).all():
        return False
    problem = expected(view, belief)
    least_ms = problem.total_ms(best.tolist())
    return abs(problem.total_ms(columns.tolist()) - least_ms) > SAME * least_ms


def costs(view: View, belief: Belief, columns: Ints) -> Costs:
    """What each device would take on each tier above what it takes in this joint action, the others staying put.

    Locally that is with its most accurate model, which is never against the floor.
    """
    devices = np.arange(len(columns))
    tiers = view.tier[columns]
    on = np.bincount(tiers, minlength=3)
    ms = np.full((len(columns), 3), np.inf)
    here = view.able & (view.tier == LOCAL)
    accurate = _most_accurate(view, here)
    ms[:, LOCAL] = np.where(here[devices, accurate], belief.own_ms[devices, accurate], np.inf)
    for tier in SERVING:
        there = view.tier == tier
        if there.any():
            joined = np.minimum(len(columns), on[tier] + (tiers != tier))
            ms[:, tier] = belief.own_ms[:, there].min(axis=1) + belief.shared_ms[tier - 1, joined]
    now_ms = times_ms(view, belief, columns)
    return Costs(ms - now_ms[:, None], tiers, float(now_ms.sum()))


def _most_accurate(view: View, able: Bools) -> Ints:
    """(N,): each device's column of the least deficit among `able` (N, A); the first where it has none."""
    columns: Ints = np.where(able, view.deficits, MOST_DEFICIT + 1).argmin(axis=1)
    return columns


def standing_columns(view: View, held: Sequence[Action | None]) -> Ints:
    """(N,): what all hold; who holds nothing is taken to do its most accurate."""
    accurate = _most_accurate(view, view.able).tolist()
    columns = [own if done is None else view.column.get(done, own) for done, own in zip(held, accurate, strict=True)]
    return np.array(columns)


def left_for(view: View, held: Sequence[Action | None], place: int) -> int:
    """The deficit that the floor leaves one device, in tenths: of what it and those that were told something may have
    together. Who was told nothing spends nothing, and lends nothing either."""
    told = [done for at, done in enumerate(held) if at != place and done is not None]
    others = [view.column[done] for done in told if done in view.column]
    return view.budget // len(view.rows) * (len(others) + 1) - int(view.deficits[others].sum() if others else 0)


def best_alone(
    view: View, belief: Belief, tiers: Mapping[int, TierRecord], standing: Ints, place: int, left: int
) -> int:
    """The best column of one device within so many tenths, all others standing; if there is none, its most accurate."""
    problem = hoped(view, belief, tiers, 0.0, cautious(view, belief, 0.0))
    others = np.delete(standing, place)
    on = np.bincount(view.tier[others], minlength=3)
    sums_ms = problem.own_ms[place].copy()
    for tier in SERVING:
        before_ms, after_ms = problem.sums_ms[tier - 1, on[tier] : on[tier] + 2]
        # A tier that is over its limit already takes nobody.
        sums_ms[view.tier == tier] += after_ms - before_ms if before_ms < np.inf else np.inf
    sums_ms[view.deficits > left] = np.inf
    if not np.isfinite(sums_ms).any():
        return int(_most_accurate(view, view.able)[place])
    return int(sums_ms.argmin())
