"""How much one orchestrator carries, and what becomes of half as much again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from broker.errors import TierwiseError
from testbed.load.crowd import Crowd
from testbed.load.site import Site
from testbed.load.steady import Run, Say, hold, in_words

STEP = 1.25
STEP_S = 8.0
TRIES = 2  # of each step: a pause of the machine is no limit of ours
MOST_STEPS = 12
OVER = 1.5


@dataclass(frozen=True, slots=True)
class Overload:
    """`steps` up to the first that was not carried; `over` at 150 % of the last that was."""

    steps: list[Run]
    carried_per_s: float
    over: Run

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "carried_per_s": self.carried_per_s,
            "over": self.over.as_json(),
            "steps": [run.as_json() for run in self.steps],
        }


def overload(site: Site, crowd: Crowd, from_per_s: float, seconds: float, say: Say) -> Overload:
    """Begin at `from_per_s` requests per second of all devices. Raises TierwiseError if not even that is carried."""
    devices, per_s = len(crowd.devices) - 2, from_per_s
    steps: list[Run] = []
    carried = 0.0
    for _ in range(MOST_STEPS):
        run = _best_of(site, crowd, per_s / devices, say)
        steps.append(run)
        if not run.carried:
            break
        carried, per_s = per_s, per_s * STEP
    if not carried:
        raise TierwiseError(f"not even {from_per_s:g} requests/s are carried; begin with fewer (--from)")
    crowd.forget()
    over = hold(site, crowd, OVER * carried / devices, seconds)
    say(f"150 %: {in_words(over)}")
    return Overload(steps, carried, over)


def _best_of(site: Site, crowd: Crowd, rate: float, say: Say) -> Run:
    runs = []
    for _ in range(TRIES):
        crowd.forget()
        runs.append(hold(site, crowd, rate, STEP_S))
        say(in_words(runs[-1]))
        if runs[-1].carried:
            break
    return runs[-1]
