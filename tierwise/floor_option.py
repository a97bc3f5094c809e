"""The `--floor` option of several subcommands."""

from __future__ import annotations

import typer

from configs.section import FLOORS, LOWEST_FLOOR, floor_of


def floor_percent(text: str, highest: float = FLOORS["max"], lowest: float = LOWEST_FLOOR) -> float:
    """`min`, `max` or a percentage from `lowest` to `highest`; 0 is no constraint. Raises typer.BadParameter."""
    try:
        return floor_of(text, highest, lowest)
    except ValueError as error:
        raise typer.BadParameter(f"{error}; at most one decimal", param_hint="--floor") from error
