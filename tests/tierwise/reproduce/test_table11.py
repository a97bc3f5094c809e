"""Table 11 and Figures 6 and 7: which runs there are, how they are kept, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from configs.orchestrator import Policy
from orchestrator.errors import NothingLogged
from orchestrator.training.study import StudyResult
from tierwise.reproduce.convergence_runs import Run, kept_of, planned, results_of
from tierwise.reproduce.table11 import reproduce_table11
from tierwise.reproduce.training_figures import reproduce_figure6, reproduce_figure7

RESULT = StudyResult(
    converged_at=1000, rounds=2000, good_share=0.99, broken_share=0.1, states=1, good_states=1, states_seen=1,
    optimal_within=1, act_ms=0.02, learn_ms=0.01, wall_s=1.0, block_rounds=100, curve=[(-300.0, 0.2), (-200.0, 0.0)],
)  # fmt: skip


class Screen:
    """Counts what is told."""

    def __init__(self, missing: Sequence[Run]) -> None:
        self.missing = list(missing)
        self.finished: list[int] = []

    def __enter__(self) -> Screen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def progress(self, number: int, fraction: float, text: str) -> None: ...
    def done(self, number: int) -> None:
        self.finished.append(number)


def _rows(results: dict[Run, StudyResult]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = reproduce_table11(results).as_json()["cells"]
    return rows


def test_every_published_cell_is_planned() -> None:
    """3, 4 and 5 users at every published floor and 89, both sets of states, 20 seeds, fewer of the slow ones."""
    runs = planned((3, 4, 5), 20, (Policy.Q_LEARNING, Policy.OFFLOAD_ONLY, Policy.DQN))
    of_q = [run for run in runs if run.policy is Policy.Q_LEARNING and not run.transfer]
    counts = {(run.users, run.floor, run.states): 0 for run in of_q}
    for run in of_q:
        counts[run.users, run.floor, run.states] += 1

    assert 3 * 5 * 2 == len(counts)
    assert {20} == {count for (users, _, _), count in counts.items() if users < 5}
    assert all(count >= 3 for count in counts.values())
    assert {"max"} == {run.floor for run in runs if run.policy is Policy.OFFLOAD_ONLY}
    assert {"80", "85", "89", "max"} == {run.floor for run in runs if run.transfer}


@pytest.mark.slow
def test_runs_are_kept_and_not_run_again(tmp_path: Path) -> None:
    """A torn last line costs its run only."""
    runs = [Run(Policy.OFFLOAD_ONLY, 3, "max", "still", seed) for seed in (1, 2, 3)]
    file = tmp_path / "runs.jsonl"
    screens: list[Screen] = []

    def screen(missing: Sequence[Run]) -> Screen:
        screens.append(Screen(missing))
        return screens[-1]

    first = results_of(runs, file, screen)
    assert all(result.converged_at is not None for result in first.values())
    again = results_of(runs, file, screen)
    lines = file.read_text(encoding="utf-8").splitlines()
    file.write_text("\n".join([*lines[:2], lines[2][: len(lines[2]) // 2]]) + "\n", encoding="utf-8")
    third = results_of(runs, file, screen)

    assert first == again
    assert [3, 1] == [len(shown.missing) for shown in screens]
    for run in runs:
        assert first[run].converged_at == third[run].converged_at


def test_what_is_not_kept_is_said(tmp_path: Path) -> None:
    """Nothing to draw is an error, not an empty table."""
    with pytest.raises(NothingLogged, match="--kept"):
        kept_of([Run(Policy.DQN, 3, "85", "still", 1)], tmp_path / "none.jsonl")


def test_a_median_needs_most_seeds_and_a_95th_percentile_nearly_all() -> None:
    """What did not converge is counted, never left out silently."""
    run = Run(Policy.Q_LEARNING, 3, "85", "still", 1)
    results = {replace(run, seed=seed): replace(RESULT, converged_at=900 + seed) for seed in range(1, 10)}
    results[replace(run, seed=10)] = replace(RESULT, converged_at=None, good_share=None, optimal_within=None)
    row = _rows(results)[0]

    assert (10, 9, 1, 906) == (row["seeds"], row["converged"], row["not_converged"], row["median_rounds"])
    assert row["p95_rounds"] is None
    assert "1 of 10 not converged" in row["note"]
    assert row["published_steps"] == 800
    assert row["ratio"] == pytest.approx(905.5 / 800, abs=0.001)


def test_without_a_majority_there_is_no_median() -> None:
    """Half of the seeds have nothing to show."""
    run = Run(Policy.DQN, 4, "min", "still", 1)
    results = {run: RESULT, replace(run, seed=2): replace(RESULT, converged_at=None)}
    row = _rows(results)[0]

    assert row["median_rounds"] is None
    assert row["ratio"] is None


def test_the_median_counts_a_run_that_never_converged_as_later_than_all() -> None:
    """Two of three converged: the median is the later of the two."""
    run = Run(Policy.DQN, 3, "80", "still", 1)
    found = [500, 700, None]
    results = {replace(run, seed=s): replace(RESULT, converged_at=at) for s, at in enumerate(found, start=1)}

    assert 700 == _rows(results)[0]["median_rounds"]


def test_a_speed_up_is_of_medians_of_the_same_floor() -> None:
    """1000 rounds from nothing, 100 with transfer: ten times."""
    run = Run(Policy.Q_LEARNING, 5, "80", "still", 1)
    results = {run: RESULT, replace(run, transfer=True): replace(RESULT, converged_at=100)}
    found = reproduce_figure7(results).as_json()["transfer"]

    assert [(1000, 100, 10.0, 12.5)] == [
        (row["from_nothing"], row["with_transfer"], row["speed_up"], row["published_speed_up"]) for row in found
    ]


@pytest.mark.parametrize("make", [reproduce_table11, reproduce_figure6, reproduce_figure7])
def test_pictures_are_drawn_with_what_there_is(tmp_path: Path, make: Callable[[Any], Any]) -> None:
    """Also if an agent or a number of users is missing."""
    results = {Run(Policy.Q_LEARNING, 3, floor, "still", 1): RESULT for floor in ("min", "80", "max")}
    files = make(results).write(tmp_path)

    assert any(file.suffix == ".png" and file.stat().st_size > 1000 for file in files)


def test_a_result_is_json_and_back() -> None:
    """What a line holds is all of it."""
    assert StudyResult(**asdict(RESULT)) == RESULT
