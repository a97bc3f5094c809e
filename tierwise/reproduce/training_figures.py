"""Figures 6 and 7: the course of the training, from nothing and with transfer learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from configs.orchestrator import Policy
from orchestrator.training.study import StudyResult
from tierwise.reproduce.artifact import Artifact, Picture, Row
from tierwise.reproduce.convergence_runs import TRANSFER_FLOORS, USERS
from tierwise.reproduce.published import FLOORS
from tierwise.reproduce.table11 import TRANSFER_COLUMNS, Results, reproduce_table11

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEARNERS = {Policy.Q_LEARNING: "Q-learning", Policy.DQN: "Deep Q-learning"}
COLOURS = dict(zip(FLOORS, ("#4f8a4c", "#2f6f9f", "#8a5fa8", "#b5532a", "#333333"), strict=True))
Curve = list[tuple[float, float]]  # round, average reward of the block that ends there


def reproduce_figure6(results: Results) -> Artifact:
    """Average reward over the rounds, by users and floor; one state."""
    curves = {
        (policy, users, floor): curve
        for policy in LEARNERS
        for users in USERS
        for floor in FLOORS
        if (curve := _mean_curve(results, policy, users, floor, transfer=False))
    }
    rows: list[Row] = [
        {
            "agent": str(policy),
            "users": users,
            "floor": floor,
            "first_ms": round(-curve[0][1], 1),
            "last_ms": round(-curve[-1][1], 1),
            "rounds": round(curve[-1][0]),
            "curve": [[round(at), round(reward, 2)] for at, reward in curve],
        }
        for (policy, users, floor), curve in curves.items()
    ]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(len(LEARNERS), len(USERS), squeeze=False)
        for line, (policy, name) in zip(panels, LEARNERS.items(), strict=True):
            for panel, users in zip(line, USERS, strict=True):
                _draw_curves(panel, {floor: curves.get((policy, users, floor), []) for floor in FLOORS}, "-")
                panel.set_title(f"{name}, {users} users")
            line[0].set_ylabel("minus reward, ms")
        handles = panels[0][0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside lower center", ncols=len(FLOORS), title="accuracy floor")

    text = (
        "The course of the training in one state: minus the reward of equation 4, averaged over blocks of rounds and "
        "over the seeds of Table 11, as far as all of them go, rounds of exploration included. A round that breaks the "
        "floor counts with the maximum response time, so curves begin high where few joint actions meet the floor. The "
        "paper's figure has no data in the text; its prose says that more devices take longer and that Deep Q-learning "
        "overtakes Q-learning with five: see table11."
    )
    columns = ("agent", "users", "floor", "first_ms", "last_ms", "rounds")
    pictures = [Picture("", (9.5, 5.6), draw)]
    return Artifact(
        "figure6",
        "Figure 6: training",
        "tierwise reproduce figure6",
        text,
        columns,
        rows,
        pictures=pictures,
        key="curves",
    )


def reproduce_figure7(results: Results) -> Artifact:
    """Transfer learning with five users."""
    rows = reproduce_table11(results).facts["transfer"]

    def draw(figure: Figure) -> None:
        from matplotlib.lines import Line2D

        panels = figure.subplots(1, len(LEARNERS))
        for panel, (policy, name) in zip(panels, LEARNERS.items(), strict=True):
            for transfer, style in ((False, ":"), (True, "-")):
                curves = {f: _mean_curve(results, policy, max(USERS), f, transfer) for f in TRANSFER_FLOORS}
                _draw_curves(panel, curves, style)
            panel.set_title(f"{name}, five users (dotted: from nothing)")
            panel.set_xscale("log")
        panels[0].set_ylabel("minus reward, ms")
        lines = [Line2D([], [], color=COLOURS[floor], label=f"floor {floor}") for floor in TRANSFER_FLOORS]
        figure.legend(handles=lines, loc="outside lower center", ncols=len(lines))

    text = (
        "An agent that has converged without a floor begins the training with one. The published speed-ups, 12.5 and "
        "3.3, are the largest that the paper saw; the example in the same caption, 10.5e5 to 8.2e4 steps, is 12.8."
    )
    return Artifact(
        name="figure7",
        title="Figure 7: transfer learning",
        command="tierwise reproduce figure7",
        text=text,
        columns=TRANSFER_COLUMNS,
        rows=rows,
        pictures=[Picture("", (9.5, 3.6), draw)],
        key="transfer",
    )


def _mean_curve(results: Results, policy: Policy, users: int, floor: str, transfer: bool) -> Curve:
    """Over all seeds, as far as all of them go: those that go on longest are the slow ones, not the typical."""
    found: Sequence[StudyResult] = [
        result for run, result in results.items() if run.group == (str(policy), users, floor, "still", transfer)
    ]
    if not found:
        return []
    block, shortest = found[0].block_rounds, min(len(result.curve) for result in found)
    # The last block of a run is shorter; where it is the last of all, it ends where they do.
    ends = [min((place + 1) * block, float(np.mean([r.rounds for r in found]))) for place in range(shortest)]
    return [(end, float(np.mean([r.curve[place][0] for r in found]))) for place, end in enumerate(ends)]


def _draw_curves(panel: Axes, curves: dict[str, Curve], style: str) -> None:
    for floor, curve in curves.items():
        if curve:
            at, rewards = zip(*curve, strict=True)
            panel.plot(
                at, [-reward for reward in rewards], "." + style, color=COLOURS[floor], label=floor, linewidth=1.4, ms=4
            )
    panel.set_yscale("log")
    panel.set_xlabel("rounds")
