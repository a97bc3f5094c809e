"""Rounds per second of the simulator, beside Gymnasium's own CartPole in the same run.

    python benchmarks/simulator_speed.py [--seconds 2] [--json FILE]

One environment through `gymnasium.make`, wrappers included, with five devices and random actions drawn beforehand; and
the vectorised form. They take turns, five times each; medians. Goals: 20,000 steps per second with five devices on one
core, 500,000 device-decisions per second vectorised.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.report_form import Goal, Report, Row, write_report

ENVIRONMENT = "orchestrator.simulator:Tierwise/EndEdgeCloud-v0"
USERS = 5
BATCH = 256
TURNS = 5
GOAL_STEPS, GOAL_DECISIONS = 20_000, 500_000


def main() -> None:
    """Print the table; write JSON if asked to."""
    parser = argparse.ArgumentParser(description="How fast the simulator is.")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each turn")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    sides = {
        "CartPole-v1": single("CartPole-v1"),
        "five devices, still": single(ENVIRONMENT, users=USERS),
        "five devices, background load": single(ENVIRONMENT, users=USERS, scenario="visited"),
        "1000 devices, still": single(ENVIRONMENT, users=1000),
        f"vectorised, {BATCH} sites": vectorised(),
    }
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(TURNS):
        for name, side in sides.items():
            rates[name].append(rate(side, options.seconds))
    steps = {name: statistics.median(found) for name, found in rates.items()}
    decisions = steps[f"vectorised, {BATCH} sites"] * BATCH * USERS
    print(f"{'environment':32}{'steps/s':>12}")
    for name, found in steps.items():
        print(f"{name:32}{found:12,.0f}")
    met = steps["five devices, still"] >= GOAL_STEPS and decisions >= GOAL_DECISIONS
    print(f"vectorised: {decisions:,.0f} device-decisions/s (goal {GOAL_DECISIONS:,})")
    print(f"goal: {GOAL_STEPS:,} steps/s with five devices: {'met' if met else 'MISSED'}")
    write_report(options.json, report(steps, decisions))


def report(steps: dict[str, float], decisions: float) -> Report:
    """Steps per second beside CartPole's; device-decisions per second of the vectorised form."""
    why = "each step needs the processor for about 40 us: see the load"
    rows = [
        Row(
            what=f"simulator through gymnasium.make: {name}",
            ours=found,
            unit="steps/s",
            beside="CartPole-v1",
            beside_value=steps["CartPole-v1"],
            goal=Goal(limit=GOAL_STEPS, at_least=True, why_missed=why) if name == "five devices, still" else None,
        )
        for name, found in steps.items()
        if name != "CartPole-v1" and "vectorised" not in name
    ]
    vectorised_row = Row(
        what=f"simulator, {BATCH} sites of {USERS} devices in step",
        ours=decisions,
        unit="device-decisions/s",
        goal=Goal(limit=GOAL_DECISIONS, at_least=True, why_missed=why),
    )
    details = {"steps_per_s": steps, "device_decisions_per_s": decisions}
    title = "The simulator"
    return Report(benchmark="simulator_speed", title=title, rows=[*rows, vectorised_row], details=details)


def single(name: str, **arguments: Any) -> Callable[[int], None]:
    """What plays so many steps of one environment."""
    environment: gymnasium.Env[Any, Any] = gymnasium.make(name, **arguments)
    environment.reset(seed=1)
    environment.action_space.seed(1)
    actions = [environment.action_space.sample() for _ in range(200)]

    def play(steps: int) -> None:
        for step in range(steps):
            *_, terminated, truncated, _info = environment.step(actions[step % len(actions)])
            if terminated or truncated:
                environment.reset()

    return play


def vectorised() -> Callable[[int], None]:
    """What plays so many steps of many sites."""
    environments: Any = gymnasium.make_vec(
        ENVIRONMENT, num_envs=BATCH, vectorization_mode="vector_entry_point", users=USERS
    )
    environments.reset(seed=1)
    actions = np.random.default_rng(1).integers(10, size=(200, BATCH, USERS))

    def play(steps: int) -> None:
        for step in range(steps):
            environments.step(actions[step % len(actions)])

    return play


def rate(play: Callable[[int], None], seconds: float) -> float:
    """Steps per second over about so many seconds."""
    play(20)
    started_s, done = time.perf_counter(), 0
    while time.perf_counter() - started_s < seconds:
        play(50)
        done += 50
    return done / (time.perf_counter() - started_s)


if __name__ == "__main__":
    main()
