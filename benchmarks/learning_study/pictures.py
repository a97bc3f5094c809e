"""The pictures of the learning benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.learning_study.play import EVENT_ROUNDS
from benchmarks.learning_study.runs import FEW_USERS
from benchmarks.learning_study.tables import Row, Runs, grouped
from tierwise.reproduce.artifact import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def pictures(runs: Runs, scale: Sequence[Row]) -> list[Picture]:
    """Those for which there are runs."""
    drawn = []
    if any(run.kind == "learn" for run in runs):
        drawn.append(Picture("rounds", (7.5, 4.0), lambda figure: _rounds(figure, runs)))
    curves = [result["excess"] for result in runs.values() if "excess" in result]
    if curves:
        drawn.append(Picture("change", (7.5, 3.2), lambda figure: _change(figure, np.array(curves))))
    if scale:
        drawn.append(Picture("scale", (7.5, 3.2), lambda figure: _scale(figure, scale)))
    return drawn


def _rounds(figure: Figure, runs: Runs) -> None:
    axes = figure.subplots()
    for (users, family), group in grouped(runs, "learn", lambda run: (run.users, run.family)).items():
        if users != FEW_USERS:
            continue
        rounds = np.sort([result["converged_at"] or np.inf for result in group.values()])
        share = np.arange(1, len(rounds) + 1) / len(rounds)
        axes.step(rounds, share, where="post", label=family.replace("_", " "), linewidth=1.2)
    axes.axvline(15, color="#888888", linewidth=0.8, linestyle=":")
    axes.axvline(30, color="#888888", linewidth=0.8, linestyle="--")
    axes.set(xscale="log", xlabel="rounds until converged", ylabel="share of runs", ylim=(0, 1.01), xlim=(1, 400))
    axes.set_title("Five devices, all experiments and floors, by family of worlds")
    axes.legend(loc="lower right", ncols=2)


def _change(figure: Figure, curves: np.ndarray[Any, Any]) -> None:
    axes = figure.subplots()
    rounds = np.arange(1, curves.shape[1] + 1)
    axes.plot(rounds, 100 * np.median(curves, axis=0), color="#1b6ca8", label=f"median of {len(curves)} runs")
    axes.plot(rounds, 100 * np.percentile(curves, 95, axis=0), color="#d1495b", linewidth=0.9, label="95th percentile")
    for number, name in enumerate(("slower", "as before", "cloud dead"), start=1):
        axes.axvline(number * EVENT_ROUNDS, color="#888888", linewidth=0.8, linestyle=":")
        axes.annotate(name, (number * EVENT_ROUNDS + 3, 28), fontsize=8)
    axes.axhline(1.0, color="#888888", linewidth=0.8, linestyle="--")
    axes.set(xlabel="round", ylabel="slower than the optimum, %", ylim=(0, 32))
    axes.set_title("What would be decided without exploring (Exp-A, floor max)")
    axes.legend(loc="upper right")


def _scale(figure: Figure, scale: Sequence[Row]) -> None:
    times, memory = figure.subplots(1, 2)
    users = [row["users"] for row in scale]
    for name, label in (
        ("act_p50_ms", "decision, median"),
        ("act_p99_ms", "decision, p99"),
        ("learn_p50_ms", "learning"),
    ):
        times.plot(users, [row[name] for row in scale], marker="o", markersize=3, label=label)
    times.axhline(10.0, color="#888888", linewidth=0.8, linestyle="--")
    times.set(xscale="log", yscale="log", xlabel="devices", ylabel="ms on one core")
    times.legend()
    memory.plot(users, [row["memory_mb"] for row in scale], marker="o", markersize=3)
    memory.set(xscale="log", yscale="log", xlabel="devices", ylabel="MB that the agent holds")
