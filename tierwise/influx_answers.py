"""Ready InfluxQL questions, printed; and answered by a server, as tables or JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from broker.vocabulary import SiteId
from configs.influxdb import InfluxSection
from orchestrator.shipping.influxql import InfluxReader, Series
from orchestrator.shipping.queries import QUERIES, Query


def chosen(name: str | None, span: str) -> list[Query]:
    """The queries of that name, all without one. Raises typer.BadParameter."""
    if not re.fullmatch(r"[1-9]\d{0,8}[smhdw]", span):
        raise typer.BadParameter(f"{span!r} is no span like 90m, 24h or 7d", param_hint="--span")
    if name is None:
        return list(QUERIES.values())
    if name not in QUERIES:
        raise typer.BadParameter(f"one of {', '.join(QUERIES)}", param_hint="NAME")
    return [QUERIES[name]]


def print_questions(queries: Sequence[Query], site: SiteId | None, span: str, as_json: bool) -> None:
    """As they paste into the `influx` shell and curl; without a site, with one to replace."""
    texts = [(query, query.text(site or SiteId("home"), span)) for query in queries]
    if as_json:
        print(
            json.dumps([{"name": query.name, "asks": query.asks, "influxql": text} for query, text in texts], indent=1)
        )
        return
    for query, text in texts:
        print(f"-- {query.name}: {query.asks}\n{text};\n")


def print_answer(section: InfluxSection, questions: Sequence[tuple[Query, str]], as_json: bool) -> None:
    """Ask one after the other. Raises InfluxUnavailable, QueryRefused."""
    reader = InfluxReader(section)
    told = []
    try:
        for query, text in questions:
            answer = list(reader.ask(text))
            if as_json:
                rows = [row for series in answer for row in series.named()]
                told.append({"name": query.name, "influxql": text, "rows": rows})
            else:
                _print_table(query, answer)
    finally:
        reader.close()
    if as_json:
        print(json.dumps(told, indent=1))


def _print_table(query: Query, answer: Sequence[Series]) -> None:
    console = Console()
    console.print(Text(query.asks))
    if not answer:
        console.print(Text("  nothing in that span"))
        return
    first = answer[0]
    timed = "GROUP BY time(" in query.template  # else all rows have the time at which the span begins
    columns = [*(["time"] if timed else []), *first.tags, *first.columns[1:]]
    table = Table(*columns, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for series in answer:
        for row in series.named():
            table.add_row(*(Text(_shown(column, row.get(column))) for column in columns))
    console.print(table)


def _shown(column: str, value: Any) -> str:
    if column == "time":
        return datetime.fromtimestamp(value // 10**9, UTC).strftime("%Y-%m-%d %H:%M")
    if isinstance(value, float):
        return f"{value:.3f}" if column.endswith("_share") else f"{value:.1f}"
    return "-" if value is None else str(value)
