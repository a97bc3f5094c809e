"""One page of Markdown from what all benchmarks have found: goals first, then a table for each script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.report_form import Goal, Report, Row

COLUMNS = ("what", "ours", "compared with", "ratio", "goal", "met", "more")
GOAL_COLUMNS = ("goal", "limit", "found", "met", "why not")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one script: its report, or why there is none."""

    name: str
    command: str
    took_s: float
    report: Report | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """A report that was not measured in this run, and the date it is of."""

    report: Report
    source: str
    date: str


def page(
    facts: Mapping[str, str], versions: Mapping[str, str], outcomes: Sequence[Outcome], kept: Sequence[Kept]
) -> str:
    """The whole page."""
    found = [row for outcome in outcomes if outcome.report for row in outcome.report.rows if row.goal is not None]
    earlier = [(row, f"kept, {each.date}") for each in kept for row in each.report.rows if row.goal is not None]
    listed = [(row, "") for row in found] + [(row, origin) for row, origin in earlier if not row.met]
    parts = [
        "# How fast, how small: the figures",
        "",
        "Written by `make bench`; do not edit. [docs/benchmarks.md](../docs/benchmarks.md) says what each figure is. "
        "Ours and what it is compared with were measured in the same run: take the ratios, absolute times move with "
        "the machine. Figures are medians where nothing else is said.",
        "",
        _table(("this run", ""), [*facts.items()]),
        "",
        _table(("version of", ""), [*versions.items()]),
        "",
        "## Goals",
        "",
        _verdict(found, outcomes, [row for row, _ in earlier]),
        "",
        _table(GOAL_COLUMNS, [_goal_line(row, origin) for row, origin in listed]),
    ]
    for outcome in outcomes:
        parts += ["", *_section(outcome)]
    if kept:
        parts += ["", "## Kept from earlier runs", "", "These take too long for `make bench`, or begin from nothing."]
    for each in kept:
        parts += ["", f"{each.report.title} ({each.source}, {each.date})", "", _rows(each.report.rows)]
    return "\n".join(parts) + "\n"


def _section(outcome: Outcome) -> list[str]:
    title = outcome.report.title if outcome.report else outcome.name
    head = [f"## {title}", "", f"`{outcome.command}`, {outcome.took_s:.0f} s"]
    if outcome.report is None:
        return [*head, "", f"**No figures: {outcome.failure}**"]
    return [*head, "", _rows(outcome.report.rows)]


def _verdict(found: Sequence[Row], outcomes: Sequence[Outcome], earlier: Sequence[Row]) -> str:
    text = f"{_met(found)} of {len(found)} met."
    if earlier:
        text += f" Of those kept from earlier runs, {_met(earlier)} of {len(earlier)}: the missed are here too."
    if failed := [outcome.name for outcome in outcomes if outcome.report is None]:
        text += f" **No figures from {', '.join(failed)}: their goals are not in this table.**"
    return text


def _met(rows: Sequence[Row]) -> int:
    return sum(row.met is True for row in rows)


def _goal_line(row: Row, origin: str) -> tuple[str, ...]:
    goal, value = row.goal, row.judged
    if goal is None:
        return ()
    limit = f"{'at least' if goal.at_least else 'at most'} {_limit(goal, row)}"
    what = f"{row.what} ({origin})" if origin else row.what
    if value is None:
        return what, limit, "not measured", "**no**", goal.why_missed
    shown = _with_unit(value, "times" if goal.of == "ratio" else row.unit)
    if row.met:
        return what, limit, shown, "yes", ""
    return what, limit, shown, f"**no**, by {gap_percent(goal, value):.0f} %", goal.why_missed


def _limit(goal: Goal, row: Row) -> str:
    return _with_unit(goal.limit, f"times {row.beside}" if goal.of == "ratio" else row.unit)


def gap_percent(goal: Goal, value: float) -> float:
    """By how much a missed goal is missed, in percent of its limit."""
    return 100 * abs(value - goal.limit) / goal.limit


def _rows(rows: Sequence[Row]) -> str:
    return _table(COLUMNS, [_line(row) for row in rows])


def _line(row: Row) -> tuple[str, ...]:
    ours = _with_unit(row.ours, row.unit)
    if row.tail is not None:
        ours += f", {row.tail_name} {number(row.tail)}"
    beside = row.beside
    if row.beside_value is not None:
        beside += f": {_with_unit(row.beside_value, row.unit)}"
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    if row.goal is None:
        return row.what, ours, beside, ratio, "", "", row.note
    limit = number(row.goal.limit) + (" times" if row.goal.of == "ratio" else f" {row.unit}")
    goal = f"{'at least' if row.goal.at_least else 'at most'} {limit}"
    return row.what, ours, beside, ratio, goal, "yes" if row.met else "**no**", row.note


def _with_unit(value: float, unit: str) -> str:
    return f"{number(value)} {unit}".rstrip()


def number(value: float) -> str:
    """Three significant digits, and thousands apart."""
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}".removesuffix(".0")
    if size >= 1:
        return f"{value:.2f}".rstrip("0").removesuffix(".")
    return f"{value:.3g}"


def _table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    head = [list(columns), ["---"] * len(columns)]
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in [*head, *cells])
