"""What one reproduction leaves behind: JSON, a Markdown page, pictures; all under one folder, all from one run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.errors import TierwiseError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]
Draw = Callable[["Figure"], None]

INK, GRID = "#222222", "#dddddd"


@dataclass(frozen=True, slots=True)
class Picture:
    """One PNG: its name behind the artifact's, its size in inches, and what draws it."""

    name: str
    size: tuple[float, float]
    draw: Draw


@dataclass(frozen=True, slots=True)
class Artifact:
    """A table or figure of the paper beside ours.

    `columns` of the Markdown table are keys of `rows`; `rows` are what `--json` prints under `key` (`cells` for
    tables). `text` stands above the table, `notes` below it.
    """

    name: str
    title: str
    command: str
    text: str
    columns: Sequence[str]
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    facts: Row = field(default_factory=dict)
    pictures: Sequence[Picture] = ()
    key: str = "cells"

    def as_json(self) -> Row:
        """What `--json` prints."""
        return {"name": self.name, "command": self.command, **self.facts, self.key: list(self.rows)}

    def markdown(self) -> str:
        """The page."""
        lines = [f"# {self.title}", "", f"`{self.command}`", "", self.text, ""]
        if self.rows:
            lines += [_line(self.columns), _line(["---"] * len(self.columns))]
            lines += [_line([_told(row.get(column)) for column in self.columns]) for row in self.rows]
            lines.append("")
        lines += [f"- {note}" for note in self.notes]
        if self.notes:
            lines.append("")
        lines += [f"![{picture.name or self.name}]({self._file(picture)})" for picture in self.pictures]
        return "\n".join(lines).rstrip() + "\n"

    def _file(self, picture: Picture) -> str:
        return f"{self.name}{'-' if picture.name else ''}{picture.name}.png"

    def write(self, directory: Path) -> list[Path]:
        """Write all of it; the files. Raises TierwiseError."""
        written = [directory / f"{self.name}.json", directory / f"{self.name}.md"]
        try:
            directory.mkdir(parents=True, exist_ok=True)
            written[0].write_text(json.dumps(self.as_json(), indent=1) + "\n", encoding="utf-8")
            written[1].write_text(self.markdown(), encoding="utf-8")
            for picture in self.pictures:
                path = directory / self._file(picture)
                save_picture(picture, path)
                written.append(path)
        except OSError as error:
            raise TierwiseError(f"cannot write in {directory}: {error.strerror}; choose another --output") from error
        return written


def save_picture(picture: Picture, path: Path) -> None:
    """Draw it into a PNG. Raises OSError."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {
        "font.size": 9,
        "axes.edgecolor": INK,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "legend.frameon": False,
    }
    with rc_context(style):
        figure = Figure(figsize=picture.size, layout="constrained")
        FigureCanvasAgg(figure)
        picture.draw(figure)
        figure.savefig(path, dpi=110, metadata={"Software": "tierwise reproduce"})


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _told(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.2f}"
    if isinstance(value, list | tuple):
        return " ".join(str(part) for part in value)
    return str(value)
