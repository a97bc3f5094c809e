"""`tierwise whatif`: the best response time at every floor, from what has been learned so far."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from broker.errors import TierwiseError
from broker.events import count
from configs.loader import load
from configs.orchestrator import OrchestratorConfig
from model_zoo.fitting import DEFAULT_TASK, SiteTask
from model_zoo.local_manifest import site_manifest
from orchestrator.accuracy import accuracies_of, floor_tenths
from orchestrator.checkpoint import read_checkpoint
from orchestrator.errors import NothingLogged
from orchestrator.whatif import WhatIf, what_if
from tierwise.floor_option import floor_percent
from tierwise.reproduce.artifact import Picture, save_picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

app = typer.Typer(add_completion=False)

CHECKPOINT = "factored.npz"


@app.command(epilog="Example: tierwise whatif --directory run/orchestrator --picture whatif.png")
def whatif(
    directory: Annotated[Path, typer.Option(help="The orchestrator's files.directory.")] = Path("run/orchestrator"),
    config: Annotated[Path | None, typer.Option(help="Its YAML file, instead of --directory.")] = None,
    floor: Annotated[str | None, typer.Option(help="Only this floor: min, max, or Top-5 in %.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Where the PNG goes; by default whatif.png beside it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, of every tenth of a point.")] = False,
) -> None:
    """What average response time is to be expected at each accuracy floor, and who would do what for it.

    From what the policy `factored` has learned of the devices of its last round; no device is asked anything. The
    table has a row where the joint action changes, and a PNG of the curve is written. Exit codes: 0 printed; 1 nothing
    learned yet, or a file that cannot be read or written; 2 wrong usage.
    """
    settings = None if config is None else load(config, OrchestratorConfig)
    where = directory if settings is None else settings.files.directory
    file = where / CHECKPOINT
    if not file.exists():
        raise NothingLogged(f"{file} is not there: the policy factored has learned nothing there yet")
    task = DEFAULT_TASK if settings is None else SiteTask(settings.goal.label_set, settings.goal.metric)
    accuracies = accuracies_of(site_manifest(None if settings is None else settings.files.manifest), task)
    best, worst = accuracies.best_tenths / 10, accuracies.worst_tenths / 10
    floors = None if floor is None else [floor_tenths(floor_percent(floor, best, worst))]
    rows = what_if(read_checkpoint(file), dict(accuracies.tenths), floors)
    if not rows:
        raise NothingLogged("the devices of the last round cannot meet that floor")
    drawn = None
    if floor is None:
        drawn = picture or where / "whatif.png"
        _draw(rows, drawn)
    if as_json:
        print(json.dumps({"checkpoint": str(file), "floors": [_as_json(row) for row in rows]}, indent=1))
        return
    _print(rows)
    if drawn is not None:
        print(f"The curve is in {drawn}")


def _as_json(row: WhatIf) -> dict[str, Any]:
    return {**asdict(row), "floor_percent": row.floor_tenths / 10}


def _print(rows: list[WhatIf]) -> None:
    table = Table(title=f"Expected at each floor, {count(sum(rows[0].actions.values()), 'device')}")
    for name in ("floor up to %", "mean ms", "± ms", "Top-5 %", "devices do"):
        table.add_column(name, justify="left" if name == "devices do" else "right")
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        if following is None or following.actions != row.actions:
            doing = ", ".join(f"{count} x {action}" for action, count in row.actions.items())
            accuracy = f"{row.accuracy_tenths / 10:.1f}"
            table.add_row(f"{row.floor_tenths / 10:.1f}", f"{row.mean_ms:.1f}", f"{row.sd_ms:.1f}", accuracy, doing)
    Console().print(table)


def _draw(rows: list[WhatIf], file: Path) -> None:
    def curve(figure: Figure) -> None:
        axes = figure.subplots()
        floors = [row.floor_tenths / 10 for row in rows]
        means = [row.mean_ms for row in rows]
        axes.step(floors, means, where="mid", color="#1b6ca8")
        low = [row.mean_ms - 2 * row.sd_ms for row in rows]
        high = [row.mean_ms + 2 * row.sd_ms for row in rows]
        axes.fill_between(floors, low, high, step="mid", color="#1b6ca8", alpha=0.15, label="two standard deviations")
        axes.set(xlabel="accuracy floor, average Top-5 %", ylabel="expected average response time, ms", ylim=(0, None))
        axes.set_title("What the floor costs, as far as has been learned")
        axes.legend(loc="upper left")

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_picture(Picture("", (6.5, 3.6), curve), file)
    except OSError as error:
        raise TierwiseError(f"cannot write {file}: {error.strerror}; choose another --picture") from error
