"""`tierwise zoo`: get the eight networks, add others, check and measure them, and see what there is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from broker.errors import TierwiseError
from model_zoo.build import BuildOptions
from model_zoo.cache import LABELS, models_directory
from model_zoo.ensure import Ensured, whole
from model_zoo.ensure import ensure as ensure_models
from model_zoo.errors import FetchFailed
from model_zoo.local_manifest import site_manifest
from model_zoo.manifest import load_manifest
from model_zoo.progress import Progress as Report
from model_zoo.progress import Stage, Step
from tierwise.commands.zoo_add import add, remove
from tierwise.commands.zoo_measure import bench, evaluate
from tierwise.commands.zoo_shown import AsJson, Directory, Names, file_said, mmacs_said, say, table_of

app = typer.Typer(
    help="Get the eight networks, add others, verify, list, time and evaluate them.",
    no_args_is_help=True,
    add_completion=False,
)
app.command(epilog="Example: tierwise zoo add net.tflite --name net --top5 91.2 --preprocessing 0_to_1")(add)
app.command(epilog="Example: tierwise zoo remove net")(remove)
app.command(epilog="Example: tierwise zoo bench d0 d4 --threads 1,2 --png bench.png")(bench)
app.command(epilog="Example: tierwise zoo evaluate d4 --images val/ --labels val.txt --write")(evaluate)

Force = Annotated[bool, typer.Option("--force", help="Also what is there already.")]


@app.command(epilog="Example: tierwise zoo fetch d0 d4")
def fetch(names: Names = None, directory: Directory = None, force: Force = False, as_json: AsJson = False) -> None:
    """Get the official, trained models from the internet; what broke off is continued.

    Each archive is checked against the manifest's sha256. A model that was built here is replaced.
    """
    from model_zoo.fetch import fetch as fetch_models
    from model_zoo.fetch import fetch_labels

    console, manifest, directory = Console(stderr=True), load_manifest(), directory or models_directory()
    with bars(console) as report:
        models = fetch_models(manifest, names or (), directory, report, force=force)
        try:
            if force or not (directory / LABELS).is_file():
                fetch_labels(manifest, directory, report)
        except FetchFailed as error:
            console.print(f"labels will be numbers: {error}", highlight=False)
    say(as_json, [_installed_json(model) for model in models], f"{len(models)} official models are in {directory}")


@app.command(epilog="Example: tierwise zoo build --keep-environment")
def build(
    names: Names = None,
    directory: Directory = None,
    force: Force = False,
    keep_environment: Annotated[
        bool,
        typer.Option(
            "--keep-environment/--remove",
            help="Keep TensorFlow's own environment (1.6 GB) after a success. A failed build always keeps it.",
        ),
    ] = False,
    python: Annotated[Path | None, typer.Option(help="Python that makes TensorFlow's environment.")] = None,
    photographs: Annotated[
        Path | None, typer.Option(help="JPEGs to quantise with; by default those that come along.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Build the same graphs without internet archives. Their weights are untrained: right for time, not for labels.

    Uses TensorFlow if it can be imported here, else installs it with pip into an environment of its own.
    """
    from model_zoo.build import build as build_models

    manifest, directory = load_manifest(), directory or models_directory()
    wanted = [spec.name for spec in manifest.select(names or ()) if force or whole(spec, directory) is None]
    options = BuildOptions(keep_environment=keep_environment, python=python)
    models = []
    if wanted:
        with bars(Console(stderr=True)) as report:
            pictures = representative_photographs(photographs)
            models = build_models(manifest, pictures, wanted, directory, report, options)
    said = f"{', '.join(wanted)} built, untrained" if wanted else "nothing to do; --force builds anew"
    say(as_json, [_installed_json(model) for model in models], f"{said} ({directory})")


@app.command(epilog="Example: tierwise zoo ensure d0")
def ensure(names: Names = None, directory: Directory = None, as_json: AsJson = False) -> None:
    """Have the models there: from the cache, else fetched, else built. What the demo and the tests do first."""
    done = ensure_shown(Console(stderr=True), names or (), directory)
    origins = {"cached": done.cached, "fetched": done.fetched, "built": done.built, "untrained": done.untrained}
    say(as_json, {**origins, "notes": done.notes}, str(done))


@app.command(epilog="Example: tierwise zoo verify --json")
def verify(names: Names = None, directory: Directory = None, as_json: AsJson = False) -> None:
    """Open every file: sha256, input and output, type, MACs against the manifest (Table 4), one run.

    Exit code 1 if one is wrong.
    """
    from model_zoo.verify import verify as verify_models

    rows = verify_models(site_manifest(directory=directory), names or (), directory)
    table = table_of("model", "", "file", "input", "output", "MMACs", "listed")
    for row in rows:
        mark = Text("ok", "green") if row.ok else Text("WRONG", "bold red")
        counted = "" if row.mmacs is None else f"{row.mmacs:.1f}"
        paper = "" if row.expected_mmacs is None else mmacs_said(row.expected_mmacs)
        file = file_said(row.origin or "missing", row.trained)
        table.add_row(row.name, mark, file, row.input, row.output, counted, paper)
    say(as_json, [row.as_json() for row in rows], table)
    wrong = [f"{row.name}: {problem}" for row in rows for problem in row.problems]
    if wrong:
        raise TierwiseError("\n".join(["these models cannot be used", *wrong]))


@app.command("list", epilog="Example: tierwise zoo list")
def list_(directory: Directory = None, as_json: AsJson = False) -> None:
    """What the networks are (the eight of Table 4, and those that were added), and which of them are there."""
    from model_zoo.listing import list_models

    rows = list_models(site_manifest(directory=directory), directory)
    table = table_of("model", "width", "type", "MMACs", "Top-1 %", "Top-5 %", "file", "MB", "sha256")
    for row in rows:
        size = "" if row.bytes is None else f"{row.bytes / 1e6:.1f}"
        what = (_number(row.width, 2), row.dtype, mmacs_said(row.mmacs), _number(row.top1_percent, 1))
        top5 = _number(row.top5_percent, 1) + ("*" if row.accuracy == "measured" else "")
        table.add_row(row.name, *what, top5, file_said(row.state, row.trained), size, (row.sha256 or "")[:8])
    if any(row.accuracy == "measured" for row in rows):
        table.caption = "* measured here (tierwise zoo evaluate)"
    say(as_json, [row.as_json() for row in rows], table)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def ensure_shown(console: Console, names: Sequence[str] = (), directory: Path | None = None) -> Ensured:
    """`model_zoo.ensure` with bars on `console`, and why something was not fetched. Raises like it."""
    with bars(console) as report:
        done = ensure_models(names, report, photographs=representative_photographs(), directory=directory)
    for note in done.notes:
        console.print(f"not fetched: {note}", style="dim", highlight=False, soft_wrap=True)
    return done


def representative_photographs(directory: Path | None = None) -> list[Path]:
    """The JPEGs in `directory`, or those that come with the device agent. Raises TierwiseError if there are none."""
    folder = directory or Path(str(resources.files("device_agent") / "photos"))
    found = sorted(folder.glob("*.jpg"))
    if not found:
        raise TierwiseError(f"no .jpg file in {folder}; name a folder of photographs: --photographs FOLDER")
    return found


@contextmanager
def bars(console: Console) -> Iterator[Report]:
    """One progress bar for each thing that is being got; they vanish at the end."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[amount]}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks: dict[tuple[str, Stage], TaskID] = {}
        line = ""

        def report(step: Step) -> None:
            nonlocal line
            key = (step.item, step.stage) if step.stage is not Stage.BUILDING else ("", step.stage)
            if key not in tasks:
                tasks[key] = progress.add_task("", amount="")
            progress.update(
                tasks[key],
                description=f"{step.item}: {step.stage}",
                completed=step.done,
                total=step.total,
                amount=_amount(step),
            )
            said = f"{step.item}: {step.stage}"
            if not console.is_terminal and said != line and step.stage is not Stage.DONE:
                line = said
                console.print(said, highlight=False)

        yield report


def _amount(step: Step) -> str:
    if step.stage is Stage.BUILDING:
        return f"{step.done} of {step.total} models"
    total = "" if step.total is None else f" of {step.total / 1e6:.1f}"
    return f"{step.done / 1e6:.1f}{total} MB" if step.done else ""


def _installed_json(model: Any) -> dict[str, Any]:
    return {
        "name": model.name,
        "path": str(model.path),
        "sha256": model.sha256,
        "bytes": model.bytes,
        "trained": model.trained,
        "origin": model.origin,
    }
