"""A progress bar of rows, on stderr, when that is a terminal."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class ShipBar:
    """A context manager; counts in `rows` what it heard of."""

    def __init__(self, what: str = "shipping") -> None:
        console = Console(stderr=True)
        self.rows = 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("rows"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task(what, total=None)

    def __enter__(self) -> ShipBar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def waiting(self, rows: int) -> None:
        """So many are still to come."""
        self._bar.update(self._task, total=self.rows + rows)

    def shipped(self, rows: int) -> None:
        """So many more are done."""
        self.rows += rows
        self._bar.update(self._task, completed=self.rows)
