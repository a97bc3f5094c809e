"""From a tree of YAML nodes to settings, or to all that is wrong with them.

A value that is refused is replaced by its default and the rest judged again, so that rules over several keys are told
in the same run. The message of such a rule begins with the dotted key that it is about.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from configs.expected import Location, choices_of, expected_at
from configs.problems import Problem
from configs.section import FOLDER, Section
from configs.syntax import Composed
from configs.tree import dotted, exact, find, nodes, paths, repeated_keys, size, spot
from configs.wording import explain

MOST_RUNS = 20
LARGEST_EXPANDED = 200_000  # nodes, aliases counted as what they refer to
MOST_TOLD = 100  # of one run: who has more has another kind of file, and looking for what was meant takes time
DOTTED = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z0-9_-]+)*")
LEFT_OUT = object()
MERGE = "tag:yaml.org,2002:merge"
COLLECTIONS = (yaml.resolver.Resolver.DEFAULT_MAPPING_TAG, yaml.resolver.Resolver.DEFAULT_SEQUENCE_TAG)

S = TypeVar("S", bound=Section)


class Reader(Generic[S]):
    """One run over one tree. `problems` is complete after `settings()`."""

    def __init__(self, schema: type[S], file: str, tree: Composed) -> None:
        self.problems: list[Problem] = []
        self._schema = schema
        self._file = file
        self._tree = tree
        for fault in tree.faults:
            self._tell(fault.line + 1, fault.column + 1, "", f"is not YAML: {fault.what}")

    def settings(self) -> S | None:
        """What the tree says; None where it cannot be used, and then there are problems. Raises RecursionError."""
        root = self._tree.root
        if not isinstance(root, yaml.MappingNode):
            if not self.problems:
                line, column = self._tree.place(root) if root is not None else (1, 1)
                what = "is empty" if root is None or not root.value else "holds no keys"
                self._tell(
                    line, column, "", f"{what}: write one `key: value` a line, or let `tierwise config new` do it"
                )
            return None
        for key in repeated_keys(root):
            self._tell(*self._tree.place(key), str(key.value), "is given twice")
        if not self._readable(root):
            return None
        if size(root) > LARGEST_EXPANDED:
            self._tell(1, 1, "", "is too large once its aliases (*) are replaced by what they refer to: use fewer")
            return None
        try:
            data = _plain(yaml.constructor.SafeConstructor().construct_document(root))
        except yaml.constructor.ConstructorError as error:
            mark = error.problem_mark
            line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
            self._tell(line, column, "", f"cannot be read: {error.problem}")
            return None
        except TypeError as error:
            raise RecursionError from error  # a mapping that is a key of itself
        if isinstance(data, dict) and isinstance(data.get("version"), bool):
            data["version"] = str(data["version"])  # pydantic takes true for the 1 of Literal[1]
        return self._judged(root, data)

    def _readable(self, root: yaml.Node) -> bool:
        """Tell each scalar that YAML cannot read, or reads as something else than it looks like."""
        readable = True
        for node in nodes(root):
            what, fatal = _misread(node)
            readable = readable and not fatal
            if what and len(self.problems) < MOST_TOLD:
                self._tell(*self._tree.place(node), self._key_of(root, node), what)
        return readable

    def _key_of(self, root: yaml.Node, wanted: yaml.Node) -> str:
        return next((".".join(map(str, path)) for path, node in paths(root) if node is wanted), "")

    def _judged(self, root: yaml.MappingNode, data: Any) -> S | None:
        mended: set[str] = set()
        settings, first = None, True
        context = {FOLDER: Path(self._file).parent}
        for _ in range(MOST_RUNS):
            try:
                settings = self._schema.model_validate_json(json.dumps(data), strict=True, context=context)
                break
            except ValidationError as error:
                details = error.errors(include_url=False)
            for detail in details[:MOST_TOLD]:
                location = tuple(part for part in detail["loc"] if part != "[key]")
                self._report(root, location, detail, mended, first)
            if len(details) > MOST_TOLD:
                more = len(details) - MOST_TOLD
                self._tell(root.end_mark.line + 1, 1, "", f"there are {more} more mistakes: mend those above first")
                return None
            if not self._mend(data, details, mended):
                break
            first = False
        return settings if not mended else None

    def _report(self, root: yaml.Node, location: Location, detail: ErrorDetails, mended: set[str], first: bool) -> None:
        if detail["type"] == "value_error" and self._is_rule(location):
            self._report_rule(root, location, detail, mended)
            return
        if not first:
            return
        if detail["type"] == "missing" and self._was_lost(str(location[-1])):
            return
        node, key = find(root, location)
        if key is not None and not node.value and self._was_lost_below(root, key.start_mark):
            return
        node = key if key is not None and "[key]" in detail["loc"] else node
        what = explain(self._schema, location, detail, exact(root, location))
        self._tell(*self._tree.place(spot(node, key, detail["type"])), dotted(location), what)

    def _is_rule(self, location: Location) -> bool:
        expected = expected_at(self._schema, location)
        return expected is not None and expected.section is not None

    def _report_rule(self, root: yaml.Node, location: Location, detail: ErrorDetails, mended: set[str]) -> None:
        what = detail["msg"].removeprefix("Value error, ")
        named = [(*location, *word.split(".")) for word in DOTTED.findall(what)]
        keys = [path for path in named if expected_at(self._schema, path) is not None]
        if any(dotted(path[:depth]) in mended for path in keys for depth in range(1, len(path) + 1)):
            return  # it was judged with a default that the file does not have
        there = next((path for path in keys if exact(root, path) is not None), location)
        leads = dotted(keys[0][len(location) :]) if keys else ""
        about = dotted(location)
        if leads and what.startswith(leads) and there == keys[0]:
            about, what = dotted(keys[0]), what[len(leads) :].lstrip(" :")
        node, key = find(root, there)
        self._tell(*self._tree.place(spot(node, key, "rule")), about, what)

    def _was_lost(self, key: str) -> bool:
        return any(re.match(rf"\s*{re.escape(key)}\b", line) for line in self._tree.lost)

    def _was_lost_below(self, root: yaml.Node, key: yaml.Mark) -> bool:
        """Whether what would stand below `key` is on lines that are no YAML."""
        below = [node.start_mark.line for node in nodes(root) if node.start_mark.line > key.line]
        indented = any(len(line) - len(line.lstrip()) > key.column for line in self._tree.lost)
        return indented and any(
            key.line < fault.line < min(below, default=fault.line + 1) for fault in self._tree.faults
        )

    def _mend(self, data: Any, details: list[ErrorDetails], mended: set[str]) -> bool:
        """Take out of `data` what was refused, deepest first; False where nothing more can be done."""
        changed = False
        for detail in sorted(details, key=lambda detail: -len(detail["loc"])):
            location = tuple(part for part in detail["loc"] if part != "[key]")
            if detail["type"] == "value_error" and self._is_rule(location):
                word = DOTTED.match(detail["msg"].removeprefix("Value error, "))
                named = (*location, *word[0].split(".")) if word else location
                location = named if expected_at(self._schema, named) is not None else location
            while dotted(location) in mended:  # what was taken out is required: so take out what requires it
                location = location[:-1]
            if location:
                mended.add(dotted(location))
                changed = _replace(data, location, self._stand_in(location)) or changed
        return changed

    def _stand_in(self, location: Location) -> Any:
        """What may stand at `location` beyond doubt."""
        expected = expected_at(self._schema, location)
        if expected is None or expected.default is not PydanticUndefined or expected.nullable:
            return LEFT_OUT
        if choices := choices_of(expected.annotation):
            return 1 if location == ("version",) else choices[0]
        return "x" if expected.annotation is str else LEFT_OUT

    def _tell(self, line: int, column: int, key: str, what: str) -> None:
        self.problems.append(Problem(self._file, line, column, key, what))


def _misread(node: yaml.Node) -> tuple[str, bool]:
    """What is wrong with one node by itself, and whether nothing can be read because of it."""
    if node.tag == MERGE:
        return "merges another mapping, which is not read here: write its keys out", True
    tagged = f"has a tag ({node.tag}), which is not allowed here: remove it, or put the value in quotes"
    if not isinstance(node, yaml.ScalarNode):
        return ("", False) if node.tag in COLLECTIONS else (tagged, True)
    try:
        node.value.encode("utf-8")
        value = yaml.constructor.SafeConstructor().construct_object(node)
    except UnicodeEncodeError:
        return "holds half of a character", True
    except AttributeError:
        return "is no date: remove its tag, or put it in quotes", True  # PyYAML's, of !!timestamp
    except (yaml.YAMLError, ValueError, OverflowError, TypeError, KeyError) as error:
        known = node.tag in yaml.SafeLoader.yaml_constructors
        return (f"cannot be read: {getattr(error, 'problem', None) or error}" if known else tagged), True
    what = ""
    if node.style is None and type(value) in (int, float):
        if ":" in node.value:
            what = f"is read by YAML as {value:g}, a number to base 60: put it in quotes, or write it without :"
        elif re.fullmatch(r"[-+]?0[0-9_]+", node.value):
            what = f"is read by YAML as {value}, a number to base 8: write it without leading zeros"
    return what, False


def _plain(value: Any) -> Any:
    """As JSON would have it: whole numbers are ints, keys are text, and a date is no text."""
    if isinstance(value, dict):
        return {
            str(key) if not isinstance(key, bool) else str(key).lower(): _plain(inner) for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is None or isinstance(value, str | int | float):
        return value
    return []  # a date, a set or bytes: what no schema takes


def _replace(data: Any, location: Location, value: Any) -> bool:
    """Put `value` at `location`, or take out what is there. False where there is no such place."""
    for part in location[:-1]:
        if isinstance(data, dict) and str(part) in data:
            data = data[str(part)]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return False
    last = location[-1]
    if isinstance(data, dict):
        if value is LEFT_OUT:
            return data.pop(str(last), LEFT_OUT) is not LEFT_OUT
        data[str(last)] = value
        return True
    if isinstance(data, list) and isinstance(last, int) and last < len(data):
        del data[last]
        return True
    return False
