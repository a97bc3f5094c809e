"""`tierwise compare`: policies side by side on a simulated site."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer

from configs.loader import load
from configs.orchestrator import OrchestratorConfig, Policy
from model_zoo.manifest import load_manifest
from orchestrator.accuracy import accuracies_of, floor_tenths
from orchestrator.training.comparison import PolicyFigures, measure_policy
from orchestrator.training.hyperparameters import for_users
from orchestrator.training.job import TrainingJob
from tierwise.curves import draw_response_times
from tierwise.floor_option import floor_percent
from tierwise.job_screen import JobScreen
from tierwise.parallel import Reporter, run_jobs

PROGRESS_S = 0.25
app = typer.Typer(add_completion=False)


@app.command(epilog="Example: tierwise compare factored device_only uniform_model --users 5 --floor 85 --rounds 500")
def compare(
    policies: Annotated[list[Policy], typer.Argument(help="The policies, each of which begins from nothing.")],
    experiment: Annotated[str, typer.Option(help="Links: exp-a to exp-d (Table 5), or a YAML file.")] = "exp-a",
    users: Annotated[int, typer.Option(min=1, max=1000, help="Number of end devices.")] = 5,
    floor: Annotated[str, typer.Option(help="Accuracy floor: min, max, or average Top-5 in %.")] = "85",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds for each policy, those of learning included.")] = 500,
    seed: Annotated[int, typer.Option(min=1, help="The same for all: same noise and load.")] = 1,
    scenario: Annotated[str, typer.Option(help="still, visited, or a YAML file with load and events.")] = "still",
    calibration: Annotated[str, typer.Option(help="Response times: a1-paper, or a YAML file.")] = "a1-paper",
    config: Annotated[
        Path | None, typer.Option(help="Settings of the agents; by default Table 7 for so many users.")
    ] = None,
    png: Annotated[Path | None, typer.Option(help="Draw response times over the rounds to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare policies on a simulated site: response time, accuracy, floor, rounds to converge.

    Each policy runs on a core of its own, on the same site with the same noise. Figures include the rounds of learning.

    Exit codes: 0 compared; 1 a file cannot be used or written; 2 wrong usage; 130 interrupted.
    """
    settings = for_users(users) if config is None else load(config, OrchestratorConfig)
    tenths = floor_tenths(floor_percent(floor))
    jobs = [
        TrainingJob(policy, experiment, users, tenths, scenario, calibration, rounds, seed, Path(), settings)
        for policy in policies
    ]
    jobs[0].world(accuracies_of(load_manifest()))  # errors in the files appear before anything starts
    with JobScreen([str(policy) for policy in policies], "comparing") as screen:
        figures = run_jobs(jobs, run_policy, screen.progress, lambda number, _: screen.done(number))
    if png is not None:
        draw(figures, png)
    if as_json:
        about = {"experiment": experiment, "users": users, "floor": tenths / 10, "rounds": rounds, "seed": seed}
        print(json.dumps({**about, "policies": [asdict(one) for one in figures]}, indent=1))
        return
    print_table(figures)


def run_policy(job: TrainingJob, reporter: Reporter) -> PolicyFigures:
    """One policy, in a worker process. Raises TierwiseError."""
    last_s = monotonic()

    def tell(done: int) -> None:
        nonlocal last_s
        if monotonic() - last_s >= PROGRESS_S:
            last_s = monotonic()
            reporter.tell(done / job.rounds)

    return measure_policy(job, accuracies_of(load_manifest()), tell)


def print_table(figures: list[PolicyFigures]) -> None:
    """One row per policy, and the proven optimum's mean, on standard output."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("policy")
    for heading in ("mean ms", "p95 ms", "Top-5 %", "floor met %", "converged"):
        table.add_column(heading, justify="right")
    for one in figures:
        after = "-" if not one.learns else "no" if one.converged_at is None else f"round {one.converged_at}"
        table.add_row(
            one.policy, f"{one.mean_ms:.1f}", f"{one.p95_ms:.1f}", f"{one.accuracy_percent:.2f}",
            f"{one.floor_met_percent:.1f}", after,
        )  # fmt: skip
    Console().print(table)
    print(f"The proven optimum takes {figures[0].optimum_ms:.1f} ms on average.")


def draw(figures: list[PolicyFigures], path: Path) -> None:
    """Mean response time over the rounds, a line per policy. Raises TierwiseError."""
    curves = [(one.policy, one.rounds / len(one.curve_ms), one.curve_ms) for one in figures]
    draw_response_times(curves, figures[0].optimum_ms, path)
