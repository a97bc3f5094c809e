"""`tierwise report`: figures from the response log."""

from __future__ import annotations

import csv
import json
import sqlite3
import sys
from contextlib import closing
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from broker.errors import TierwiseError
from broker.vocabulary import Outcome
from configs.loader import load
from configs.orchestrator import OrchestratorConfig
from orchestrator.report import Figures, Filter, GroupBy, figures
from orchestrator.response_log import LOG_NAME, open_for_reading
from tierwise.time_options import since_ns, time_ns

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(add_completion=False)


class Source(StrEnum):
    """Where rows are read."""

    SQLITE = "sqlite"
    INFLUXDB = "influxdb"


@app.command(epilog="Example: tierwise report --directory run/orchestrator --by policy --last 2h")
def report(
    directory: Annotated[Path, typer.Option(help="The orchestrator's files.directory.")] = Path("run/orchestrator"),
    by: Annotated[GroupBy, typer.Option(help="One row per what.")] = GroupBy.DEVICE,
    since: Annotated[str | None, typer.Option(help="From this time on: 2026-11-23T18:00, UTC unless it says.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    last: Annotated[str | None, typer.Option(help="The last 90s, 15m, 2h or 7d, instead of --since.")] = None,
    policy: Annotated[str | None, typer.Option(help="Only of this policy; none: requests without a decision.")] = None,
    source: Annotated[Source, typer.Option(help="Read the response log, or what was shipped.")] = Source.SQLITE,
    config: Annotated[Path | None, typer.Option(help="The orchestrator's YAML file, for --source influxdb.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Response time (mean, p50, p95, p99), accuracy, shares per tier and model, and how requests ended.

    Times are of delivered results; a row of all is added where there are several. Reading does not disturb a running
    orchestrator. From InfluxDB the figures of the same rows are the same. Exit codes: 0 printed; 1 no log or server, or
    no such rows; 2 wrong usage.
    """
    if as_json and as_csv:
        raise typer.BadParameter("choose one of --json and --csv", param_hint="--csv")
    only = Filter(since_ns(since, last), time_ns(until, "--until"), policy)
    connection, origin = _opened(source, directory, config, only)
    with closing(connection):
        rows = figures(connection, by, only)
    if as_json:
        print(json.dumps({"log": origin, "by": by, "rows": [asdict(row) for row in rows]}, indent=1))
    elif as_csv:
        _print_csv(by, rows)
    else:
        _print_table(by, rows)


def _opened(source: Source, directory: Path, config: Path | None, only: Filter) -> tuple[sqlite3.Connection, str]:
    """What has a table `response` of the rows that count, and where they come from. Raises TierwiseError."""
    if source is Source.SQLITE:
        return open_for_reading(directory / LOG_NAME), str(directory / LOG_NAME)
    if config is None:
        raise typer.BadParameter("--source influxdb needs --config: whom to ask", param_hint="--config")
    from orchestrator.shipping.readback import load_responses  # urllib3 and influxdb_client, only where asked for
    from tierwise.ship_bar import ShipBar

    settings = load(config, OrchestratorConfig)
    if settings.influxdb is None:
        raise TierwiseError(f"{config} has no section influxdb; docs/influxdb.md shows one")
    with ShipBar("reading") as bar:
        return load_responses(settings.influxdb, settings.site, only, bar.shipped), settings.influxdb.target


def _print_csv(by: GroupBy, rows: list[Figures]) -> None:
    flat = [_flat(by, row) for row in rows]
    columns = list(dict.fromkeys(column for row in flat for column in row))
    writer = csv.DictWriter(sys.stdout, columns, restval=0.0, lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)


def _flat(by: GroupBy, row: Figures) -> dict[str, Any]:
    values = asdict(row)
    shares = {"tier": values.pop("tier_shares"), "model": values.pop("model_shares")}
    outcomes = values.pop("outcomes")
    flat = {"by": str(by), **values, **outcomes}
    for kind, of_kind in shares.items():
        flat.update({f"share_{kind}_{name}": share for name, share in of_kind.items()})
    return flat


def _print_table(by: GroupBy, rows: list[Figures]) -> None:
    from rich.console import Console
    from rich.text import Text

    emulated = " (emulated ones among them)" if any(row.emulated for row in rows) else ""
    title = "" if by is GroupBy.NONE else str(by)
    outcomes = [outcome for outcome in Outcome if any(row.outcomes.get(outcome) for row in rows)]
    ended = [outcome.replace("_", " ") for outcome in outcomes]
    times = _table(title, *ended, "mean", "p50", "p95", "p99", "Top-5 %", "floor %")
    for row in rows:
        counts = [str(row.outcomes.get(outcome, 0)) for outcome in outcomes]
        numbers = (row.mean_ms, row.p50_ms, row.p95_ms, row.p99_ms, row.accuracy_percent, row.floor_percent)
        times.add_row(row.group, *counts, *(_number(number) for number in numbers))
    tiers = sorted({tier for row in rows for tier in row.tier_shares})
    models = sorted({model for row in rows for model in row.model_shares})
    shares = _table(title, *tiers, *models)
    for row in rows:
        by_name = {**row.tier_shares, **row.model_shares}
        shares.add_row(row.group, *(_percentage(by_name.get(name, 0.0)) for name in [*tiers, *models]))
    console = Console()
    console.print(
        Text(f"Requests by how they ended, response times in ms{emulated}"),
        times,
        Text("Shares of tiers and models in %"),
        shares,
    )


def _table(first: str, *others: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column(first, no_wrap=True)
    for heading in others:
        table.add_column(heading, justify="right")
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _percentage(share: float) -> str:
    return f"{100 * share:.0f}" if share else "-"
