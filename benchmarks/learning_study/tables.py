"""What the runs come to: one row per group, of the runs that are there, with their number and their misses."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.learning_study.play import CALM_ROUNDS, MOST_ROUNDS
from benchmarks.learning_study.runs import EASY, FEW_USERS, FLOORS, Result, Run

Row = dict[str, Any]
Runs = Mapping[Run, Result]

GOAL_MEDIAN, GOAL_P95, GOAL_OUTSIDE, GOAL_BACK = 15, 30, 60, 20


def grouped(runs: Runs, kind: str, by: Callable[[Run], Hashable]) -> dict[Any, dict[Run, Result]]:
    """Runs of one kind by group, in the order of their first."""
    groups: dict[Any, dict[Run, Result]] = {}
    for run, result in runs.items():
        if run.kind == kind:
            groups.setdefault(by(run), {})[run] = result
    return groups


def by_family(runs: Runs) -> list[Row]:
    """Rounds until converged, by number of devices and family, over all experiments, floors and seeds."""
    rows = []
    for (users, family), group in grouped(runs, "learn", lambda run: (run.users, run.family)).items():
        goal = GOAL_P95 if family == EASY or users > FEW_USERS else GOAL_OUTSIDE
        rows.append({"users": users, "family": family, **_learned(group), "goal_p95": goal})
        rows[-1]["met"] = rows[-1]["never"] == 0 and rows[-1]["p95"] <= goal
    return sorted(rows, key=lambda row: row["users"])


def by_floor(runs: Runs) -> list[Row]:
    """The same of five devices on the paper's site, by experiment and floor."""
    easy = {run: result for run, result in runs.items() if run.family == EASY and run.users == FEW_USERS}
    rows = []
    for (experiment, floor), group in grouped(easy, "learn", lambda run: (run.experiment, run.floor)).items():
        rows.append({"experiment": experiment, "floor": floor, **_learned(group)})
        rows[-1]["met"] = rows[-1]["never"] == 0 and rows[-1]["median"] <= GOAL_MEDIAN and rows[-1]["p95"] <= GOAL_P95
    return sorted(rows, key=lambda row: (row["experiment"], list(FLOORS).index(row["floor"])))


def _learned(group: Runs) -> Row:
    """Whoever did not converge counts as slower than all others, not as absent."""
    rounds = sorted(result["converged_at"] or MOST_ROUNDS + 1 for result in group.values())
    after = [result["regret_after"] for result in group.values() if result["regret_after"] is not None]
    return {
        "runs": len(group),
        "median": median(rounds),
        "p95": float(np.percentile(rounds, 95)),
        "most": rounds[-1],
        "never": sum(result["converged_at"] is None for result in group.values()),
        "broken_rounds": sum(result["broken"] for result in group.values()),
        "rounds_played": sum(result["rounds"] for result in group.values()),
        "slower_than_optimum_percent": round(100 * float(np.mean(after)), 2) if after else None,
        "largest_gap_percent": round(100 * max(result["gap"] for result in group.values()), 4),
    }


def after_change(runs: Runs) -> list[Row]:
    """Rounds until right again, by number of devices, family and change."""
    names = ("a fifth of the devices twice as slow, the edge 120 ms slower", "all as before", "the cloud dead")
    rows = []
    for (users, family), group in grouped(runs, "change", lambda run: (run.users, run.family)).items():
        for number, name in enumerate(names):
            back = [result["back_after"][number] for result in group.values()]
            known = sorted(101 if rounds is None else rounds for rounds in back)
            rows.append({
                "users": users, "family": family, "change": name, "runs": len(back), "median": median(known),
                "p95": float(np.percentile(known, 95)), "most": known[-1], "never": back.count(None),
                "within_20_percent": round(100 * sum(rounds <= GOAL_BACK for rounds in known) / len(known), 1),
                "broken_rounds": sum(result["broken"] for result in group.values()),
            })  # fmt: skip
    return sorted(rows, key=lambda row: row["users"])


def false_alarms(runs: Runs) -> list[Row]:
    """Changes that were found where there was none."""
    return [
        {
            "family": family,
            "runs": len(group),
            "rounds_each": CALM_ROUNDS,
            "false_alarms": sum(result["changes_found"] for result in group.values()),
            "most_in_one_run": max(result["changes_found"] for result in group.values()),
            "broken_rounds": sum(result["broken"] for result in group.values()),
        }
        for family, group in grouped(runs, "calm", lambda run: run.family).items()
    ]


def beside_the_papers_agents(runs: Runs, table11: Path) -> list[Row]:
    """Experiment A with five devices, one state: the paper's agents as `tierwise reproduce table11` kept them."""
    kept = json.loads(table11.read_text(encoding="utf-8"))["cells"] if table11.exists() else []
    rows = []
    for floor in FLOORS:
        here = {
            run: result
            for run, result in runs.items()
            if (run.kind, run.family, run.experiment, run.floor, run.users)
            == ("learn", EASY, "exp-a", floor, FEW_USERS)
        }
        row: Row = {"floor": floor, "factored": _learned(here)["median"] if here else None, "runs": len(here)}
        for agent in ("dqn", "q_learning"):
            cell = next(
                (
                    c
                    for c in kept
                    if (c["agent"], c["states"], c["users"], str(c["floor"])) == (agent, "still", 5, floor)
                ),
                {},
            )
            row |= {agent: cell.get("median_rounds"), f"{agent}_runs": cell.get("seeds")}
        rows.append(row)
    return rows


def beside_peers(file: Path) -> list[Row]:
    """What `benchmarks/peers/run.py` found, if it was run."""
    if not file.exists():
        return []
    summary: Sequence[Row] = json.loads(file.read_text(encoding="utf-8")).get("summary", [])
    return list(summary)
