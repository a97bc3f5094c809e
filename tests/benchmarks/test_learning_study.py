"""The learning benchmark: what it plays, and what it makes of it."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.learning_study.play import MOST_ROUNDS, play
from benchmarks.learning_study.runs import Run, kept_of, planned, results_of
from benchmarks.learning_study.tables import after_change, by_family, by_floor, false_alarms


class Silent:
    """A reporter that nobody listens to."""

    def tell(self, fraction: float, text: str = "") -> None:
        assert 0 <= fraction <= 1
        assert text


def _learned(converged_at: int | None, broken: int = 0) -> dict[str, Any]:
    return {
        "converged_at": converged_at, "rounds": 120, "broken": broken, "explored": 3, "gap": 0.0, "changes_found": 0,
        "act_ms": 1.0, "learn_ms": 1.0, "regret_until": 0.5, "regret_after": None if converged_at is None else 0.02,
    }  # fmt: skip


def test_a_run_that_never_converged_counts_as_slower_than_all_others() -> None:
    """It is in the median and the percentile, and it misses the goal."""
    runs = [Run("learn", "paper", "exp-a", "85", 5, seed) for seed in range(3)]
    results = dict(zip(runs, [_learned(2), _learned(None), _learned(None, broken=4)], strict=True))
    [row] = by_family(results)

    assert (3, MOST_ROUNDS + 1, 2, 4, False) == tuple(
        row[name] for name in ("runs", "median", "never", "broken_rounds", "met")
    )
    assert [("exp-a", "85", 2)] == [(cell["experiment"], cell["floor"], cell["never"]) for cell in by_floor(results)]


def test_a_change_that_was_not_followed_is_counted() -> None:
    """None is 101 rounds, and not within 20."""
    runs = [Run("change", "paper", "exp-a", "85", 5, seed) for seed in range(2)]
    backs = ([4, 0, 1], [None, 30, 0])
    rows = after_change({run: {"back_after": back, "broken": 0} for run, back in zip(runs, backs, strict=True)})

    assert [(1, 50.0), (0, 50.0), (0, 100.0)] == [(row["never"], row["within_20_percent"]) for row in rows]


def test_false_alarms_are_summed_and_the_worst_run_is_told() -> None:
    """Three runs of one family."""
    runs = [Run("calm", "paper", "exp-b", "89", 5, seed) for seed in range(3)]
    [row] = false_alarms(
        {run: {"changes_found": found, "broken": 0} for run, found in zip(runs, (0, 2, 1), strict=True)}
    )

    assert (3, 3, 2) == (row["runs"], row["false_alarms"], row["most_in_one_run"])


def test_every_group_has_its_seeds_and_no_run_is_planned_twice() -> None:
    """All experiments and floors of the paper's site, in every seed."""
    runs = planned(["learn", "change", "calm"], [5, 20], 3)
    easy = {(run.experiment, run.floor, run.seed) for run in runs if run.family == "paper" and run.kind == "learn"}

    assert len(runs) == len({run.key() for run in runs})
    assert {
        (f"exp-{e}", floor, seed) for e in "abcd" for floor in ("min", "80", "85", "89", "max") for seed in range(3)
    } <= easy


@pytest.mark.parametrize("kind", ["learn", "change"])
def test_a_run_keeps_the_floor_and_comes_to_an_end(kind: str) -> None:
    """The paper's site with five devices: converged within thirty rounds, and back after each change."""
    result = play(Run(kind, "paper", "exp-a", "89", 5, 100), Silent())  # type: ignore[arg-type]

    assert 0 == result["broken"]
    if kind == "learn":
        assert 1 <= result["converged_at"] <= 30
    else:
        assert all(rounds is not None and rounds <= 20 for rounds in result["back_after"])


def test_what_was_run_is_kept_and_not_run_again(tmp_path: Any) -> None:
    """A torn line is run again; the rest is read."""
    file = tmp_path / "runs.jsonl"
    run = Run("learn", "paper", "exp-a", "max", 5, 1)
    first = results_of([run], file, play)
    with file.open("a", encoding="utf-8") as lines:
        lines.write('{"key": "learn paper exp-a max 5 2", "conv')

    assert first == kept_of([run, Run("learn", "paper", "exp-a", "max", 5, 2)], file)
