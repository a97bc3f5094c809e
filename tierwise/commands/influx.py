"""`tierwise influx`: look after the shipping of the response log to InfluxDB."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from broker.clock import SystemClock
from broker.errors import TierwiseError
from broker.events import count as count_of
from broker.events import log_to_stderr
from configs.influxdb import InfluxSection
from configs.loader import load
from configs.orchestrator import OrchestratorConfig
from orchestrator.errors import LogRefused
from orchestrator.response_log import LOG_NAME, open_for_reading
from tierwise.ship_bar import ShipBar

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Look after the shipping of the response log to InfluxDB."
)

NO_BOUND = 10**12  # rows

ConfigFile = Annotated[Path, typer.Option("--config", help="The orchestrator's YAML file, with an influxdb section.")]
Directory = Annotated[
    Path | None, typer.Option("--directory", help="Where the response log is; default: files.directory of --config.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command(epilog="Example: tierwise influx check --config orchestrator.yaml")
def check(config: ConfigFile = Path("orchestrator.yaml"), as_json: AsJson = False) -> None:
    """Find out what is wrong with the connection, and how to mend it: token, name, port, TLS, write, read.

    Writes one test point to the measurement tierwise_check. Exit codes: 0 all is well; 1 something is not; 2 wrong
    usage.
    """
    from orchestrator.shipping.checking import check as steps_of

    _, section = _settings(config)
    steps = []
    for step in steps_of(section, SystemClock()):
        steps.append(step)
        if not as_json:
            print(f"{'ok  ' if step.good else 'BAD '} {step.name:10} {step.found}")
            if step.mend:
                print(f"     {'':10} {'mend' if not step.good else 'note'}: {step.mend}")
    if as_json:
        print(json.dumps({"target": section.target, "steps": [asdict(step) for step in steps]}, indent=1))
    if not steps[-1].good:
        raise typer.Exit(1)


@app.command(epilog="Example: tierwise influx status --directory run/orchestrator")
def status(
    directory: Annotated[Path, typer.Option(help="The orchestrator's files.directory.")] = Path("run/orchestrator"),
    as_json: AsJson = False,
) -> None:
    """How many rows were shipped to each server, wait, were refused, skipped, or deleted before they left.

    Exit codes: 0 printed; 1 no log; 2 wrong usage.
    """
    from orchestrator.shipping.status import statuses

    with closing(open_for_reading(directory / LOG_NAME)) as log:
        found = statuses(log)
    if as_json:
        shown = [{**asdict(each), "failing": each.failing} for each in found]
        print(json.dumps({"log": str(directory / LOG_NAME), "targets": shown}, indent=1))
        return
    if not found:
        print("The response log was never shipped to a server.")
    for each in found:
        print(f"{each.target}: last taken {_moment(each.accepted_ns)}")
        if each.failing:
            print(f"  failing since; last attempt {_moment(each.failed_ns)}: {each.error}")
        for table in each.tables:
            told = asdict(table)
            name = told.pop("table")
            print(f"  {name:10}", ", ".join(f"{told[key]} {key.replace('_', ' ')}" for key in told))


@app.command("dead-letters", epilog="Example: tierwise influx dead-letters --directory run/orchestrator")
def dead_letters(
    directory: Directory = None,
    config: Annotated[Path | None, typer.Option("--config", help="The orchestrator's YAML file, for --retry.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Send them once more, each alone.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="Show so many, the newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Rows that a server refused for good, and what it said; --retry sends them again, after the cause is mended.

    Exit codes: 0 printed, or all were taken; 1 no log, no server, or some were refused again; 2 wrong usage.
    """
    if retry:
        if config is None:
            raise typer.BadParameter("--retry needs --config: where to send them", param_hint="--config")
        settings, section = _settings(config)
        taken, refused = _retry(directory or settings.files.directory, section)
        print(
            json.dumps({"taken": taken, "refused": refused}) if as_json else f"{taken} taken, {refused} refused again"
        )
        if refused:
            raise typer.Exit(1)
        return
    from orchestrator.shipping.status import dead_letters as kept

    path = (directory or _directory_of(config)) / LOG_NAME
    with closing(open_for_reading(path)) as log:
        letters, count = kept(log, limit)
    if as_json:
        print(json.dumps({"count": count, "dead_letters": [asdict(letter) for letter in letters]}, indent=1))
        return
    print(count_of(count, "dead letter") + (f", the newest {len(letters)}:" if count > len(letters) else ""))
    for letter in letters:
        print(f"{_moment(letter.refused_ns)} {letter.table} row {letter.row_id}: {letter.status} {letter.message}")


@app.command(epilog="Example: tierwise influx ship --config orchestrator.yaml --once")
def ship(
    config: ConfigFile = Path("orchestrator.yaml"),
    directory: Directory = None,
    once: Annotated[bool, typer.Option("--once", help="End when nothing waits any more.")] = False,
    again: Annotated[bool, typer.Option("--again", help="All rows from the first on, however many they are.")] = False,
) -> None:
    """Ship a response log by hand, until Ctrl-C. An orchestrator with an influxdb section does it by itself.

    --again is for a server that lost data, and for rows that were skipped: what is there overwrites itself.

    Exit codes: 0 shipped; 1 no log, no server (with --once), or another shipper runs; 2 wrong usage; 130 interrupted,
    which loses and doubles nothing.
    """
    from orchestrator.shipping.running import shipper

    settings, section = _settings(config)
    if again:
        section = section.model_copy(update={"backlog_rows": NO_BOUND})
    log_to_stderr(settings.log_level)
    with ShipBar() as bar, shipper(directory or settings.files.directory, section, bar.shipped) as (ships, outbox):
        if again:
            outbox.start_over()
        bar.waiting(outbox.waiting_rows())
        try:
            if once:
                ships.ship()
            else:
                ships.run(_pause)
        except sqlite3.Error as error:
            raise LogRefused(f"the response log cannot be used as outbox: {error}") from error
    refused = f", {ships.refused} refused: tierwise influx dead-letters says why" if ships.refused else ""
    print(f"{count_of(bar.rows - ships.refused, 'row')} shipped to {section.target}{refused}")


@app.command(epilog="Example: tierwise influx queries p95-by-tier --config orchestrator.yaml --run --span 7d")
def queries(
    name: Annotated[str | None, typer.Argument(help="One of them; all without.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="The orchestrator's YAML file.")] = None,
    run: Annotated[bool, typer.Option("--run", help="Ask the server, instead of printing the question.")] = False,
    span: Annotated[str, typer.Option(help="Over the last 90m, 24h, 7d, ...")] = "24h",
    as_json: AsJson = False,
) -> None:
    """Ready questions in InfluxQL: print them for your own tools, or --run them.

    Exit codes: 0 printed; 1 no server, or it refuses; 2 wrong usage.
    """
    from tierwise.influx_answers import chosen, print_answer, print_questions

    wanted = chosen(name, span)
    if run:
        if config is None:
            raise typer.BadParameter("--run needs --config: whom to ask", param_hint="--config")
        settings, section = _settings(config)
        print_answer(section, [(query, query.text(settings.site, span)) for query in wanted], as_json)
    else:
        site = load(config, OrchestratorConfig).site if config is not None else None
        print_questions(wanted, site, span, as_json)


def _settings(config: Path) -> tuple[OrchestratorConfig, InfluxSection]:
    settings = load(config, OrchestratorConfig)
    if settings.influxdb is None:
        raise TierwiseError(f"{config} has no section influxdb; docs/influxdb.md shows one")
    return settings, settings.influxdb


def _directory_of(config: Path | None) -> Path:
    return Path("run/orchestrator") if config is None else load(config, OrchestratorConfig).files.directory


def _retry(directory: Path, section: InfluxSection) -> tuple[int, int]:
    from orchestrator.shipping.retrying import retry_dead_letters
    from orchestrator.shipping.running import open_outbox
    from orchestrator.shipping.target import Target

    with open_outbox(directory, section) as outbox, closing(Target(section)) as target:
        return retry_dead_letters(outbox, target.send)


def _moment(time_ns: int | None) -> str:
    return "never" if time_ns is None else datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _pause(seconds: float) -> bool:
    time.sleep(seconds)
    return False
