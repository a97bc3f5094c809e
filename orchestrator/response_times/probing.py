"""What to try again, and how far a serving tier may be entered: the schedule that keeps beliefs from going stale.

A tier takes at most twice as many devices as were served there together before; one that answers nobody (`reporters`
says when that is not a device's own fault) is left at once, and asked again by a single device after 8, 16, 32, ...
rounds, or when it comes back after having been gone.
What was not used for some rounds is probed: an idle tier with one device, the next time with two; a device that
offloads with a local run. A probe costs response time, so intervals grow until probes of one kind cost no more than a
given share of it; what has changed lately may change back, and is probed without that patience. What looked strange is
looked at again in the next round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from orchestrator.response_times.observed import Floats, Ints
from orchestrator.response_times.view import Noted, View
from orchestrator.solver.problem import CLOUD, EDGE, LOCAL

SERVING = (EDGE, CLOUD)
FIRST_REST, LONGEST_REST = 8, 256  # rounds before a dead tier is asked again
OVERLOAD = 0.2  # of a tier's sharers without a result: it is entered anew from a quarter of them
RECENT = 200  # rounds for which a change counts as recent
LOADS = 2  # an idle tier is probed with one device and with two, in turn
SHARE_AT_ONCE = 5  # at most every fifth device of a site is probed in one round


@dataclass(frozen=True, eq=False, slots=True)
class Costs:
    """What trying something else would cost: `ms` (N, 3) is a device's time on each tier above what it is with the
    best joint action, inf where it has nothing there; `best` (N,) is its tier in that; `total_ms` is that one's sum."""

    ms: Floats
    best: Ints
    total_ms: float


@dataclass(slots=True)
class TierRecord:
    """What is remembered of one tier. Rounds are numbers; `entered`: the most that were all served together."""

    entered: int = 0
    used: int = 0
    load: int = 1
    changed: int = -RECENT
    rest: int = 0
    asked_again: int = 0
    suspect: bool = False
    offered: bool = True
    missed: int = 0  # of checkpoints of earlier versions

    @property
    def dead(self) -> bool:
        """It answered nobody when it was asked last."""
        return self.rest > 0

    @property
    def most(self) -> int:
        """So many may be sent there together."""
        return max(1, 2 * self.entered)


@dataclass(slots=True)
class Schedule:
    """Mutable: `note`, once a round."""

    every: int
    share: float
    tiers: dict[int, TierRecord] = field(default_factory=lambda: {tier: TierRecord() for tier in SERVING})
    ran: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    changed: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    suspects: set[int] = field(default_factory=set)

    def note(self, view: View, columns: Ints, noted: Noted, now: int) -> None:
        """Round `now` is over."""
        self._note(view, view.rows[view.tier[columns] == LOCAL], noted, now)

    def _note(self, view: View, local: Ints, noted: Noted, now: int) -> None:
        self._grow(view, now)
        self.ran[local] = now
        self.changed[view.rows[noted.changed_devices]] = now
        self.suspects -= set(local.tolist())  # looked at again
        self.suspects |= {int(view.rows[place]) for place in noted.suspect_devices}
        for tier, record in self.tiers.items():
            record.suspect = tier in noted.suspect_tiers or (record.suspect and not noted.answered.get(tier))
            if tier in noted.changed_tiers:
                record.changed = now
            if tier in noted.doubtful:
                if record.dead:
                    _note_use(record, 1, 0, now)
                else:
                    record.suspect = record.suspect or len(view.rows) > 1
            if tier in noted.sharers:
                _note_use(record, noted.sharers[tier], noted.answered[tier], now)

    def note_one(self, view: View, place: int, columns: Ints, noted: Noted, now: int) -> None:
        """One request is over, decided on arrival."""
        self._note(view, view.rows[[place]] if view.tier[columns[place]] == LOCAL else view.rows[:0], noted, now)

    def _grow(self, view: View, now: int) -> None:
        more = int(view.rows.max()) + 1 - len(self.ran)
        if more > 0:
            self.ran = np.concatenate([self.ran, np.full(more, now)])
            self.changed = np.concatenate([self.changed, np.full(more, now - RECENT)])

    def forced(self, view: View, costs: Costs, now: int, order: Ints, overdue: float = 1.0) -> dict[int, int]:
        """Places of devices that have to do something else than the best, with the tier on which they do it.

        `order`: the devices in random order, to break ties. `overdue`: only what waits for so many times as long as it
        should.
        """
        self._grow(view, now)
        for tier, record in self.tiers.items():
            here = bool((view.tier == tier).any())
            if here and not record.offered:
                record.rest = 0  # it was gone and is back: another node, or the same one restarted
            record.offered = here
        forced = dict.fromkeys(self._devices(view, costs, now, overdue), LOCAL)
        for tier, record in self.tiers.items():
            load = self._load(record, tier, costs, now, overdue)
            if load:
                able = [place for place in order if place not in forced and np.isfinite(costs.ms[place, tier])]
                able.sort(key=lambda place: float(costs.ms[place, tier]))
                forced.update((int(place), tier) for place in able[:load])
        return forced

    def _devices(self, view: View, costs: Costs, now: int, overdue: float) -> list[int]:
        """Devices that looked strange, and those that have not run locally for too long, the longest first."""
        local = np.isfinite(costs.ms[:, LOCAL])
        away = local & (costs.best != LOCAL)
        patience = self._patience(float(np.maximum(0.0, costs.ms[away, LOCAL]).sum()) / costs.total_ms)
        recent = now - self.changed[view.rows] < RECENT
        idle = now - self.ran[view.rows]
        due = away & (idle > overdue * np.where(recent, self.every, patience))
        if self.suspects and overdue <= 1.0:
            suspect = local & np.isin(view.rows, list(self.suspects))
            due |= suspect
            idle = np.where(suspect, np.iinfo(np.int64).max, idle)
        places = np.flatnonzero(due)
        most = max(1, len(view.rows) // SHARE_AT_ONCE)
        chosen: list[int] = places[np.argsort(-idle[places], kind="stable")][:most].tolist()
        return chosen

    def _load(self, record: TierRecord, tier: int, costs: Costs, now: int, overdue: float) -> int:
        """With how many devices this tier is probed in this round."""
        cheapest = float(costs.ms[:, tier].min())
        if not np.isfinite(cheapest):
            return 0
        if record.dead:
            return int(now >= record.asked_again + (overdue - 1.0) * record.rest)
        if record.suspect and overdue <= 1.0:
            return 1
        if not record.entered:
            return 0  # the unknown is for optimism to enter
        load = min(record.load, record.most, len(costs.best))
        patience = self._patience(load * load * max(0.0, cheapest) / costs.total_ms)
        if now - record.changed < RECENT:
            patience = self.every
        return load if now - record.used > overdue * patience else 0

    def _patience(self, cost: float) -> float:
        """Rounds between two probes that cost this share of a round's response time."""
        return max(self.every, cost / self.share)

    def keep(self, rows: Ints) -> None:
        """Forget all devices but these, which get new rows in this order."""
        known = rows < len(self.ran)
        now = int(self.ran.max(initial=0))
        self.ran = np.where(known, self.ran[np.where(known, rows, 0)] if len(self.ran) else now, now)
        self.changed = np.where(known, self.changed[np.where(known, rows, 0)] if len(self.changed) else 0, now - RECENT)
        self.suspects = {at for at, row in enumerate(rows.tolist()) if row in self.suspects}

    def save(self) -> dict[str, Any]:
        """JSON with which `load` goes on exactly here."""
        return {
            "tiers": {str(tier): asdict(record) for tier, record in self.tiers.items()},
            "ran": self.ran.tolist(),
            "changed": self.changed.tolist(),
            "suspects": sorted(self.suspects),
        }

    def load(self, saved: Mapping[str, Any]) -> None:
        """Raises KeyError, TypeError or ValueError."""
        self.tiers = {tier: _record(saved["tiers"][str(tier)]) for tier in SERVING}
        self.ran, self.changed = (np.array(saved[name], dtype=np.int64) for name in ("ran", "changed"))
        if self.ran.ndim != 1 or self.ran.shape != self.changed.shape:
            raise ValueError("rounds of another number of devices")
        self.suspects = {int(row) for row in saved["suspects"]}


def _record(saved: Mapping[str, Any]) -> TierRecord:
    record = TierRecord(**saved)
    for name, value in asdict(TierRecord()).items():
        if type(saved[name]) is not type(value):
            raise ValueError(f"{name} {saved[name]!r}")
    if not (record.entered >= 0 and record.rest >= 0 and 1 <= record.load <= LOADS):
        raise ValueError("a tier that cannot be")
    return record


def _note_use(record: TierRecord, sharers: int, answered: int, now: int) -> None:
    record.used = now
    if sharers >= record.load:
        record.load = record.load % LOADS + 1
    if not answered:
        record.rest = min(LONGEST_REST, 2 * record.rest or FIRST_REST)
        record.asked_again = now + record.rest
        return
    record.rest = 0
    if answered == sharers:
        record.entered = max(record.entered, sharers)
    elif sharers - answered > OVERLOAD * sharers:
        record.entered = max(1, sharers // 4)
