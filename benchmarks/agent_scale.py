"""How long one decision of the factored agent takes, by the number of devices: the live agent, on one core.

    python benchmarks/agent_scale.py [--devices 5 100 1000] [--json FILE]

400 rounds of a simulated site in which no device is like another, each round seen anew, as a live orchestrator sees it.
Wall time of `act` alone; what is learned, and the best action worked out, happens between rounds. learning.py --scale
has more sizes, and keeps them. Goals with 1,000 devices: 10 ms at the 99th percentile, a proven gap of 0.1 %.
"""

# ruff: noqa: E402 - NumPy reads the number of threads when it is imported

from __future__ import annotations

import os

for threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[threads] = "1"

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.learning_study.scale import GOAL_GAP, GOAL_MS, GOAL_USERS, ROUNDS, scale
from benchmarks.report_form import Goal, Report, Row, write_report

WHY_SLOW = "each round is a new problem, and the hardest take twice the median: docs/learning.md"
WHY_GAP = "the bound is loose rather than the decision: docs/learning.md"


def main() -> None:
    """Print the table; write JSON if asked to."""
    parser = argparse.ArgumentParser(description="How long one decision of the factored agent takes.")
    parser.add_argument("--devices", type=int, nargs="+", default=[5, 100, 1000])
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    sizes = scale(lambda text: print(f"decision times: {text}", file=sys.stderr), options.devices)
    print(f"{'devices':>8}{'median ms':>11}{'p99 ms':>9}{'learning ms':>13}{'gap %':>9}{'MB':>8}")
    for row in sizes:
        print(
            f"{row['users']:8}{row['act_p50_ms']:11.2f}{row['act_p99_ms']:9.2f}{row['learn_p50_ms']:13.2f}"
            f"{row['largest_gap_percent']:9.3f}{row['memory_mb']:8.2f}"
        )
    rows = [line for row in sizes for line in page_rows_of(row)]
    details: dict[str, Any] = {"rounds": ROUNDS, "sizes": sizes}
    write_report(
        options.json, Report(benchmark="agent_scale", title="The agent as sites grow", rows=rows, details=details)
    )


def page_rows_of(row: dict[str, Any]) -> list[Row]:
    """Time and gap at one size; goals are for a thousand devices."""
    judged = row["users"] == GOAL_USERS
    time_row = Row(
        what=f"{row['users']} devices, one decision of the factored agent, 99th percentile",
        ours=row["act_p99_ms"],
        unit="ms",
        goal=Goal(limit=GOAL_MS, why_missed=WHY_SLOW) if judged else None,
        note=f"median {row['act_p50_ms']:.2f}; learning {row['learn_p50_ms']:.2f} ms; {row['memory_mb']:.2f} MB",
    )
    gap_row = Row(
        what=f"{row['users']} devices, largest proven gap of its decisions",
        ours=row["largest_gap_percent"],
        unit="%",
        goal=Goal(limit=100 * GOAL_GAP, why_missed=WHY_GAP) if judged else None,
    )
    return [time_row, gap_row]


if __name__ == "__main__":
    main()
