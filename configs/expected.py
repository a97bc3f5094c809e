"""What a schema expects at one key: its type in plain words, its bounds, its unit and its default.

Pure. It follows the annotations of any Section, so that a new field needs nothing here.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

Location = tuple[int | str, ...]

# By the end of a key, the longest first: its unit in words, and how many of the base unit it is.
UNITS: Mapping[str, tuple[str, str, float]] = {
    "_mbit_s": ("megabits per second", "bit/s", 1e6),
    "_ms": ("milliseconds", "s", 1e-3),
    "_s": ("seconds", "s", 1.0),
    "_mb": ("megabytes", "byte", 1e6),
    "_bytes": ("bytes", "byte", 1.0),
    "_percent": ("%", "%", 1.0),
    "_px": ("pixels", "px", 1.0),
    "_days": ("days", "s", 86_400.0),
    "_hours": ("hours", "s", 3600.0),
}


@dataclass(frozen=True, slots=True)
class Expected:
    """What may stand at one key. `annotation` is without Optional and Annotated."""

    annotation: Any
    key: str
    rules: tuple[Any, ...] = ()
    description: str = ""
    default: Any = PydanticUndefined
    nullable: bool = False

    @property
    def unit(self) -> str:
        """In words, from the end of the key; empty without one."""
        return next((words for end, (words, _, _) in UNITS.items() if self.key.endswith(end)), "")

    @property
    def section(self) -> type[BaseModel] | None:
        """The schema of the mapping that stands here, if one does."""
        return self.annotation if _is(self.annotation, BaseModel) else None


def expected_at(schema: type[BaseModel], location: Location) -> Expected | None:
    """What `schema` expects at `location`; None where it knows no such key."""
    current = Expected(schema, "")
    for part in location:
        found = _step(current, part)
        if found is None:
            return None
        current = found
    return current


def keys_of(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every dotted key that is not a section itself, with its field, in the order of the schema."""
    for name, field in schema.model_fields.items():
        inner = unwrapped(field.annotation)[0]
        if _is(inner, BaseModel):
            yield from keys_of(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def paths_of(schema: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every dotted key, sections too."""
    for name, field in schema.model_fields.items():
        yield f"{prefix}{name}"
        inner = unwrapped(field.annotation)[0]
        if _is(inner, BaseModel):
            yield from paths_of(inner, f"{prefix}{name}.")


def in_words(expected: Expected) -> str:
    """`a whole number of seconds from 2 to 60`."""
    annotation = expected.annotation
    if annotation in (int, float):
        unit = " in %" if expected.unit == "%" else f" of {expected.unit}" if expected.unit else ""
        return f"a {'whole ' if annotation is int else ''}number{unit}{_bounds(expected.rules)}"
    if choices := choices_of(annotation):
        return " or ".join([", ".join(choices[:-1]), choices[-1]] if len(choices) > 1 else choices)
    if expected.section is not None or _origin(annotation) in (dict, Mapping):
        return "a mapping (keys with values, indented below it)"
    if _origin(annotation) in (tuple, list, set, frozenset, Sequence):
        return "a list ([one, another], or a line with - for each)"
    return {bool: "true or false", str: "text", Path: "a path"}.get(annotation, "another kind of value")


def choices_of(annotation: Any) -> list[str]:
    """The words of an enumeration; empty for anything else."""
    if _is(annotation, Enum):
        return [str(member.value) for member in annotation]
    return [str(choice) for choice in typing.get_args(annotation)] if _origin(annotation) is Literal else []


def default_in_words(expected: Expected) -> str:
    """As it would be written in YAML; empty where there is none, or it says nothing."""
    value = expected.default
    if value in (None, PydanticUndefined, (), {}) or isinstance(value, BaseModel):
        return ""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple | list):
        return "[" + ", ".join(map(str, value)) + "]"
    return str(value)


def unwrapped(annotation: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """Without Annotated, NewType and Optional; beside it the rules of Annotated, and whether null may stand."""
    rules: tuple[Any, ...] = ()
    nullable = False
    while True:
        if hasattr(annotation, "__metadata__"):
            for rule in annotation.__metadata__:
                rules += tuple(rule.metadata) if isinstance(rule, FieldInfo) else (rule,)
            annotation = annotation.__origin__
        elif hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif isinstance(annotation, types.UnionType) or _origin(annotation) is typing.Union:
            kinds = [kind for kind in typing.get_args(annotation) if kind is not type(None)]
            nullable = nullable or len(kinds) < len(typing.get_args(annotation))
            if len(kinds) != 1:
                return annotation, rules, nullable
            annotation = kinds[0]
        else:
            return annotation, rules, nullable


def _step(current: Expected, part: int | str) -> Expected | None:
    if current.section is not None:
        field = current.section.model_fields.get(str(part))
        if field is None:
            return None
        annotation, rules, nullable = unwrapped(field.annotation)
        default = field.get_default(call_default_factory=False)
        return Expected(annotation, str(part), (*field.metadata, *rules), field.description or "", default, nullable)
    inner = [kind for kind in typing.get_args(current.annotation) if kind is not Ellipsis]
    if _origin(current.annotation) in (dict, Mapping) and len(inner) == 2:
        annotation, rules, nullable = unwrapped(inner[1])
        return Expected(annotation, current.key, rules, nullable=nullable)
    if inner and _origin(current.annotation) in (tuple, list, set, frozenset, Sequence):
        annotation, rules, nullable = unwrapped(inner[0])
        return Expected(annotation, current.key, rules, nullable=nullable)
    return None


def _bounds(rules: Sequence[Any]) -> str:
    found = {name: getattr(rule, name) for rule in rules for name in ("ge", "gt", "le", "lt") if hasattr(rule, name)}
    number = {name: f"{value:.15g}" for name, value in found.items()}
    if {"ge", "le"} <= number.keys():
        return f" from {number['ge']} to {number['le']}"
    words = {"ge": "at least {}", "gt": "above {}", "le": "up to {}", "lt": "below {}"}
    said = [words[name].format(number[name]) for name in words if name in number]
    return " " + " and ".join(said) if said else ""


def _origin(annotation: Any) -> Any:
    return typing.get_origin(annotation) or annotation


def _is(annotation: Any, kind: type) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, kind)
