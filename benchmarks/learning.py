"""How many rounds the factored agent needs, on the paper's site and on worlds that differ from its assumptions.

    python benchmarks/learning.py [--kinds learn,change,calm] [--users 5,20,100,1000] [--seeds 20] [--kept]
    python benchmarks/learning.py --users 5 --seeds 2 --runs run/quick.jsonl --output run/quick    # a quick look

Every run is kept in a file of lines as soon as it ends; started again, it goes on where it was stopped, and with
--kept only what is there is summed up. All of it takes about an hour on two cores. Decision times come last, alone on
one core. Beside it: the paper's agents from results/paper, and peers from results/learning/peers.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.learning_study.pictures import pictures  # noqa: E402  (one core, before NumPy is imported)
from benchmarks.learning_study.play import MOST_ROUNDS, play  # noqa: E402
from benchmarks.learning_study.runs import FEW_USERS, kept_of, planned, results_of  # noqa: E402
from benchmarks.learning_study.scale import GOAL_GAP, GOAL_MS, GOAL_USERS, scale  # noqa: E402
from benchmarks.learning_study.tables import (  # noqa: E402
    Row,
    Runs,
    after_change,
    beside_peers,
    beside_the_papers_agents,
    by_family,
    by_floor,
    false_alarms,
)
from broker.errors import TierwiseError  # noqa: E402
from tierwise.reproduce.artifact import Artifact  # noqa: E402

RESULTS = ROOT / "results" / "learning"
KINDS = "learn,change,calm"


def main() -> int:
    """Run what is missing, write tables and pictures, print them."""
    options = _options()
    runs = planned(options.kinds.split(","), [int(users) for users in options.users.split(",")], options.seeds)
    try:
        results = (kept_of if options.kept else lambda *asked: results_of(*asked, play))(runs, options.runs)
    except KeyboardInterrupt:
        print(f"stopped; what was finished is in {options.runs}, and the same command goes on", file=sys.stderr)
        return 130
    except TierwiseError as error:
        print(f"learning: {error}", file=sys.stderr)
        return 1
    if not results:
        print(f"learning: {options.runs} has none of these runs; without --kept they are run now", file=sys.stderr)
        return 1
    sizes = _scale(options)
    tables = _tables(results, sizes)
    page = _page(results, tables, sizes)
    page.write(options.output)
    (options.output / "learning.md").write_text(_whole_page(page, tables), encoding="utf-8")
    if options.json:
        options.json.write_text(json.dumps(page.as_json(), indent=1) + "\n", encoding="utf-8")
    print(_whole_page(page, tables))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="How many rounds the factored agent needs.", epilog="Example: python benchmarks/learning.py --kept"
    )
    parser.add_argument("--kinds", default=KINDS, help="learn: from nothing; change: after changes; calm: false alarms")
    parser.add_argument("--users", default="5,20,100,1000", help="numbers of devices: 5, 20, 100, 1000")
    parser.add_argument("--seeds", type=int, default=20, help="of each group of runs")
    parser.add_argument("--runs", type=Path, default=RESULTS / "runs.jsonl", help="where every run is kept")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where tables and pictures go")
    parser.add_argument("--kept", action="store_true", help="run nothing, sum up what is kept")
    parser.add_argument("--scale", action="store_true", help="measure decision times anew; otherwise the kept ones")
    parser.add_argument("--json", type=Path, help="write everything here too")
    return parser.parse_args()


def _scale(options: argparse.Namespace) -> list[Row]:
    """Times on this machine, with nothing else running: asked for, or read from the last time."""
    file = options.output / "scale.json"
    if options.scale:
        rows = scale(lambda text: print(f"decision times: {text}", file=sys.stderr))
        options.output.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"machine": platform.machine(), "rows": rows}, indent=1) + "\n", encoding="utf-8")
    kept: list[Row] = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.exists() else []
    return kept


def _tables(results: Runs, sizes: list[Row]) -> dict[str, list[Row]]:
    return {
        "Rounds until converged, by family of worlds": by_family(results),
        f"Five devices on the paper's site, by experiment and floor ({FEW_USERS} devices, 3 % noise)": by_floor(
            results
        ),
        "Experiment A beside the paper's agents (median rounds)": beside_the_papers_agents(
            results, ROOT / "results" / "paper" / "table11.json"
        ),
        "After a change": after_change(results),
        "Without a change": false_alarms(results),
        "One decision on one core": sizes,
        "Peers on the same sites": beside_peers(RESULTS / "peers.json"),
    }


def _page(results: Runs, tables: dict[str, list[Row]], sizes: list[Row]) -> Artifact:
    broken = sum(result["broken"] for result in results.values())
    played = sum(result["rounds"] for result in results.values())
    large = next((row for row in sizes if row["users"] == GOAL_USERS), None)
    facts: dict[str, Any] = {"runs": len(results), "rounds": played, "rounds_that_broke_the_floor": broken}
    if large is not None:
        met = large["act_p99_ms"] <= GOAL_MS and large["largest_gap_percent"] <= 100 * GOAL_GAP
        facts["decision_goal_met"] = met
    return Artifact(
        name="learning",
        title="How fast the factored agent learns",
        command="python benchmarks/learning.py --kept",
        text=(
            f"{len(results):,} runs, {played:,} rounds, of which {broken} broke the floor. Converged: the first round "
            "from which, for 100 rounds on end, the greedy decision meets the floor in integers and is at most 1 % "
            f"slower than a proven lower bound of the optimum, without noise; within {MOST_ROUNDS} rounds at most. Who "
            "did not converge counts as slower than all others. docs/learning.md explains the agent and these figures."
        ),
        columns=(),
        rows=[],
        facts={**facts, **tables},
        pictures=pictures(results, sizes),
        key="rows",
    )


def _whole_page(page: Artifact, tables: dict[str, list[Row]]) -> str:
    """The page with all its tables between text and pictures."""
    head, mark, rest = page.markdown().partition("![")
    parts = [head.rstrip()]
    for title, rows in tables.items():
        if rows:
            part = Artifact(title, title, "", "", list(rows[0]), rows).markdown()
            lines = [line for line in part.splitlines() if line.startswith("|")]
            parts.append(f"\n## {title}\n\n" + "\n".join(lines))
    return "\n".join(parts) + f"\n\n{mark}{rest}"


if __name__ == "__main__":
    raise SystemExit(main())
