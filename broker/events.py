"""Log lines as events with key-values: `event(log, logging.INFO, "link_up", broker="127.0.0.1:1883")`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping


def count(number: int, noun: str) -> str:
    """`1 message`, `2 messages`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _shown(value: object) -> str:
    """A value as people write it: `a,b` and `a:1,b:2` for a list and a mapping, no brackets of Python's."""
    if isinstance(value, Mapping):
        value = ",".join(f"{key}:{one}" for key, one in value.items()) or "-"
    elif isinstance(value, list | tuple | set | frozenset):
        value = ",".join(map(str, value)) or "-"
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return repr(text) if " " in text or not text.isprintable() else text


def event(log: logging.Logger, level: int, name: str, /, **fields: object) -> None:
    """Log `name key=value ...`; nothing is formatted when the level is off."""
    if log.isEnabledFor(level):
        log.log(level, "%s", " ".join([name, *(f"{key}={_shown(value)}" for key, value in fields.items())]))


def log_to_stderr(level: str) -> None:
    """What every program of ours does at its start: UTC time, level, logger, event."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def set_level(level: str) -> None:
    """From now on log what is at least of this level: debug, info, warning or error."""
    logging.getLogger().setLevel(level.upper())
