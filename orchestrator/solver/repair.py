"""A joint action made from prices: what each device would choose, then numbers and floor kept exactly, at least cost.

Nothing is proven here. Tiers are filled first (sharers charged what so many really pay), then deficits are bought back
or spent within each tier, then the best exchanges of one or two devices follow, whatever their tiers.
"""

from __future__ import annotations

import numpy as np

from orchestrator.solver.lagrangian import Prices, Relaxation
from orchestrator.solver.problem import CLOUD, EDGE, LOCAL, Floats, Ints

FAR_MS = 1e12  # in place of inf, where differences are sorted
ROUNDS = 6  # of deficits bought back or spent, many devices in each


def total_ms(relaxation: Relaxation, rows: Ints) -> float:
    """What a joint action takes; inf where it breaks the floor or asks for what cannot be done."""
    if int(relaxation.deficits[rows].sum()) > relaxation.budget:
        return np.inf
    edge, cloud = on_tiers(relaxation, rows)
    own_ms = relaxation.own_ms[rows, np.arange(len(rows))].sum()
    return float(own_ms + relaxation.sums_ms[0, edge] + relaxation.sums_ms[1, cloud])


def on_tiers(relaxation: Relaxation, rows: Ints) -> tuple[int, int]:
    """How many are on the edge and on the cloud."""
    on = np.bincount(relaxation.tier[rows], minlength=3)
    return int(on[EDGE]), int(on[CLOUD])


def assign(
    relaxation: Relaxation, sums_ms: Floats, prices: Prices, numbers: tuple[int, int], shift: bool
) -> Ints | None:
    """A row per device, the floor kept; None where this finds nothing feasible.

    `numbers`: of sharers; with `shift`, better ones are looked for from there.
    """
    priced_ms = relaxation.own_ms + prices.floor * relaxation.deficits[:, None]
    best = np.zeros((3, priced_ms.shape[1]), dtype=np.int64)
    costs_ms = np.full(best.shape, np.inf)
    for tier, rows in relaxation.rows:
        best[tier] = priced_ms[rows].argmin(axis=0) + rows.start
        costs_ms[tier] = priced_ms[rows].min(axis=0)
    costs_ms = np.minimum(costs_ms, FAR_MS)
    tiers = _tiers(costs_ms, prices, numbers)
    if shift:
        _shift(tiers, costs_ms, sums_ms)
    devices = np.arange(best.shape[1])
    chosen = best[tiers, devices]
    if not np.isfinite(relaxation.own_ms[chosen, devices]).all():
        return None
    found = _bought_back(relaxation, priced_ms, chosen)
    return None if found is None else _spent(relaxation, found)


def _tiers(costs_ms: Floats, prices: Prices, numbers: tuple[int, int]) -> Ints:
    """Each device's tier, so many on edge and cloud: where many devices are alike, prices alone send all or none."""
    choices_ms = costs_ms + np.array([[0.0], [prices.edge], [prices.cloud]])
    leaving_ms = np.minimum(choices_ms[EDGE], choices_ms[CLOUD]) - choices_ms[LOCAL]
    leave = np.argsort(leaving_ms)[: numbers[0] + numbers[1]]
    leave = leave[np.argsort(costs_ms[EDGE, leave] - costs_ms[CLOUD, leave])]
    chosen: Ints = np.zeros(costs_ms.shape[1], dtype=np.int64)
    chosen[leave[: numbers[0]]] = EDGE
    chosen[leave[numbers[0] :]] = CLOUD
    return chosen


def _shift(chosen: Ints, costs_ms: Floats, sums_ms: Floats) -> None:
    """The best numbers of two tiers at a time, the third left alone; sharers charged what they really pay. In place."""
    shares_ms = (np.zeros_like(sums_ms[0]), sums_ms[0], sums_ms[1])
    for here, there in ((CLOUD, EDGE), (LOCAL, EDGE), (LOCAL, CLOUD), (CLOUD, EDGE)):
        may = np.flatnonzero((chosen == here) | (chosen == there))
        joins_ms = costs_ms[there, may] - costs_ms[here, may]
        first = np.argsort(joins_ms)
        split_ms = shares_ms[there][: len(may) + 1] + shares_ms[here][: len(may) + 1][::-1]
        split_ms[1:] += np.cumsum(joins_ms[first])
        chosen[may] = here
        chosen[may[first[: int(split_ms.argmin())]]] = there


def _bought_back(relaxation: Relaxation, priced_ms: Floats, rows: Ints) -> Ints | None:
    """Deficits above the budget are bought back where a tenth costs least more than the floor's price."""
    devices, deficits = np.arange(len(rows)), relaxation.deficits
    for _ in range(ROUNDS):
        excess = int(deficits[rows].sum()) - relaxation.budget
        if excess <= 0:
            return rows
        fewer = deficits[rows] - deficits[:, None]
        may = (fewer > 0) & (relaxation.tier[:, None] == relaxation.tier[rows])
        rates = np.where(may, (priced_ms - priced_ms[rows, devices]) / np.maximum(fewer, 1), np.inf)
        to = rates.argmin(axis=0)
        order = np.argsort(rates[to, devices])
        enough = int(np.searchsorted(np.cumsum(fewer[to, devices][order].clip(0)), excess)) + 1
        moved = order[:enough]
        moved = moved[np.isfinite(rates[to[moved], moved])]
        rows = rows.copy()
        rows[moved] = to[moved]
    return rows if int(deficits[rows].sum()) <= relaxation.budget else None


def _spent(relaxation: Relaxation, rows: Ints) -> Ints:
    """What is left of the budget is spent where a tenth saves most."""
    devices, deficits = np.arange(len(rows)), relaxation.deficits
    for _ in range(ROUNDS):
        slack = relaxation.budget - int(deficits[rows].sum())
        more = deficits[:, None] - deficits[rows]
        may = (more > 0) & (more <= slack) & (relaxation.tier[:, None] == relaxation.tier[rows])
        if not may.any():
            break
        rates = np.where(may, (relaxation.own_ms[rows, devices] - relaxation.own_ms) / np.maximum(more, 1), 0.0)
        to = rates.argmax(axis=0)
        order = np.argsort(-rates[to, devices])
        order = order[rates[to[order], order] > 0]
        moved = order[np.cumsum(more[to[order], order]) <= slack]
        if not len(moved):
            break
        rows = rows.copy()
        rows[moved] = to[moved]
    return rows


def fill(relaxation: Relaxation, sums_ms: Floats, rows: Ints) -> Ints:
    """The best numbers of sharers among moves that need no more of the budget; what that leaves is spent."""
    devices = np.arange(len(rows))
    costs_ms, best = np.full((3, len(rows)), FAR_MS), np.zeros((3, len(rows)), dtype=np.int64)
    for tier, own in relaxation.rows:
        allowed_ms = np.where(
            relaxation.deficits[own, None] <= relaxation.deficits[rows], relaxation.own_ms[own], np.inf
        )
        best[tier] = allowed_ms.argmin(axis=0) + own.start
        costs_ms[tier] = np.minimum(allowed_ms.min(axis=0), FAR_MS)
    tiers = relaxation.tier[rows].copy()
    best[tiers, devices], costs_ms[tiers, devices] = rows, relaxation.own_ms[rows, devices]
    _shift(tiers, costs_ms, sums_ms)
    filled = best[tiers, devices]
    return _spent(relaxation, filled) if np.isfinite(relaxation.own_ms[filled, devices]).all() else rows


def exchange(relaxation: Relaxation, rows: Ints, most: int) -> Ints:
    """The best exchange of one or two devices, up to `most` times, while it saves anything."""
    rows = rows.copy()
    for _ in range(most):
        moves = _moves(relaxation, rows)
        pair = _best_pair(relaxation, rows, *moves)
        if pair is None:
            break
        for move in pair:
            rows[moves[0][move]] = moves[1][move]
    return rows


def _moves(relaxation: Relaxation, rows: Ints) -> tuple[Ints, Ints, Floats]:
    """For each two rows, the device that changes at least cost from one to the other: devices, their new rows, costs in
    ms, tiers not counted. The first move is none at all."""
    devices, to, costs_ms = [np.zeros(1, np.int64)], [rows[:1]], [np.zeros(1)]
    for row in np.unique(rows).tolist():
        here = np.flatnonzero(rows == row)
        change_ms = relaxation.own_ms[:, here] - relaxation.own_ms[row, here]
        change_ms[row] = np.inf
        best = change_ms.argmin(axis=1)
        least_ms = change_ms[np.arange(len(best)), best]
        able = np.flatnonzero(np.isfinite(least_ms))
        devices.append(here[best[able]])
        to.append(able)
        costs_ms.append(least_ms[able])
    return np.concatenate(devices), np.concatenate(to), np.concatenate(costs_ms)


def _best_pair(relaxation: Relaxation, rows: Ints, devices: Ints, to: Ints, costs_ms: Floats) -> list[int] | None:
    """The two moves (or one, and none) that save most together within the budget; None where nothing saves."""
    slack = relaxation.budget - int(relaxation.deficits[rows].sum())
    steps = relaxation.weights[:, to] - relaxation.weights[:, rows[devices]]
    both = steps[:, :, None] + steps[:, None, :]
    change_ms = costs_ms[:, None] + costs_ms
    for tier, on in enumerate(on_tiers(relaxation, rows)):
        numbers = np.arange(on - 2, on + 3)
        near_ms = relaxation.sums_ms[tier, numbers.clip(0, len(rows))] - relaxation.sums_ms[tier, on]
        change_ms = change_ms + near_ms[(both[tier + 1] + 2).astype(np.int64)]
    same = devices[:, None] == devices
    same[0] = same[:, 0] = False
    change_ms[(both[0] > slack) | same] = np.inf
    first, second = divmod(int(change_ms.argmin()), len(to))
    if not change_ms[first, second] < -1e-9 * (1 + abs(float(costs_ms.max()))):
        return None
    return [move for move in (first, second) if move]
