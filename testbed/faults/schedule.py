"""Which fault befalls what, when, and for how long. Pure: a seed gives the same schedule on every machine."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The thirteen kinds of fault."""

    BROKER_KILL = "broker killed"
    BROKER_FREEZE = "broker frozen"
    BROKER_EMPTY_STORE = "broker restarted with an empty store"
    SERVING_KILL = "serving node killed"
    SERVING_FREEZE = "serving node frozen"
    ORCHESTRATOR_KILL = "orchestrator killed"
    DEVICE_KILL = "device killed"
    TCP_RESET = "TCP reset"
    BLACK_HOLE = "black hole"
    LATENCY = "300 ms latency"
    BANDWIDTH = "64 kbit/s"
    SLICED = "sliced packets"
    FULL_QUEUE = "full queue"


# From and to, in seconds: how long a process is away (killed) or how long the fault lasts. Drawn evenly on a logarithm.
LASTS_S: dict[Kind, tuple[float, float]] = {
    Kind.BROKER_KILL: (0.1, 2.0),
    Kind.BROKER_FREEZE: (1.0, 30.0),
    Kind.BROKER_EMPTY_STORE: (0.1, 2.0),
    Kind.SERVING_KILL: (0.2, 4.0),
    Kind.SERVING_FREEZE: (1.0, 10.0),
    Kind.ORCHESTRATOR_KILL: (0.1, 2.0),
    Kind.DEVICE_KILL: (0.1, 2.0),
    Kind.TCP_RESET: (0.05, 0.5),
    Kind.BLACK_HOLE: (1.0, 15.0),
    Kind.LATENCY: (2.0, 10.0),
    Kind.BANDWIDTH: (2.0, 10.0),
    Kind.SLICED: (2.0, 10.0),
    Kind.FULL_QUEUE: (2.0, 6.0),
}
LINK_KINDS = frozenset({Kind.TCP_RESET, Kind.BLACK_HOLE, Kind.LATENCY, Kind.BANDWIDTH, Kind.SLICED})
REST_S = 2.0  # after a fault its target is left alone for so long, so that most faults meet a site that works


@dataclass(frozen=True, slots=True)
class Targets:
    """The processes of a site by name; each has a link of its own but the broker."""

    broker: str
    orchestrator: str
    serving: tuple[str, ...]
    devices: tuple[str, ...]  # each a process with several end devices

    def of(self, kind: Kind) -> tuple[str, ...]:
        """Whom this kind may befall."""
        if kind in LINK_KINDS:
            return (self.orchestrator, *self.serving, *self.devices)
        if kind in (Kind.SERVING_KILL, Kind.SERVING_FREEZE):
            return self.serving
        if kind is Kind.DEVICE_KILL:
            return self.devices
        if kind in (Kind.ORCHESTRATOR_KILL, Kind.FULL_QUEUE):
            return (self.orchestrator,)
        return (self.broker,)


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: `at_s` after the start, for `lasts_s`."""

    number: int
    at_s: float
    kind: Kind
    target: str
    lasts_s: float

    def befalls(self, targets: Targets) -> tuple[str, ...]:
        """What it has for itself: a process or the link of one, sorted. Two faults never share any.

        A queue cannot be filled in a broker that is not there.
        """
        if self.kind is Kind.FULL_QUEUE:
            return tuple(sorted((self.target, targets.broker)))
        return (f"link of {self.target}" if self.kind in LINK_KINDS else self.target,)


def schedule(seed: int, count: int, targets: Targets, pace_s: float, longest_s: float = math.inf) -> list[Fault]:
    """`count` faults, each kind as often as the others give or take one, a new one each `pace_s` seconds on average.

    They overlap, but no two befall the same thing: one that would waits. `longest_s` cuts what lasts.
    """
    draw = random.Random(seed)
    kinds: list[Kind] = []
    while len(kinds) < count:
        kinds += draw.sample(list(Kind), len(Kind))
    free_s: dict[str, float] = {}
    at_s = 0.0
    faults = []
    for kind in kinds[:count]:
        at_s += draw.expovariate(1.0 / pace_s)
        low_s, high_s = LASTS_S[kind]
        lasts_s = min(longest_s, math.exp(draw.uniform(math.log(low_s), math.log(high_s))))
        fault = Fault(0, at_s, kind, draw.choice(targets.of(kind)), round(lasts_s, 3))
        things = fault.befalls(targets)
        begins_s = max(at_s, *(free_s.get(thing, 0.0) for thing in things))
        free_s.update(dict.fromkeys(things, begins_s + lasts_s + REST_S))
        faults.append(Fault(0, round(begins_s, 3), kind, fault.target, fault.lasts_s))
    faults.sort(key=lambda fault: fault.at_s)
    return [Fault(number, f.at_s, f.kind, f.target, f.lasts_s) for number, f in enumerate(faults, start=1)]


def fingerprint(faults: Sequence[Fault]) -> str:
    """Two runs with the same one had the same schedule."""
    lines = [f"{fault.at_s} {fault.kind} {fault.target} {fault.lasts_s}" for fault in faults]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
