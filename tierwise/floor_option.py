"""The `--floor` option of several subcommands."""

from __future__ import annotations

import typer
from pydantic import TypeAdapter, ValidationError

from configs.section import Floor


def floor_percent(text: str) -> float:
    """`min`, `max` or a percentage as Top-5 in %; 0 is no constraint. Raises typer.BadParameter."""
    try:
        value: float | str = float(text)
    except ValueError:
        value = text
    try:
        percent: float = TypeAdapter(Floor).validate_python(value)
    except ValidationError as error:
        raise typer.BadParameter(
            "must be min, max, or 0 to 89.9 with at most one decimal", param_hint="--floor"
        ) from error
    return percent
