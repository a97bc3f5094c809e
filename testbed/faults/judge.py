"""Ledger against response log: what was lost, what was doubled, how requests ended. Pure.

An id that a device had on record must be one row. One that was only drawn may be none or one: its device may have died
after the outbox took it and before the ledger did. Nobody may be told that a report is stored while it is not.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from testbed.faults.ledger import Books, Effect
from testbed.faults.schedule import Kind

QUIET = "none"
EXAMPLES = 20
AFTERMATH_S = 1.0  # what is issued so soon after a fault still counts as under it


@dataclass(frozen=True, slots=True)
class Happened:
    """One fault as it came about, on the wall clock."""

    number: int
    kind: Kind
    target: str
    began_s: float
    ended_s: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """Counts of ids; the tuples name the first few of them."""

    issued: int
    acknowledged: int
    effected: int
    lost: tuple[str, ...]
    lost_count: int
    doubled: tuple[str, ...]
    doubled_count: int
    acknowledged_without_row: int
    of_nobody: int  # rows whose id no device drew
    by_another: int  # rows under another node than the one that issued the id
    only_drawn: int
    torn_lines: int
    outcomes: dict[str, dict[str, int]]  # under which kind of fault, how they ended, how many

    @property
    def holds(self) -> bool:
        """Whether nothing was lost or doubled, and no acknowledgement was untrue."""
        bad = (self.lost_count, self.doubled_count, self.acknowledged_without_row, self.of_nobody, self.by_another)
        return self.issued > 0 and not any(bad)


def judge(books: Books, effects: Sequence[Effect], faults: Iterable[Happened]) -> Verdict:
    """The verdict on one run that has been drained."""
    rows = Counter(effect.request_id for effect in effects)
    lost = [request for request in books.issued if request not in rows]
    doubled = [request for request, count in rows.items() if count > 1]
    return Verdict(
        issued=len(books.issued),
        acknowledged=len(books.acknowledged),
        effected=len(rows),
        lost=tuple(lost[:EXAMPLES]),
        lost_count=len(lost),
        doubled=tuple(doubled[:EXAMPLES]),
        doubled_count=len(doubled),
        acknowledged_without_row=sum(request not in rows for request in books.acknowledged),
        of_nobody=sum(request not in books.drawn for request in rows),
        by_another=sum(e.node != books.issued.get(e.request_id, (0.0, e.node))[1] for e in effects),
        only_drawn=len(books.drawn - books.issued.keys() - books.given_up),
        torn_lines=books.torn_lines,
        outcomes=_outcomes(books, effects, list(faults)),
    )


def _outcomes(books: Books, effects: Sequence[Effect], faults: Sequence[Happened]) -> dict[str, dict[str, int]]:
    """How the requests ended that were issued while a kind of fault was on; one may be under several."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    under = _under([at_s for at_s, _ in books.issued.values()], faults)
    kinds = dict(zip(books.issued, under, strict=True))
    for effect in effects:
        for kind in kinds.get(effect.request_id, ()) or (QUIET,):
            counts[kind][effect.outcome] += 1
    return {kind: dict(sorted(counts[kind].items())) for kind in sorted(counts)}


def _under(times_s: Sequence[float], faults: Sequence[Happened]) -> list[tuple[str, ...]]:
    """For each moment, which kinds of fault were on."""
    changes: list[tuple[float, int, str]] = []
    for fault in faults:
        changes += [(fault.began_s, 1, fault.kind), (fault.ended_s + AFTERMATH_S, -1, fault.kind)]
    changes.sort()
    on: Counter[str] = Counter()
    found: list[tuple[str, ...]] = [()] * len(times_s)
    place = 0
    for index in sorted(range(len(times_s)), key=times_s.__getitem__):
        while place < len(changes) and changes[place][0] <= times_s[index]:
            on[changes[place][2]] += changes[place][1]
            place += 1
        found[index] = tuple(kind for kind, count in on.items() if count > 0)
    return found
