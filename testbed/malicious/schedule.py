"""Which device attacks how, and when. Pure: a seed gives the same schedule on every machine."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

ATTACKS_BEFORE_REST, REST_SHARE = 3, 0.4


class Attack(StrEnum):
    """What a device with a valid certificate may try."""

    SILENT = "asks and never reports"
    LIAR = "reports failed whenever offloaded"
    IMPOSTOR = "announces itself as an edge node"
    INFER_FLOOD = "100 undecided images a second"
    BIRTH_FLOOD = "100 births a second with unknown models"
    REPORT_FLOOD = "100 reports a second without a decision"
    FORGED_REPORTS = "100 forged reports a second of a day each"
    HEARTBEAT_FLOOD = "180 heartbeats a second"
    EXPLAIN_FLOOD = "100 explanations a second"


@dataclass(frozen=True, slots=True)
class Segment:
    """From `at_s` after the start of the attack for `lasts_s`: what each attacker does; who is not in it rests.

    One without attacks is what the others are compared with: the load of the machine changes within minutes.
    """

    at_s: float
    lasts_s: float
    attacks: tuple[tuple[str, Attack], ...]


def schedule(seed: int, attackers: Sequence[str], seconds: float, segment_s: float) -> list[Segment]:
    """Each attack alone, in turn, then one to all attackers at a time, each with an attack drawn at random.

    `seconds` of attacks, and a shorter rest after each ATTACKS_BEFORE_REST of them.
    """
    draw = random.Random(seed)
    segments: list[Segment] = []
    at_s = 0.0
    for number in range(int(seconds // segment_s)):
        if number < len(Attack):
            attacks = [(attackers[0], list(Attack)[number])]
        else:
            active = draw.sample(list(attackers), draw.randint(1, len(attackers)))
            attacks = [(name, draw.choice(list(Attack))) for name in sorted(active)]
        segments.append(Segment(at_s, segment_s, tuple(attacks)))
        at_s += segment_s
        if (number + 1) % ATTACKS_BEFORE_REST == 0:
            segments.append(Segment(at_s, REST_SHARE * segment_s, ()))
            at_s += REST_SHARE * segment_s
    return segments


def fingerprint(segments: Sequence[Segment]) -> str:
    """The same for the same schedule."""
    return hashlib.sha256(repr(segments).encode()).hexdigest()[:16]
