"""The `--since`, `--until` and `--last` options of several subcommands."""

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
    return _last_ns(last) if last is not None else time_ns(since, "--since")


def time_ns(text: str | None, option: str) -> int | None:
    """A time of the wall clock in ns, UTC unless it says; None for None. Raises typer.BadParameter."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no time like 2026-11-23T18:00", param_hint=option) from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1e9)


def _last_ns(text: str) -> int:
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no span like 90s, 15m, 2h or 7d", param_hint="--last")
    return time.time_ns() - int(match[1]) * SECONDS[match[2]] * 10**9
