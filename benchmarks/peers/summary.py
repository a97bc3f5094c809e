"""The runs of each peer under each floor in one line.

A run that did not converge counts as endless in a median, and of two middle ones the later is taken.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

LINE = ("peer", "decision", "experiment", "floor", "users", "most_rounds")
MEDIANS = ("converged_at", "within_5", "within_10")


def summarise(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each peer, experiment, floor and number of devices."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        groups[tuple(record[name] for name in LINE)].append(record)
    return [dict(zip(LINE, line, strict=True)) | _figures(runs) for line, runs in groups.items()]


def _figures(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    reached = [run["converged_at"] for run in runs if run["converged_at"] is not None]
    figures: dict[str, Any] = {"runs": len(runs), "converged": len(reached)}
    figures |= {f"median_{name}": median(run[name] for run in runs) for name in MEDIANS}
    figures |= {"earliest": min(reached, default=None), "latest_of_converged": max(reached, default=None)}
    figures["median_broken_rounds"] = median(run["broken_rounds"] for run in runs)
    figures["median_final_excess_percent"] = median(run["final_excess_percent"] for run in runs)
    figures["median_wall_s"] = median(run["wall_s"] for run in runs)
    return figures


def median(values: Iterable[float | None]) -> float | None:
    """None stands for endless, in and out."""
    found = statistics.median_high([float("inf") if value is None else value for value in values])
    return None if found == float("inf") else found


def show(rows: Sequence[dict[str, Any]]) -> None:
    """On the terminal."""
    console = Console()
    console.print(
        "Runs that converged, and medians: rounds until the decision stays so near the optimum and keeps the floor, "
        "rounds that broke it until 1 %, seconds of the run."
    )
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("peer", "site", "floor"):
        table.add_column(name, no_wrap=True)
    for name in ("runs", "1 %", "5 %", "10 %", "broken", "s"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        name = row["peer"] if row["decision"] == "policy" else f"{row['peer']}, {row['decision']}"
        table.add_row(
            name,
            f"{row['experiment']} {row['users']}",
            row["floor"],
            f"{row['converged']}/{row['runs']}",
            *(_rounds(row[f"median_{reached}"], row["most_rounds"]) for reached in MEDIANS),
            f"{row['median_broken_rounds']:.0f}",
            f"{row['median_wall_s']:.0f}",
        )
    console.print(table)


def _rounds(value: float | None, most: int) -> str:
    return f">{most}" if value is None else f"{value:.0f}"
