"""What the reports of each device on edge and cloud are worth: whose missing result, or strange time, is its own fault.

A tier counts as dead after missing results of two devices without a result of anybody in between. Until then the one
device is kept away from the tier, for 8, 16, 32, ... rounds, and another one tries it. A missing result that another
device contradicted twice is no longer believed. Times that are far from all that is known of the tier are held back
until a second device reports such times too; a device whose times are held back as too long counts as not served.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from orchestrator.response_times.observed import Floats, Ints
from orchestrator.response_times.view import Bools
from orchestrator.solver.problem import CLOUD, EDGE

FIRST_REST, LONGEST_REST = 8.0, 256.0  # rounds for which a device is kept away from a tier
WITNESSES = 2  # devices whose results are missing make a tier dead
MISSES = 2  # of one device in a row, where others were served
CONTRADICTED = 2.0  # missing results that others contradicted: the next one is no longer believed
FORGETS = 0.5  # of that, for each result
ABSURD = 5.0  # times longer than expected, or shorter than alone on the tier
ABSURD_SD = 6.0  # and so many standard deviations away from it
KEPT_AWAY_MS = 1e5  # what the tier counts as slower for a device that is kept away from it


@dataclass(slots=True)
class _Record:
    """Of one device on one tier. `until`: the round up to which it is kept away."""

    missed: int = 0
    rest: float = 0.0
    until: float = float("-inf")
    contradicted: float = 0.0


@dataclass(slots=True)
class _Tier:
    devices: dict[int, _Record] = field(default_factory=dict)  # by row; of those that had a missing result
    missed_by: set[int] = field(default_factory=set)  # since the last result of anybody
    strange: dict[int, int] = field(default_factory=dict)  # row: 1 too long, -1 too short; since the last usual time
    usual: set[int] = field(default_factory=set)  # rows whose times were as expected, or taken for want of others


@dataclass(frozen=True, slots=True)
class Verdict:
    """On one round of a tier: rows whose missing results say something of the tier, and whether it is dead.

    `doubtful`: nobody was served, and only one device asked that is believed: another one should try.
    """

    counted: frozenset[int]
    dead: bool
    doubtful: bool


class Reporters:
    """Mutable. Devices by row, rounds as passed by `advance`."""

    def __init__(self) -> None:
        self._now = 0.0
        self._tiers = {EDGE: _Tier(), CLOUD: _Tier()}

    def advance(self, rounds: float) -> None:
        """So many rounds have passed."""
        self._now += rounds

    def kept_away(self, rows: Ints, tier: int) -> Bools:
        """(N,): which of these devices are not to use the tier for now."""
        records = self._tiers[tier].devices
        away = {row for row, record in records.items() if record.until > self._now}
        return np.isin(rows, list(away)) if away else np.zeros(len(rows), dtype=bool)

    def judge(self, tier: int, served: Iterable[int], missed: Iterable[int], alone_at: int = 1) -> Verdict:
        """Who was served on the tier and who was not, in one round or one request.

        `alone_at`: so many missing results in a row, nobody being served, keep a device away.
        """
        here = self._tiers[tier]
        served, missed = set(served), set(missed)
        fresh = {row for row in missed if self._record(here, row).missed == 0}
        for row in missed:
            here.devices[row].missed += 1
        for row in served & here.devices.keys():
            self._note_served(here, row)
        if served:
            contradicted = here.missed_by | missed if len(here.missed_by) < WITNESSES else missed
            for row in contradicted - served:
                here.devices[row].contradicted += 1.0
            here.missed_by.clear()
            self._keep_away(here, (row for row in missed if here.devices[row].missed >= MISSES))
            # Several at once may be too many for the tier; one that has just missed a result is no news.
            return Verdict(frozenset(missed if len(missed) >= WITNESSES else fresh), dead=False, doubtful=False)
        believed = {row for row in missed if here.devices[row].contradicted < CONTRADICTED}
        here.missed_by |= believed
        if len(here.missed_by) >= WITNESSES:
            for row in here.missed_by:
                here.devices[row].until, here.devices[row].missed = self._now, 0
            return Verdict(frozenset(believed), dead=bool(believed), doubtful=False)
        self._keep_away(here, (row for row in missed if here.devices[row].missed >= alone_at))
        return Verdict(frozenset(fresh & believed), dead=False, doubtful=bool(believed))

    def held_back(
        self, tier: int, rows: Ints, times_ms: Floats, expected_ms: Floats, alone_ms: Floats, sd_ms: Floats
    ) -> Ints:
        """(N,): for each time 1 if it is held back as too long, -1 as too short, 0 if it counts."""
        here = self._tiers[tier]
        off = abs(times_ms - expected_ms) > ABSURD_SD * sd_ms
        signs = np.where(off & (times_ms > ABSURD * expected_ms), 1, 0)
        signs = np.where(off & (times_ms < alone_ms / ABSURD), -1, signs)
        usual = rows[signs == 0].tolist()
        if usual:
            here.strange.clear()
            here.usual.update(usual)
        if not signs.any():
            return signs
        for row, sign in zip(rows.tolist(), signs.tolist(), strict=True):
            if sign:
                here.strange[row] = sign
        both = [sum(sign == way for sign in here.strange.values()) for way in (-1, 1)]
        for row, sign in zip(rows.tolist(), signs.tolist(), strict=True):
            others = bool(here.usual - {row})
            confirmed = sign and (both[sign > 0] >= WITNESSES or not others)
            if confirmed:
                signs[rows == row] = 0
        return signs

    def taken(self, tier: int, rows: Sequence[int]) -> None:
        """Times of these devices that there was nothing to compare with."""
        self._tiers[tier].usual.update(rows)

    def keep(self, rows: Ints) -> None:
        """Forget all devices but these, which get new rows in this order."""
        new = {row: at for at, row in enumerate(rows.tolist())}
        for here in self._tiers.values():
            here.devices = {new[row]: record for row, record in here.devices.items() if row in new}
            here.strange = {new[row]: sign for row, sign in here.strange.items() if row in new}
            here.missed_by, here.usual = (
                {new[row] for row in all_ if row in new} for all_ in (here.missed_by, here.usual)
            )

    def save(self) -> dict[str, Any]:
        """JSON with which `load` goes on exactly here."""
        return {
            "now": self._now,
            "tiers": {
                str(tier): {
                    "devices": [
                        [row, one.missed, one.rest, max(-1.0, one.until), one.contradicted]
                        for row, one in sorted(here.devices.items())
                    ],
                    "missed_by": sorted(here.missed_by),
                    "strange": sorted(here.strange.items()),
                    "usual": sorted(here.usual),
                }
                for tier, here in self._tiers.items()
            },
        }

    def load(self, saved: Mapping[str, Any]) -> None:
        """What `save` gave. Raises KeyError, TypeError or ValueError."""
        self._now = _finite(saved["now"])
        for tier, here in self._tiers.items():
            one = saved["tiers"][str(tier)]
            here.devices = {
                int(row): _Record(int(missed), _finite(rest), _finite(until), _finite(contradicted))
                for row, missed, rest, until, contradicted in one["devices"]
            }
            here.missed_by, here.usual = ({int(row) for row in one[name]} for name in ("missed_by", "usual"))
            here.strange = {int(row): int(sign) for row, sign in one["strange"]}
            if not here.missed_by <= here.devices.keys():
                raise ValueError("a missing result of a device without a record")

    def _record(self, here: _Tier, row: int) -> _Record:
        return here.devices.setdefault(row, _Record())

    def _note_served(self, here: _Tier, row: int) -> None:
        record = here.devices[row]
        record.missed, record.rest = 0, record.rest / 2
        record.contradicted = max(0.0, record.contradicted - FORGETS)
        if record.rest < FIRST_REST / 2 and not record.contradicted:
            del here.devices[row]
            here.missed_by.discard(row)

    def _keep_away(self, here: _Tier, rows: Iterable[int]) -> None:
        for row in rows:
            record = here.devices[row]
            record.rest = min(LONGEST_REST, max(FIRST_REST, 2 * record.rest))
            record.until = self._now + record.rest


def _finite(value: Any) -> float:
    number = float(value)
    if not -1e300 < number < 1e300:
        raise ValueError(f"not finite: {number}")
    return number
