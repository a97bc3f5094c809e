"""The `--since`, `--until`, `--last` and `--for` options of several subcommands."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import typer

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def since_ns(since: str | None, last: str | None) -> int | None:
    """Where a span begins, in ns of the wall clock; None for the beginning. Raises typer.BadParameter."""
    if last is not None and since is not None:
        raise typer.BadParameter("choose one of --last and --since", param_hint="--last")
    if last is not None:
        return time.time_ns() - span_s(last, "--last") * 10**9
    return time_ns(since, "--since")


def time_ns(text: str | None, option: str) -> int | None:
    """A time of the wall clock in ns, UTC unless it says; None for None. Raises typer.BadParameter."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no time like 2026-11-23T18:00", param_hint=option) from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e9)


def span_s(text: str, option: str) -> int:
    """`90s`, `15m`, `2h` or `7d` in seconds. Raises typer.BadParameter."""
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no span like 90s, 15m, 2h or 7d", param_hint=option)
    return int(match[1]) * SECONDS[match[2]]
