"""The runs of the learning benchmark: which, and the file that keeps each of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.simulator.families import FAMILIES
from tierwise.job_screen import JobScreen
from tierwise.parallel import run_jobs

FLOORS = {"min": 0, "80": 800, "85": 850, "89": 890, "max": 899}
EXPERIMENTS = ("exp-a", "exp-b", "exp-c", "exp-d")
FAR_APART = ("exp-a", "exp-d")  # all links regular, all weak
EASY = "paper"  # the family of the paper's site, with 3 % noise
SEEDS_TOGETHER = 4
FEW_USERS = 5
SOME = ("paper", "non_additive", "heterogeneous", "fifo", "everything")
LARGE = {20: SOME, 100: SOME, 1000: ("paper", "heterogeneous", "everything")}
LARGE_FLOORS = ("85", "89", "max")
CALM = ("paper", "noisy", "heavy_tails")  # what false alarms could come of
CHANGED = ("paper", "heterogeneous", "noisy")

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the agent. `kind`: learn, from nothing until converged; change; calm, 10,000 rounds without one."""

    kind: str
    family: str
    experiment: str
    floor: str
    users: int
    seed: int

    def key(self) -> str:
        """Its name in the file."""
        return f"{self.kind} {self.family} {self.experiment} {self.floor} {self.users} {self.seed}"


def planned(kinds: Sequence[str], users: Sequence[int], seeds: int) -> list[Run]:
    """All runs of these kinds, some seeds of each group after the other: what is stopped is a part of everything.

    The paper's site with five devices is run in all four experiments, the other families in the two that differ most.
    """
    runs: list[Run] = []
    if "calm" in kinds:
        runs += [Run("calm", family, "exp-b", "89", FEW_USERS, seed) for family in CALM for seed in range(3)]
    for count in sorted(set(users), reverse=True):
        if "change" in kinds and count <= 100:
            runs += [
                Run("change", family, experiment, floor, count, seed)
                for family in (CHANGED if count == FEW_USERS else CHANGED[:2])
                for experiment in (FAR_APART if count == FEW_USERS else FAR_APART[:1])
                for floor in LARGE_FLOORS
                for seed in range(seeds)
            ]
        if "learn" in kinds:
            few = count == FEW_USERS
            runs += [
                Run("learn", family, experiment, floor, count, seed)
                for family in (FAMILIES if few else LARGE[count])
                for experiment in ((EXPERIMENTS if family == EASY else FAR_APART) if few else ("exp-b",))
                for floor in (FLOORS if few else LARGE_FLOORS)
                for seed in range(seeds)
            ]
    return sorted(runs, key=lambda run: run.seed // SEEDS_TOGETHER)


def results_of(runs: Sequence[Run], file: Path, play: Callable[..., Result]) -> dict[Run, Result]:
    """What each run gave: read from `file`, or run now on all cores and written there at once."""
    kept = _read(file)
    missing = [run for run in runs if run.key() not in kept]
    if missing:
        file.parent.mkdir(parents=True, exist_ok=True)
        _end_torn_line(file)
        names = [run.key() for run in missing]
        with JobScreen(names, "runs") as screen, file.open("a", encoding="utf-8") as lines:

            def done(number: int, result: Result) -> None:
                lines.write(json.dumps({"key": names[number], **result}) + "\n")
                lines.flush()
                kept[names[number]] = result
                screen.done(number)

            run_jobs(missing, play, screen.progress, done)
    return {run: kept[run.key()] for run in runs}


def kept_of(runs: Sequence[Run], file: Path) -> dict[Run, Result]:
    """Those of the runs that are in the file."""
    kept = _read(file)
    return {run: kept[run.key()] for run in runs if run.key() in kept}


def _read(file: Path) -> dict[str, Result]:
    kept: dict[str, Result] = {}
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
                kept[row.pop("key")] = row
            except (ValueError, KeyError):
                continue  # a line that a power cut tore; its run is run again
    return kept


def _end_torn_line(file: Path) -> None:
    with file.open("a+b") as lines:
        if lines.tell() > 0:
            lines.seek(-1, os.SEEK_END)
            if lines.read(1) != b"\n":
                lines.write(b"\n")


def described(run: Run) -> dict[str, Any]:
    """Its fields, for JSON."""
    return asdict(run)
