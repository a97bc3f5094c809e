"""What became of each request that was sent: when it was decided, reported and acknowledged, and what was doubled."""

from __future__ import annotations

import secrets
from array import array
from collections import Counter
from dataclasses import dataclass

NEVER = 0.0
REFUSAL = "safe_fallback"  # the policy's name where an overloaded orchestrator answers by itself


@dataclass(frozen=True, slots=True)
class Figures:
    """One run, seen from the devices. Times in ms from a request's sending to its decision.

    `within`: decided in time; of those `refused` were answered by the safe fallback in place of the policy. `late`:
    decided after the device had given up; it ran the request by itself and said so. `unanswered`: not decided when the
    run ended; it did the same. `without_outcome`: nor even that. `accepted_p99_ms` is of what was not refused.
    """

    sent: int
    within: int
    refused: int
    late: int
    unanswered: int
    without_outcome: int
    doubled: int
    unacknowledged: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    worst_ms: float
    accepted_p99_ms: float
    policies: dict[str, int]


class Ledger:
    """Times are monotonic seconds. Mutable; a request is known by its number."""

    def __init__(self) -> None:
        self._run = secrets.token_hex(11)
        self._sent_s, self._decided_s, self._acknowledged_s = array("d"), array("d"), array("d")
        self._gave_up, self._refused = bytearray(), bytearray()
        self._doubled = 0
        self._policies: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many requests were sent."""
        return len(self._sent_s)

    def send(self, now_s: float) -> tuple[int, str]:
        """One more request: its number and its id."""
        number = len(self._sent_s)
        self._sent_s.append(now_s)
        self._decided_s.append(NEVER)
        self._acknowledged_s.append(NEVER)
        self._gave_up.append(0)
        self._refused.append(0)
        return number, self.id_of(number)

    def id_of(self, number: int) -> str:
        """The id of a request of this run."""
        return f"{self._run}-{number:08d}"

    def number_of(self, request_id: str) -> int | None:
        """The number of a request of this run; None of any other."""
        run, _, number = request_id.partition("-")
        return int(number) if run == self._run else None

    def decide(self, number: int, policy: str, now_s: float) -> bool:
        """A decision came. Whether its device still waits for it; a second one is counted as doubled."""
        if self._decided_s[number] != NEVER:
            self._doubled += 1
            return False
        self._decided_s[number] = now_s
        self._policies[policy] += 1
        self._refused[number] = policy == REFUSAL
        return not self._gave_up[number]

    def give_up(self, number: int) -> bool:
        """The device waits no more. False where the decision had come before."""
        if self._decided_s[number] != NEVER:
            return False
        self._gave_up[number] = 1
        return True

    def acknowledge(self, number: int, now_s: float) -> None:
        """Its report is stored. The same again is no fault: QoS 1 may repeat it."""
        self._acknowledged_s[number] = now_s

    def waiting(self) -> int:
        """How many requests have no outcome yet, or one whose report is not acknowledged."""
        columns = zip(self._decided_s, self._gave_up, self._acknowledged_s, strict=True)
        return sum((decided == NEVER and not gave_up) or stored == NEVER for decided, gave_up, stored in columns)

    def figures(self, from_s: float = 0.0, to_s: float = float("inf")) -> Figures:
        """Of the requests that were sent in this time."""
        numbers = [number for number, sent_s in enumerate(self._sent_s) if from_s <= sent_s < to_s]
        decided = [number for number in numbers if self._decided_s[number] != NEVER]
        within = [number for number in decided if not self._gave_up[number]]
        unanswered = [number for number in numbers if self._decided_s[number] == NEVER]
        waits_ms = self._waits_ms(within)
        accepted_ms = self._waits_ms([number for number in within if not self._refused[number]])
        return Figures(
            sent=len(numbers),
            within=len(within),
            refused=sum(self._refused[number] for number in within),
            late=len(decided) - len(within),
            unanswered=len(unanswered),
            without_outcome=sum(not self._gave_up[number] for number in unanswered),
            doubled=self._doubled,
            unacknowledged=sum(self._acknowledged_s[number] == NEVER for number in numbers),
            p50_ms=percentile(waits_ms, 50),
            p90_ms=percentile(waits_ms, 90),
            p99_ms=percentile(waits_ms, 99),
            worst_ms=waits_ms[-1] if waits_ms else 0.0,
            accepted_p99_ms=percentile(accepted_ms, 99),
            policies=dict(self._policies),
        )

    def _waits_ms(self, numbers: list[int]) -> list[float]:
        return sorted((self._decided_s[number] - self._sent_s[number]) * 1000 for number in numbers)


def percentile(ordered: list[float], percent: float) -> float:
    """By nearest rank; 0 of nothing."""
    rank = -int(-len(ordered) * percent // 100)
    return ordered[max(0, rank - 1)] if ordered else 0.0
