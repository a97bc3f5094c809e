"""What the comparison with other tools counts; no peer's package is needed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`benchmarks/peers/run.py`, imported as it is run: its folder is first on the path."""
    monkeypatch.syspath_prepend(str(PEERS))
    for name in ("run", "game", "summary", "tpe"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import run  # type: ignore[import-not-found]

    module: ModuleType = run
    return module


@pytest.fixture
def streak(peers: ModuleType) -> Any:
    """Of decisions within 1 %."""
    return sys.modules["game"].Streak(0.01)


def test_streak_of_a_hundred_good_rounds_counts_from_its_first(streak: Any) -> None:
    """It is reached once the hundredth has been looked at, not before."""
    for number in range(10, 109):
        streak.note(number, 0.0)

    assert streak.reached_at is None

    streak.note(109, 0.01)

    assert streak.reached_at == 10


def test_streak_begins_anew_after_a_bad_look(streak: Any) -> None:
    """One decision above the tolerance is enough."""
    for number in range(1, 200):
        streak.note(number, 0.02 if number == 60 else 0.0)

    assert streak.reached_at == 61


def test_streak_takes_a_look_for_all_rounds_until_the_next(streak: Any) -> None:
    """PPO's policy is the same for a whole rollout, even where the next one is bad."""
    streak.note(128, 0.0)
    streak.note(256, float("inf"))

    assert streak.reached_at == 128


def test_game_counts_broken_rounds_until_the_decision_has_converged(peers: ModuleType) -> None:
    """Three rounds of the least accurate model break the floor; the optimum, shown from round 3 on, has no excess."""
    from orchestrator.solver.exact import solve
    from tierwise.reproduce.site import problem

    game = peers.Game(peers.Task("exp-a", "85", 3, seed=0, most_rounds=500), ("policy",))
    best = solve(problem("exp-a", 3, 850)).actions
    while not game.over:
        game.play([7, 7, 7] if game.round < 3 or game.round >= 50 else best)
        game.look("policy", [7, 7, 7] if game.round < 3 else best)
    found = game.found("policy")

    assert (3, 3, 3) == tuple(found[name] for name in ("converged_at", "within_5", "broken_rounds"))
    assert (102, 0.0, True) == tuple(found[name] for name in ("rounds", "final_excess_percent", "final_meets_floor"))


def test_kept_runs_leave_out_a_line_that_a_kill_cut_off(peers: ModuleType, tmp_path: Path) -> None:
    """The run of that line is made again."""
    path = tmp_path / "runs.jsonl"
    names = ("peer", "version", "experiment", "floor", "users", "seed", "most_rounds", "settings")
    run = dict.fromkeys(names, 1)
    path.write_text(
        '[{"peer": 1, "version": 1, "experiment": 1, "floor": 1, "users": 1, "seed": 1, "most_rounds": 1, '
        '"settings": 1}]\n[{"peer": "tp',
        encoding="utf-8",
    )

    assert {peers.identity(run): [run]} == peers.kept(path)


def test_missing_package_is_named_with_how_to_install_it(peers: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a traceback."""
    monkeypatch.setitem(sys.modules, "optuna", None)

    with pytest.raises(SystemExit, match=r"tpe needs optuna .*make prepare-bench"):
        peers.module_of(peers.PEERS["tpe"])


def test_median_takes_a_run_that_did_not_converge_as_endless(peers: ModuleType) -> None:
    """So a minority of them moves it, and a majority makes it endless too."""
    median = sys.modules["summary"].median

    assert (3, None) == (median([1, 3, None]), median([1, None, None]))
