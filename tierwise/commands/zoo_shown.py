"""What the subcommands of `tierwise zoo` share: their options, tables, and where a result is printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

Names = Annotated[list[str] | None, typer.Argument(help="Models, such as d0 d4; by default all.", show_default=False)]
Directory = Annotated[
    Path | None, typer.Option(help="Where the models lie; by default the cache, ~/.cache/tierwise/models.")
]
SiteFile = Annotated[
    Path | None,
    typer.Option("--config", help="The site's orchestrator.yaml: which classes and metric its networks have."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def table_of(*columns: str) -> Table:
    """An empty table."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table


def file_said(origin: str, trained: bool | None) -> str:
    """Wherever an untrained model is shown, it is said that its weights mean nothing."""
    return f"{origin}, untrained" if trained is False else origin


def mmacs_said(mmacs: float) -> str:
    """Millions of multiply-accumulates: whole ones of what has many."""
    return f"{mmacs:.0f}" if mmacs >= 10 or mmacs == round(mmacs) else f"{mmacs:.2g}"


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error that vanishes; nothing where that is no terminal."""
    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def say(as_json: bool, machine: Any, person: str | Table) -> None:
    """The result, and nothing else, on standard output."""
    if as_json:
        print(json.dumps(machine, indent=1))
    else:
        Console().print(person, highlight=False, markup=False, soft_wrap=isinstance(person, str))
