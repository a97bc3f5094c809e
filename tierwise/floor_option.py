"""The `--floor` option of several subcommands."""

from __future__ import annotations

import typer

from configs.section import floor_of


def floor_percent(text: str) -> float:
    """`min`, `max` or a percentage as Top-5 in %; 0 is no constraint. Raises typer.BadParameter."""
    try:
        return floor_of(text)
    except ValueError as error:
        raise typer.BadParameter(
            "must be min, max, or 0 to 89.9 with at most one decimal", param_hint="--floor"
        ) from error
