"""Figures of earlier runs that `make bench` cites and does not measure: they take an hour, or begin from nothing.

Each is read from what the run itself wrote; what is not there is not cited.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.machine import date_of
from benchmarks.report_form import Goal, Report, Row, read_report
from benchmarks.report_page import Kept

ROOT = Path(__file__).parents[1]
LEARNING, FROM_NOTHING = "results/learning/learning.json", "results/benchmarks/kept/from_nothing.json"
BY_FAMILY = "Rounds until converged, by family of worlds"
WHY_NOT_CONVERGED = "in `everything` all departures from the agent's assumptions come together: docs/learning.md"


def kept(root: Path = ROOT) -> list[Kept]:
    """What earlier runs left."""
    found = []
    if (root / LEARNING).exists():
        page = json.loads((root / LEARNING).read_text(encoding="utf-8"))
        found.append(Kept(learning(page), "results/learning/learning.md", date_of(LEARNING)))
    if (root / FROM_NOTHING).exists():
        found.append(Kept(read_report(root / FROM_NOTHING), FROM_NOTHING, date_of(FROM_NOTHING)))
    return found


def learning(page: dict[str, Any]) -> Report:
    """Rounds until the factored agent has converged, with the goal of each family, at its 95th percentile."""
    rows = [
        Row(
            what=f"{row['users']} devices, {row['family']}: rounds until converged, p95",
            ours=row["p95"],
            unit="rounds",
            goal=Goal(limit=row["goal_p95"], why_missed=WHY_NOT_CONVERGED) if row.get("goal_p95") else None,
            note=f"median {row['median']:g} of {row['runs']} runs, {row['broken_rounds']} rounds broke the floor",
        )
        for row in page[BY_FAMILY]
    ]
    return Report(benchmark="learning", title="How fast the factored agent learns", rows=rows)
