"""`tierwise train`: let an agent learn on a simulated site."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from broker.errors import TierwiseError
from configs.loader import load
from configs.orchestrator import OrchestratorConfig, Policy
from model_zoo.manifest import load_manifest
from orchestrator.accuracy import accuracies_of, floor_tenths
from orchestrator.training.hyperparameters import for_users
from orchestrator.training.job import Trained, Training, TrainingJob
from orchestrator.training.trainer import Progress
from tierwise.curves import draw_response_times
from tierwise.floor_option import floor_percent
from tierwise.job_screen import JobScreen
from tierwise.parallel import Reporter, run_jobs

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class _Seed:
    job: TrainingJob
    fresh: bool


@app.command(epilog="Example: tierwise train q_learning --users 3 --floor 85 --steps 20000 --seeds 2")
def train(
    policy: Annotated[Policy, typer.Argument(help="The agent.")],
    experiment: Annotated[str, typer.Option(help="Links: exp-a to exp-d (Table 5), or a YAML file.")] = "exp-a",
    users: Annotated[int, typer.Option(min=1, max=1000, help="Number of end devices.")] = 5,
    floor: Annotated[str, typer.Option(help="Accuracy floor: min, max, or average Top-5 in %.")] = "85",
    steps: Annotated[int, typer.Option(min=1, help="Rounds in all, those of earlier runs included.")] = 100_000,
    seeds: Annotated[int, typer.Option(min=1, max=1000, help="Trainings, with seeds 1, 2, ...")] = 1,
    scenario: Annotated[str, typer.Option(help="still, visited, or a YAML file with load and events.")] = "still",
    calibration: Annotated[str, typer.Option(help="Response times: a1-paper, or a YAML file.")] = "a1-paper",
    config: Annotated[
        Path | None, typer.Option(help="Settings of the agent; by default Table 7 for so many users.")
    ] = None,
    transfer: Annotated[Path | None, typer.Option(help="Begin with this checkpoint, trained with --floor min.")] = None,
    directory: Annotated[Path | None, typer.Option(help="Where it is kept; by default run/train/... by name.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Begin anew, even if it could go on.")] = False,
    png: Annotated[Path | None, typer.Option(help="Draw response times over the rounds to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train an agent on a simulated site, each seed on a core of its own.

    Run again with the same options it goes on where it was stopped, exactly as if it had not been; with more --steps it
    goes further. Each seed's folder holds a checkpoint that the orchestrator loads when it lies in its files.directory.

    Exit codes: 0 trained; 1 a file cannot be used; 2 wrong usage; 130 interrupted, and saved.
    """
    settings = for_users(users) if config is None else load(config, OrchestratorConfig)
    tenths = floor_tenths(floor_percent(floor))
    base = directory or Path("run/train") / f"{policy}-{Path(experiment).stem}-{users}-{floor}-{Path(scenario).stem}"
    jobs = [
        _Seed(
            TrainingJob(
                policy, experiment, users, tenths, scenario, calibration, steps, seed, base / f"seed-{seed}", settings,
                transfer,
            ),
            fresh,
        )
        for seed in range(1, seeds + 1)
    ]  # fmt: skip
    jobs[0].job.world(accuracies_of(load_manifest()))  # what is wrong with the files is told before anything starts
    if transfer is not None and not transfer.is_file():
        raise typer.BadParameter(f"there is no file {transfer}", param_hint="--transfer")
    try:
        with JobScreen([f"seed {seed}" for seed in range(1, seeds + 1)], "training") as screen:
            results = run_jobs(jobs, run_seed, screen.progress, lambda number, _: screen.done(number))
    except KeyboardInterrupt:
        print(f"saved in {base}; the same command goes on from there", file=sys.stderr)
        raise
    if png is not None:
        draw_curves(results, png)
    if as_json:
        rows = [{"seed": seed, **_as_json(result)} for seed, result in enumerate(results, start=1)]
        print(
            json.dumps(
                {"policy": policy, "users": users, "floor": tenths / 10, "steps": steps, "seeds": rows}, indent=1
            )
        )
        return
    for seed, result in enumerate(results, start=1):
        rounds = f"{result.rounds} round{'s' * (result.rounds != 1)}"
        print(f"seed {seed}: {rounds}, {_told(result.mean_ms, result.regret_percent, result.broken_percent)}")
        if result.checkpoint is not None:
            print(f"        {result.checkpoint}")


def run_seed(seed: _Seed, reporter: Reporter) -> Trained:
    """One training, in a worker process. Raises TierwiseError."""
    job = seed.job

    def tell(progress: Progress) -> None:
        last = progress.last
        broken = 100 * last.broken / max(1, last.rounds)
        reporter.tell(progress.round / job.rounds, _told(last.mean_ms, last.regret_percent, broken))

    try:
        return Training(job, seed.fresh).run(tell)
    except OSError as error:
        raise TierwiseError(f"cannot write in {job.directory}: {error.strerror}; choose another --directory") from error


def draw_curves(results: Sequence[Trained], path: Path) -> None:
    """Mean response time over the rounds, a line per seed. Raises TierwiseError."""
    curves = [(f"seed {seed}", result.block_rounds, result.curve_ms) for seed, result in enumerate(results, start=1)]
    draw_response_times(curves, results[0].optimum_ms, path)


def _told(mean_ms: float | None, regret_percent: float | None, broken_percent: float) -> str:
    if mean_ms is None or regret_percent is None:
        regret = "no round kept the floor"
    else:
        regret = f"{mean_ms:.1f} ms, regret {regret_percent:.1f} %"
    return f"{regret}, floor broken in {broken_percent:.1f} %"


def _as_json(result: Trained) -> dict[str, object]:
    values = asdict(result)
    values["checkpoint"] = None if result.checkpoint is None else str(result.checkpoint)
    return values
