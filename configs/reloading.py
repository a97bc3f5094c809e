"""What changed between two readings of a file, and which of it may take effect in a running program.

Pure. A field is live if it is marked with `configs.section.LIVE`; a program has one handler for each such key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from configs.expected import keys_of
from configs.section import LIVE, Section

S = TypeVar("S", bound=Section)


@dataclass(frozen=True, slots=True)
class Change:
    """One key whose value is another one now."""

    key: str
    old: Any
    new: Any
    live: bool


def live_keys(schema: type[BaseModel]) -> frozenset[str]:
    """The dotted keys that a running program takes anew."""
    marks = LIVE.items()
    return frozenset(
        key
        for key, field in keys_of(schema)
        if isinstance(field.json_schema_extra, dict) and marks <= field.json_schema_extra.items()
    )


def changes(old: S, new: S) -> tuple[Change, ...]:
    """In the order of the schema."""
    live = live_keys(type(old))
    return tuple(Change(key, was, now, key in live) for key, was, now in _differences(old, new, ""))


def same_place(one: str, other: str) -> bool:
    """Whether one dotted key is the other, or stands in it."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def with_live(in_force: S, changed: Sequence[Change]) -> S | None:
    """The settings in force with the live ones of `changed`; None where the two do not fit together.

    That happens where a rule over several keys holds in the file, but not between its live keys and what a restart
    would bring.
    """
    data = in_force.model_dump()
    for change in changed:
        if change.live:
            *sections, name = change.key.split(".")
            place = data
            for section in sections:
                place = place[section]
            place[name] = change.new
    try:
        return type(in_force).model_validate(data)
    except ValidationError:
        return None


def _differences(old: BaseModel, new: BaseModel, prefix: str) -> Iterator[tuple[str, Any, Any]]:
    for name in type(old).model_fields:
        was, now = getattr(old, name), getattr(new, name)
        if isinstance(was, BaseModel) and isinstance(now, BaseModel) and type(was) is type(now):
            yield from _differences(was, now, f"{prefix}{name}.")
        elif was != now:
            yield f"{prefix}{name}", was, now
