"""Reads one YAML file into its schema, and tells every mistake of it at once, each with its place.

ConfigError (a TierwiseError)     str() is one line per Problem: `file:line:column key: what is wrong`
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from broker.errors import TierwiseError
from configs.section import Section

LARGEST_FILE_BYTES = 1_000_000

S = TypeVar("S", bound=Section)
Location = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. Line and column count from 1."""

    file: str
    line: int
    column: int
    key: str
    what: str

    def __str__(self) -> str:
        key = f"{self.key}: " if self.key else ""
        return f"{self.file}:{self.line}:{self.column} {key}{self.what}"


class ConfigError(TierwiseError):
    """A file that cannot be used; `problems` lists all that is wrong with it, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.line, problem.column)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def load(path: Path, schema: type[S]) -> S:
    """The settings in `path`. Raises ConfigError with every mistake."""
    return loads(_read(path), schema, str(path))


def loads(text: str, schema: type[S], file: str) -> S:
    """The settings in `text`, which came from `file`. Raises ConfigError with every mistake."""
    root = _compose(text, file)
    problems = [Problem(file, *_place(key), str(key.value), "is given twice") for key in _repeated_keys(root)]
    try:
        settings = schema.model_validate(_construct(root, file))
    except ValidationError as error:
        problems += [_problem(file, root, schema, detail) for detail in error.errors(include_url=False)]
    except RecursionError as error:
        raise ConfigError([Problem(file, 1, 1, "", "refers to itself")]) from error
    if problems:
        raise ConfigError(problems)
    return settings


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise ConfigError([Problem(str(path), 1, 1, "", f"is larger than {LARGEST_FILE_BYTES} bytes")])
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([Problem(str(path), 1, 1, "", f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(str(path), 1, 1, "", f"is not UTF-8 at byte {error.start}")]) from error


def _yaml_problem(file: str, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    what = getattr(error, "problem", None) or str(error).splitlines()[0]
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
    return Problem(file, line, column, "", f"is not YAML: {what}")


def _compose(text: str, file: str) -> yaml.MappingNode:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError([_yaml_problem(file, error)]) from error
    except RecursionError as error:
        raise ConfigError([Problem(file, 1, 1, "", "is nested too deeply")]) from error
    if not isinstance(root, yaml.MappingNode):
        line, column = _place(root) if root is not None else (1, 1)
        raise ConfigError([Problem(file, line, column, "", "must be a mapping of keys to values")])
    return root


def _construct(root: yaml.MappingNode, file: str) -> Any:
    constructor = yaml.constructor.SafeConstructor()
    try:
        return constructor.construct_document(root)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        problem = (
            _yaml_problem(file, error)
            if isinstance(error, yaml.YAMLError)
            else Problem(file, 1, 1, "", f"holds a value that YAML cannot read: {error}")
        )
        raise ConfigError([problem]) from error
    except (TypeError, RecursionError) as error:
        raise ConfigError([Problem(file, 1, 1, "", "refers to itself")]) from error


def _place(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _repeated_keys(root: yaml.Node) -> Iterator[yaml.Node]:
    seen_nodes: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen_nodes:
            continue
        seen_nodes.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                    if key.value in keys:
                        yield key
                    keys.add(key.value)
                waiting.append(value)
        elif isinstance(node, yaml.SequenceNode):
            waiting += node.value


def _find(root: yaml.Node, location: Location) -> tuple[yaml.Node, yaml.Node | None]:
    """The deepest node on the way to `location`, and the key that led to it."""
    node, key_of_node = root, None
    for part in location:
        if isinstance(node, yaml.MappingNode):
            for key, value in reversed(node.value):
                if str(key.value) == str(part):
                    node, key_of_node = value, key
                    break
            else:
                break
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node, key_of_node = node.value[part], None
        else:
            break
    return node, key_of_node


def _problem(file: str, root: yaml.Node, schema: type[BaseModel], detail: ErrorDetails) -> Problem:
    location = tuple(part for part in detail["loc"] if part != "[key]")
    node, key = _find(root, location)
    what = detail["msg"].removeprefix("Value error, ")
    what = what[:1].lower() + what[1:]
    at: yaml.Node = node
    if detail["type"] == "missing":
        what = "is required"
    elif detail["type"] == "extra_forbidden":
        at = key or node
        what = "is not a known key" + _suggestion(str(location[-1]), _keys_at(schema, location[:-1]))
    elif detail["type"] in ("enum", "literal_error"):
        expected = str(detail.get("ctx", {}).get("expected", ""))
        words = [word.strip(" '") for part in expected.split(" or ") for word in part.split(",")]
        what = f"must be {expected}" + _suggestion(str(detail["input"]), words)
    else:
        what = what.replace("input should be", "must be")
    return Problem(file, *_place(at), ".".join(str(part) for part in location), what)


def _suggestion(word: str, candidates: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, candidates, n=1, cutoff=0.5)
    return f", did you mean {near[0]}?" if near else ""


def _keys_at(schema: type[BaseModel], location: Location) -> list[str]:
    """The keys that `schema` knows at `location`; none where any key may stand."""
    current: Any = schema
    for part in location:
        sections = [kind for kind in _parts_of(current) if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if sections and part in sections[0].model_fields:
            current = sections[0].model_fields[str(part)].annotation
        elif not sections:
            inner = [kind for kind in _parts_of(current) if typing.get_args(kind)]
            current = typing.get_args(inner[0])[-1 if typing.get_origin(inner[0]) is dict else 0] if inner else None
        else:
            return []
    return [
        name
        for kind in _parts_of(current)
        if isinstance(kind, type) and issubclass(kind, BaseModel)
        for name in kind.model_fields
    ]


def _parts_of(annotation: Any) -> list[Any]:
    if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
        return list(typing.get_args(annotation))
    return [annotation]
