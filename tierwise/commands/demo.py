"""`tierwise demo`: a whole site on this machine."""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import sys
from contextlib import closing
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from broker.errors import TierwiseError
from broker.vocabulary import Link, ModelName, NodeId
from configs.demo import DemoConfig, ExperimentConfig
from configs.loader import ConfigError, Problem, load
from configs.orchestrator import Policy
from configs.section import FLOORS, LOWEST_FLOOR, floor_too_low
from model_zoo.local_manifest import site_manifest
from orchestrator.response_log import LOG_NAME, open_for_reading
from tierwise.commands.zoo import ensure_shown
from tierwise.demo import FIXED, run_demo
from tierwise.fleet import Fleet
from tierwise.floor_option import floor_percent
from tierwise.screen import Screen, comparison

app = typer.Typer(add_completion=False)


@app.command(epilog="Example: tierwise demo --experiment exp-b --rounds 40 --json demo.json")
def demo(
    config: Annotated[Path | None, typer.Option(help="Fleet; by default the demo.yaml that comes along.")] = None,
    experiment: Annotated[str, typer.Option(help="Weak links of Table 5: exp-a to exp-d, or a YAML file.")] = "exp-a",
    rounds: Annotated[int | None, typer.Option(min=1, max=100_000, help="Rounds of the learned policy.")] = None,
    fixed_rounds: Annotated[int | None, typer.Option(min=1, max=100_000, help="Rounds of each fixed strategy.")] = None,
    floor: Annotated[str | None, typer.Option(help="Accuracy floor: min, max, or Top-5 in %.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of exploration; another one at each run without it.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write rounds and comparison here.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Save the last screen and the comparison as SVG.")] = None,
    directory: Annotated[Path, typer.Option(help="Configurations, logs and response log go below it.")] = Path("run"),
) -> None:
    """Run five devices, an edge and a cloud node on this machine, and compare the learned policy with fixed ones.

    Every node is a process of its own; they talk through a real Mosquitto, and real networks classify real
    photographs. Times are emulated, because one machine plays all nodes; the table says so.
    """
    console = Console()
    settings = _settings(config, rounds, fixed_rounds, floor)
    links = _links(experiment, settings)
    _check_writable(json_file, "--json")
    _check_writable(picture, "--picture")
    top5_tenths = _models(console, settings)
    run_directory = _run_directory(directory)
    compared = [policy for policy in FIXED if policy != settings.policy]
    phases = [(settings.policy, settings.rounds.learned), *((policy, settings.rounds.fixed) for policy in compared)]
    with Fleet(settings, links, run_directory, seed) as fleet:
        with console.status("starting broker, orchestrator and nodes"):
            fleet.start()
        screen = Screen(console, settings.accuracy_floor, links, fleet.devices, top5_tenths)
        with screen:
            result = asyncio.run(run_demo(fleet, screen, phases, top5_tenths))
        fleet.stop()
        rows = _stored_rows(fleet.log_directory)
    console.print(comparison(result, settings.accuracy_floor))
    console.print(f"Requests made: {result.requests}, rows in the response log: {rows}.", highlight=False)
    more = ("explain", "whatif") if settings.policy is Policy.FACTORED else ()
    for command in ("report", *more):
        told = f"Look closer: {_called()} {command} --directory {fleet.log_directory}"
        if command == "explain" and result.rounds:
            told += f" --round {result.rounds[-1].number}"  # fixed strategies, the last, do not say
        console.print(told, highlight=False, soft_wrap=True)
    if json_file is not None:
        log = {"requests": result.requests, "rows": rows}
        _write(json_file, json.dumps({**result.as_json(), "log": log}, indent=1) + "\n")
    if picture is not None:
        drawn = Console(record=True, width=92, file=io.StringIO())
        drawn.print(screen.picture(), "", comparison(result, settings.accuracy_floor))
        _write(picture, drawn.export_svg(title="tierwise demo"))
    if rows != result.requests:
        raise TierwiseError(f"the response log has {rows} rows for {result.requests} requests; see {run_directory}")


def _settings(config: Path | None, rounds: int | None, fixed_rounds: int | None, floor: str | None) -> DemoConfig:
    path = config or Path(str(resources.files("configs") / "demo.yaml"))
    settings = load(path, DemoConfig)
    changed = settings.model_dump(mode="json", exclude_none=True)
    if rounds is not None:
        changed["rounds"]["learned"] = rounds
    if fixed_rounds is not None:
        changed["rounds"]["fixed"] = fixed_rounds
    if floor is not None:
        changed["accuracy_floor"] = floor_percent(floor)
    elif why := floor_too_low(settings.accuracy_floor, LOWEST_FLOOR, FLOORS["max"]):
        raise ConfigError([Problem(str(path), 1, 1, "accuracy_floor", why)])
    return DemoConfig.model_validate(changed)


def _links(experiment: str, settings: DemoConfig) -> dict[NodeId, Link]:
    shipped = {Path(file.name).stem: Path(str(file)) for file in (resources.files("configs") / "experiments").iterdir()}
    path = shipped.get(experiment, Path(experiment))
    if experiment not in shipped and not path.is_file():
        raise typer.BadParameter(f"one of {', '.join(sorted(shipped))}, or a YAML file", param_hint="--experiment")
    links = load(path, ExperimentConfig).links
    known = {node.node for node in settings.nodes}
    if unknown := sorted(set(links) - known):
        what = f"names {', '.join(unknown)}; the fleet has {', '.join(sorted(known))}"
        raise ConfigError([Problem(str(path), 1, 1, "links", what)])
    return dict(links)


def _models(console: Console, settings: DemoConfig) -> dict[ModelName, int]:
    """Make sure that every network of the fleet is there; their Top-5 accuracies in tenths of a point."""
    names = sorted({name for section in settings.emulate.values() for name in section.reference_ms})
    console.print(str(ensure_shown(console, names)), highlight=False)
    return {name: spec.top5_tenths for name, spec in site_manifest().models.items() if spec.top5_tenths is not None}


def _called() -> str:
    """How this command was called, so that the next one can be copied; .venv/bin is seldom on the PATH."""
    called = Path(sys.argv[0])
    return "tierwise" if shutil.which("tierwise") or called.name != "tierwise" else os.path.relpath(called)


def _run_directory(directory: Path) -> Path:
    """A new folder for this run; `latest` points to it."""
    run = directory / "demo" / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    try:
        run.mkdir(parents=True)
        pointer = run.parent / f".latest-{os.getpid()}"
        pointer.symlink_to(run.name)
        pointer.replace(run.parent / "latest")
    except OSError as error:
        raise TierwiseError(f"cannot make {run}: {error.strerror}; choose another --directory") from error
    return run.resolve()


def _stored_rows(directory: Path) -> int:
    with closing(open_for_reading(directory / LOG_NAME)) as database:
        rows: int = database.execute("SELECT count(*) FROM response").fetchone()[0]
    return rows


def _check_writable(file: Path | None, option: str) -> None:
    """Told before the demo runs, not after it."""
    if file is not None and (file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK)):
        raise typer.BadParameter(f"cannot write {file}", param_hint=option)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TierwiseError(f"cannot write {file}: {error.strerror}") from error
