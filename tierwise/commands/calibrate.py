"""`tierwise calibrate`: fit the simulator to a response log."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.durable_file import replace_durably
from configs.calibration import CalibrationConfig
from model_zoo.manifest import load_manifest
from orchestrator.calibration.annotated import as_yaml
from orchestrator.calibration.coefficient import Coefficient
from orchestrator.calibration.fit import Calibrated, calibrate
from orchestrator.calibration.reading import Measured, read
from orchestrator.errors import OutputRefused
from orchestrator.report import Filter
from orchestrator.response_log import LOG_NAME, open_for_reading
from orchestrator.simulator.files import find
from tierwise.time_options import since_ns

app = typer.Typer(add_completion=False)

ASSUMED = "a1-paper"  # whose coefficients stand where a log cannot tell
LONGEST_NAME = 100  # of the schema


@app.command("calibrate", epilog="Example: tierwise calibrate --directory run/orchestrator --output my-site.yaml")
def calibrate_site(
    output: Annotated[Path, typer.Option(help="The YAML file to write.")],
    directory: Annotated[Path, typer.Option(help="The orchestrator's files.directory.")] = Path("run/orchestrator"),
    name: Annotated[str | None, typer.Option(help="Its name; by default that of the file.")] = None,
    since: Annotated[str | None, typer.Option(help="From this time on: 2026-11-23T18:00, UTC unless it says.")] = None,
    last: Annotated[str | None, typer.Option(help="The last 90s, 15m, 2h or 7d, instead of --since.")] = None,
    edge_vcpus: Annotated[int | None, typer.Option(min=1, max=4096, help="Of the edge node; by default 2.")] = None,
    cloud_vcpus: Annotated[int | None, typer.Option(min=1, max=4096, help="Of the cloud node; by default 4.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Fit the simulator's coefficients to the delivered requests of a response log, so that it simulates your site.

    Prints each coefficient, how many requests it rests on and where it comes from, then how well the file gives the
    log's rounds back. What the log cannot tell is a1-paper's, and says so. Use the file with `tierwise train
    --calibration`. Reading does not disturb a running orchestrator.

    Exit codes: 0 written; 1 no log, too little in it, or the output exists or cannot be written; 2 wrong usage.
    """
    name = output.stem[:LONGEST_NAME] if name is None else name.strip()
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise typer.BadParameter(f"give it a name of 1 to {LONGEST_NAME} characters", param_hint="--name")
    if output.is_dir() or (output.exists() and not force):
        more = "is a folder; name a file" if output.is_dir() else "exists already; --force overwrites it"
        raise OutputRefused(f"{output} {more}")
    only = Filter(since_ns(since, last))
    manifest = load_manifest()
    with closing(open_for_reading(directory / LOG_NAME)) as connection:
        measured = read(connection, only, manifest.models)
    found = calibrate(measured, name, find(CalibrationConfig, ASSUMED), manifest, edge_vcpus, cloud_vcpus)
    notes = [*measured.notes, *_notes(found)]
    _write(output, as_yaml(found.calibration, [*_heading(measured, found), *notes]))
    if as_json:
        print(json.dumps(_as_json(directory / LOG_NAME, output, found, notes), indent=1))
    else:
        _print(output, found, notes)


def _heading(measured: Measured, found: Calibrated) -> list[str]:
    times_ns = measured.time_ns.min(), measured.time_ns.max()
    first, last = (datetime.fromtimestamp(time_ns / 1e9, UTC).date() for time_ns in times_ns)
    lines = [
        f"Site {measured.site} as its response log tells. Made by `tierwise calibrate`.",
        f"{found.requests} delivered requests from {first} to {last} (UTC).",
        _told(found),
    ]
    lines += [f"In the simulator, {node} is {name}." for node, name in found.devices.items() if node != name]
    weak_percent = {name: 100 * share for name, share in found.weak_shares.items() if share > 0}
    lines += [f"The link of {name} was weak in {percent:.0f} % of requests." for name, percent in weak_percent.items()]
    return lines


def _notes(found: Calibrated) -> list[str]:
    if not found.emulated:
        return []
    return [f"The times of {found.emulated} of {found.requests} requests were emulated, not measured."]


def _told(found: Calibrated) -> str:
    fit = found.reproduction
    if fit is None:
        return "No round was delivered whole, so nothing says how well it fits."
    return (
        f"Means of the {fit.rounds} whole rounds that it was fitted to: median error {fit.median_percent:.1f} %, "
        f"p95 {fit.p95_percent:.1f} %, all together {fit.all_percent:+.1f} %."
    )


def _write(path: Path, text: str) -> None:
    try:
        replace_durably(path, lambda file: file.write(text.encode()))
    except OSError as error:
        raise OutputRefused(f"cannot write {path}: {error.strerror}; choose another --output") from error


def _unit(path: str) -> str:
    if path.startswith("models.") or ".compute_ms." in path or path.endswith("_ms"):
        return " ms"
    return " %" if path.endswith("_percent") else ""


def _as_json(log: Path, output: Path, found: Calibrated, notes: list[str]) -> dict[str, Any]:
    return {
        "log": str(log),
        "output": str(output),
        "name": found.calibration.name,
        "requests": found.requests,
        "devices": {name: node for node, name in found.devices.items()},
        "weak_shares": found.weak_shares,
        "coefficients": [{"path": path, **asdict(coefficient)} for path, coefficient in found.coefficients.items()],
        "reproduction": None if found.reproduction is None else asdict(found.reproduction),
        "notes": notes,
    }


def _print(output: Path, found: Calibrated, notes: list[str]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("coefficient", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("rows", justify="right", no_wrap=True)
    table.add_column("origin")
    for path, coefficient in found.coefficients.items():
        table.add_row(path, _value(path, coefficient), str(coefficient.rows or "-"), Text(coefficient.origin))
    console = Console()
    console.print(table)
    for line in [*notes, _told(found), f"Wrote {output}."]:
        console.print(Text(line), soft_wrap=True)


def _value(path: str, coefficient: Coefficient) -> str:
    value = coefficient.value if isinstance(coefficient.value, str) else f"{coefficient.value:g}"
    return value + _unit(path)
