"""The form in which every benchmark hands over its figures, so that one page can be made of them.

A row is one figure of ours beside what it was compared with in the same run, with its goal if it has one. Whatever
else a script has found goes into `details`, in any shape.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """At most `limit` (or at least), of our figure in its unit, or of its ratio to what it is compared with."""

    limit: float
    of: Literal["ours", "ratio"] = "ours"
    at_least: bool = False
    why_missed: str = ""  # shown only when it is


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure: a median where nothing else is said. `beside_value` has the same unit."""

    what: str
    ours: float
    unit: str
    tail: float | None = None
    tail_name: str = "p99"
    beside: str = ""
    beside_value: float | None = None
    goal: Goal | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours to what it is compared with; None without one."""
        return self.ours / self.beside_value if self.beside_value else None

    @property
    def judged(self) -> float | None:
        """What the goal is about; None without a goal, or without the comparison that it needs."""
        if self.goal is None:
            return None
        return self.ours if self.goal.of == "ours" else self.ratio

    @property
    def met(self) -> bool | None:
        """None without a goal. A goal whose figure could not be measured is not met."""
        if self.goal is None:
            return None
        value = self.judged
        if value is None:
            return False
        return value >= self.goal.limit if self.goal.at_least else value <= self.goal.limit


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What one script found."""

    benchmark: str
    title: str
    rows: list[Row]
    details: dict[str, Any] = {}


def write_report(file: Path | None, report: Report) -> None:
    """As JSON, indented; nothing without a file."""
    if file is not None:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def read_report(file: Path) -> Report:
    """Raises OSError, msgspec.DecodeError (of which ValidationError is one)."""
    return msgspec.json.decode(file.read_bytes(), type=Report)
