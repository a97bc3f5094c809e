"""`tierwise zoo bench` and `evaluate`: how fast networks are here, and how often they are right."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from broker.errors import TierwiseError
from configs.loader import load
from configs.orchestrator import OrchestratorConfig
from model_zoo.bench import Benched, Timed, dominated, front
from model_zoo.bench import bench as time_models
from model_zoo.cache import models_directory
from model_zoo.errors import CannotEvaluate
from model_zoo.evaluate import Accuracy, Evaluation, subjects
from model_zoo.evaluate import evaluate as evaluate_models
from model_zoo.fitting import DEFAULT_TASK, SiteTask
from model_zoo.ground_truth import read_ground_truth
from model_zoo.local_manifest import change_local, site_manifest, with_measured
from tierwise.commands.zoo_shown import AsJson, Directory, Names, SiteFile, counting, say, table_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INTERRUPTED = 130
MOST_THREADS = 64
MOST_SHOWN = 5
P99_NEEDS_RUNS = 100
COLOURS = ("#1b6ca8", "#c4572e", "#3b8a4a", "#7a4fa3")


def bench(
    names: Names = None,
    threads: Annotated[str, typer.Option(help="Threads of one inference, such as 1,2,4.")] = "1",
    runs: Annotated[int, typer.Option(min=1, max=1_000_000, help="Timed runs of each model.")] = 200,
    png: Annotated[
        Path | None, typer.Option(help="Draw accuracy against latency, with the Pareto front.", show_default=False)
    ] = None,
    directory: Directory = None,
    as_json: AsJson = False,
) -> None:
    """Time networks on this machine: median, p95, p99, load time and memory. Ctrl-C gives what there is so far.

    Rounds go over all models in a new order each, so that noise hits all alike. Timed are preparing and running, not
    decoding. A model is dominated if another is as accurate or more, and as fast or faster.
    """
    counts = _threads(threads)
    if png is not None and png.suffix.lower() != ".png":
        raise typer.BadParameter("a name that ends in .png", param_hint="--png")
    where = directory or models_directory()
    with counting("timing") as progress:
        found = time_models(site_manifest(directory=where), names or (), where, counts, runs, progress)
    say(as_json, _bench_as_json(found), _bench_table(found))
    if png is not None and found.rows:
        _draw(found.rows, png)
        if not as_json:
            say(False, None, f"the picture is in {png}")
    if found.interrupted:
        raise typer.Exit(INTERRUPTED)


def evaluate(
    images: Annotated[Path, typer.Option(help="The folder of photographs (JPEG, PNG).")],
    labels: Annotated[
        Path, typer.Option(help="What is on them: CSV of file,class, or lines such as ILSVRC2012_val_00000001.JPEG 65.")
    ],
    names: Annotated[
        list[str] | None, typer.Argument(help="Models; by default all trained ones.", show_default=False)
    ] = None,
    count_from: Annotated[
        int, typer.Option(min=0, help="The first number that the labels file gives a class (without background).")
    ] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="By default one per processor.", show_default=False)
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Put it into the local manifest, in place of the published accuracies.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="With --write: also what is not better than chance.")] = False,
    config: SiteFile = None,
    directory: Directory = None,
    as_json: AsJson = False,
) -> None:
    """Measure Top-1 and Top-5 on photographs whose classes are known, with Wilson's 95 % intervals.

    A class is a number from 0 without the background, or a name; a model with a background class answers one more,
    which is made up for. Photographs that cannot be decoded are listed and count for no model. Ctrl-C gives what was
    seen so far, and then nothing is written. Untrained models are refused, and those of other classes than the site's.
    With --write so is what is not better than chance (binomial test, p < 0.01).
    """
    where = directory or models_directory()
    asked = Asked(task_of(config), count_from, workers)
    found = evaluate_shown(names or (), images, labels, where, asked)
    if write and not found.interrupted:
        write_shown(found, where, asked.site, force=force)
    elif write:
        note(f"interrupted after {_seen(found)} of {found.wanted} photographs; not written")
    say(as_json, as_json_of(found), table_of_evaluation(found))
    if found.interrupted:
        raise typer.Exit(INTERRUPTED)


@dataclass(frozen=True, slots=True)
class Asked:
    """How an evaluation is made: for which site, from which number classes are counted, by how many threads."""

    site: SiteTask = DEFAULT_TASK
    count_from: int = 0
    workers: int | None = None


def note(text: str) -> None:
    """One line on standard error."""
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, markup=False)


def evaluate_shown(
    names: Sequence[str], images: Path, labels: Path, directory: Path, asked: Asked | None = None
) -> Evaluation:
    """`model_zoo.evaluate` with a bar, and notes on standard error. Raises like it, and TierwiseError."""
    asked = asked or Asked()
    if not images.is_dir():
        raise TierwiseError(f"{images} is no folder; name the folder of the photographs: --images DIR")
    labelled = read_ground_truth(labels)
    manifest = site_manifest(directory=directory)
    what = subjects(manifest, names, directory, labelled, asked.count_from, asked.site.label_set)
    with counting("photographs") as progress:
        found = evaluate_models(what, labelled, images, asked.workers or os.cpu_count() or 1, progress)
    for file, why in found.unreadable[:MOST_SHOWN]:
        note(f"not decoded: {file}: {why}")
    if len(found.unreadable) > MOST_SHOWN:
        note(f"not decoded: {len(found.unreadable) - MOST_SHOWN} more")
    for each in found.accuracies:
        if why_not := each.at_chance(asked.site.metric):
            note(f"warning: {why_not}")
    return found


def write_shown(found: Evaluation, directory: Path, site: SiteTask, *, force: bool) -> None:
    """Put accuracies into the local manifest. Raises CannotEvaluate for what is not better than chance, unless forced:
    of several networks the others are written.
    """
    guessing = [each.name for each in found.accuracies if each.at_chance(site.metric)]
    measured = {
        each.name: each.measured(date.today(), forced=each.name in guessing)
        for each in found.accuracies
        if force or each.name not in guessing
    }
    if measured:
        path = change_local(directory, lambda local: with_measured(local, measured))
        note(f"written to {path}; restart the nodes and the orchestrator that use it")
    if guessing and not force:
        raise CannotEvaluate(
            f"not written: {', '.join(guessing)} (not better than chance); take it out with tierwise zoo remove, or "
            "write it all the same: --force"
        )


def table_of_evaluation(found: Evaluation) -> Table:
    """For a person."""
    table = table_of("model", "images", "Top-1 %", "95 %", "Top-5 %", "95 %")
    for row in found.accuracies:
        (low1, high1), top5, interval5 = row.top1_interval, row.top5_percent, row.top5_interval
        top1 = f"{row.top1_percent:.1f}"
        of_five = ("", "") if top5 is None or interval5 is None else (f"{top5:.1f}", _between(*interval5))
        table.add_row(row.name, str(row.images), top1, _between(low1, high1), *of_five)
    if found.unreadable:
        table.caption = f"{len(found.unreadable)} of {found.wanted} photographs could not be decoded"
    return table


def as_json_of(found: Evaluation) -> dict[str, Any]:
    """For machines."""
    return {
        "wanted": found.wanted,
        "interrupted": found.interrupted,
        "unreadable": [{"file": file, "why": why} for file, why in found.unreadable],
        "models": [_accuracy_as_json(row) for row in found.accuracies],
    }


def _accuracy_as_json(row: Accuracy) -> dict[str, Any]:
    return {
        **asdict(row),
        "top1_percent": row.top1_percent,
        "top1_interval_percent": row.top1_interval,
        "top5_percent": row.top5_percent,
        "top5_interval_percent": row.top5_interval,
    }


def _between(low: float, high: float) -> str:
    return f"{low:.1f} to {high:.1f}"


def task_of(config: Path | None) -> SiteTask:
    """The label set and the metric of the site that an orchestrator's file describes; without one those of the eight.

    Raises ConfigError.
    """
    if config is None:
        return DEFAULT_TASK
    goal = load(config, OrchestratorConfig).goal
    return SiteTask(goal.label_set, goal.metric)


def _seen(found: Evaluation) -> int:
    return max((row.images for row in found.accuracies), default=0)


def _threads(text: str) -> list[int]:
    try:
        counts = sorted({int(part) for part in text.split(",")})
    except ValueError as error:
        raise typer.BadParameter("numbers separated by commas, such as 1,2", param_hint="--threads") from error
    if not 1 <= counts[0] <= counts[-1] <= MOST_THREADS:
        raise typer.BadParameter(f"each from 1 to {MOST_THREADS}", param_hint="--threads")
    return counts


def _bench_table(found: Benched) -> Table:
    table = table_of("model", "threads", "median ms", "p95", "p99", "load ms", "MB", "Top-5 %", "dominated by")
    for row in sorted(found.rows, key=lambda row: (row.threads, row.median_ms)):
        times = [f"{ms:.2f}" for ms in (row.median_ms, row.p95_ms, row.p99_ms)]
        accuracy = "" if row.top5_tenths is None else f"{row.top5_tenths / 10:.1f}"
        costs = (f"{row.load_ms:.0f}", f"{row.memory_mb:.0f}")
        table.add_row(row.model, str(row.threads), *times, *costs, accuracy, " ".join(dominated(row, found.rows)[:3]))
    runs = min((row.runs for row in found.rows), default=0)
    notes = [f"{runs} runs each" + (", so p99 is the slowest" if runs < P99_NEEDS_RUNS else "")]
    if any(not row.trained for row in found.rows):
        notes.append("accuracies are the manifest's, not those of untrained files")
    table.caption = "; ".join(notes)
    table.caption_justify = "left"
    return table


def _bench_as_json(found: Benched) -> dict[str, Any]:
    return {
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "interrupted": found.interrupted,
        "models": [
            {
                **asdict(row),
                "on_front": row in front(found.rows, row.threads),
                "dominated_by": dominated(row, found.rows),
            }
            for row in found.rows
        ],
    }


def _draw(rows: Sequence[Timed], file: Path) -> None:
    from tierwise.reproduce.artifact import Picture, save_picture

    def points(figure: Figure) -> None:
        axes = figure.subplots()
        for place, threads in enumerate(sorted({row.threads for row in rows})):
            here = [row for row in rows if row.threads == threads and row.top5_tenths is not None]
            best, colour = front(rows, threads), COLOURS[place % len(COLOURS)]
            said = f"{threads} thread{'s' * (threads > 1)}"
            axes.scatter([row.median_ms for row in here], [(row.top5_tenths or 0) / 10 for row in here], color=colour)
            axes.step(
                [row.median_ms for row in best],
                [(row.top5_tenths or 0) / 10 for row in best],
                where="post",
                color=colour,
                label=f"Pareto front, {said}",
            )
            for row in here:
                axes.annotate(
                    row.model,
                    (row.median_ms, (row.top5_tenths or 0) / 10),
                    textcoords="offset points",
                    xytext=(5, (-11, 5, -20, 14)[place % 4]),
                    color=colour,
                )
        axes.set(xlabel="median latency of preparing and running, ms", ylabel="Top-5 accuracy, %", xlim=(0, None))
        axes.set_title("Accuracy against latency on this machine")
        axes.legend(loc="lower right")

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_picture(Picture("", (6.5, 4.0), points), file)
    except OSError as error:
        raise TierwiseError(f"cannot write {file}: {error.strerror}; choose another --png") from error
