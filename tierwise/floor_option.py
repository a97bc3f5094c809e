"""The `--floor` option of several subcommands."""

from __future__ import annotations

import typer

from configs.section import FLOORS, floor_of


def floor_percent(text: str, highest: float = FLOORS["max"]) -> float:
    """`min`, `max` or a percentage up to `highest` as Top-5 in %; 0 is no constraint. Raises typer.BadParameter."""
    try:
        return floor_of(text, highest)
    except ValueError as error:
        raise typer.BadParameter(
            f"must be min, max, or 0 to {highest:g} with at most one decimal", param_hint="--floor"
        ) from error
