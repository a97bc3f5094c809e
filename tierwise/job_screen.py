"""Shows long jobs: a bar for each that runs on a terminal, a line for each that is done elsewhere. On stderr."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class JobScreen:
    """A context manager; `progress` and `done` take the number of a job."""

    def __init__(self, names: Sequence[str], what: str) -> None:
        self._names = list(names)
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._all = self._bars.add_task(what, total=len(names), text="")
        self._tasks: dict[int, TaskID] = {}
        self._texts: dict[int, str] = {}
        self._fractions: dict[int, float] = {}

    def __enter__(self) -> JobScreen:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def progress(self, number: int, fraction: float, text: str) -> None:
        """Job `number` is so far."""
        if number not in self._tasks:
            self._tasks[number] = self._bars.add_task(f"  {self._names[number]}", total=1.0, text="")
        self._bars.update(self._tasks[number], completed=fraction, text=text)
        self._texts[number], self._fractions[number] = text, fraction
        self._bars.update(self._all, completed=sum(self._fractions.values()))

    def done(self, number: int) -> None:
        """Job `number` has ended."""
        if number in self._tasks:
            self._bars.remove_task(self._tasks.pop(number))
        self._fractions[number] = 1.0
        self._bars.update(self._all, completed=sum(self._fractions.values()))
        if not self._console.is_terminal:
            text = f": {self._texts[number]}" if self._texts.get(number) else ""
            done = sum(fraction == 1.0 for fraction in self._fractions.values())
            self._console.print(
                f"{done}/{len(self._names)} {self._names[number]}{text}", highlight=False, soft_wrap=True
            )
