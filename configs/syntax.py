"""Text that is no YAML: what is wrong in plain words, where, and the text without it, so that the rest is read too.

Pure. A line that cannot be read is left out together with what is indented below it; line numbers stay. A tab is
replaced by blanks, and the columns of its line are counted as they stand in the file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import yaml

MOST_MISTAKES = 20
LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")  # YAML's own, so that lines count alike
LARGEST_RECOVERED = 50_000  # characters; a text is composed anew after each mistake

# What PyYAML says, and what a person can do about it.
ADVICE = (
    ("found character '\\t'", "is a tab: indent with blanks"),
    ("cannot start any token", "starts with {char}, which YAML reserves: put the value in quotes"),
    ("could not find expected ':'", "lacks a colon: write `key: value`, with a blank after the colon"),
    ("found unexpected end of stream", "opens a quote that is never closed"),
    ("found undefined alias", "refers to an anchor that does not exist: put a value that begins with * in quotes"),
    ("could not determine a constructor", "has a tag (!...), which is not allowed here: put the value in quotes"),
    ("found unknown escape character", "has a backslash in double quotes: use single quotes, or write it twice"),
    ("but found another document", "begins a second document: a file holds one, without a second ---"),
    ("expected the node content", "is not a value: is a bracket without its partner?"),
    ("special characters are not allowed", "is a character that YAML does not allow"),
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One place where the text is no YAML. Line and column count from 0; `last`: the last line to leave out."""

    line: int
    column: int
    what: str
    last: int


@dataclass(slots=True)
class Composed:
    """What of a text is YAML. `root` is None where nothing is."""

    root: yaml.Node | None = None
    faults: list[Fault] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    moved: dict[int, int] = field(default_factory=dict)  # by line: columns by which mended blanks moved it

    def place(self, node: yaml.Node) -> tuple[int, int]:
        """Line and column in the file, from 1."""
        line = node.start_mark.line
        return line + 1, max(0, node.start_mark.column - self.moved.get(line, 0)) + 1


def compose(text: str) -> Composed:
    """Read all of `text` that is YAML. Raises RecursionError where it is nested too deeply."""
    composed = Composed()
    lines = LINE_BREAK.split(text)
    for _ in range(MOST_MISTAKES):
        try:
            composed.root = yaml.compose("\n".join(lines), Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            fault = _fault(error, lines)
            if "is a tab" in fault.what:
                composed.faults.append(_without_tabs(fault, lines, composed.moved))
            else:
                composed.lost += lines[fault.line : fault.last + 1]
                lines[fault.line : fault.last + 1] = [""] * (fault.last + 1 - fault.line)
                column = max(0, fault.column - composed.moved.get(fault.line, 0))
                composed.faults.append(replace(fault, column=column))
            if len(text) > LARGEST_RECOVERED:
                break
        else:
            return composed
    said = composed.faults[-1].what
    composed.faults[-1] = replace(composed.faults[-1], what=f"{said}; what stands behind this was not read yet")
    return composed


def _fault(error: yaml.YAMLError, lines: Sequence[str]) -> Fault:
    if isinstance(error, yaml.reader.ReaderError):
        before = "\n".join(lines)[: error.position]
        line = before.count("\n")
        return Fault(line, len(before) - before.rfind("\n") - 1, "is a character that YAML does not allow", line)
    context, problem = str(getattr(error, "context", "") or ""), str(getattr(error, "problem", "") or error)
    mark, began = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    if began is not None and context.startswith(("while scanning a simple key", "while scanning a quoted")):
        mark = began
    line, column = (min(mark.line, len(lines) - 1), mark.column) if mark is not None else (0, 0)
    if "mapping values are not allowed" in problem:
        return _stray_colon(line, column, lines)
    if began is not None and context.startswith("while parsing a flow"):
        return _open_bracket(began.line, began.column, line)
    if "expected <block end>" in problem:
        what = "has a bracket too many" if problem.endswith(("'}'", "']'")) else _indented(line, lines)
        return Fault(line, column, what, _last_below(line, lines))
    for said, what in ADVICE:
        if said in problem:
            char = lines[line][column : column + 1]
            column -= "backslash" in what  # PyYAML points behind it
            last = len(lines) - 1 if "second document" in what else _last_below(line, lines)
            return Fault(line, column, what.format(char=char), last)
    return Fault(line, column, f"is not YAML: {problem}", _last_below(line, lines))


def _open_bracket(line: int, column: int, last: int) -> Fault:
    return Fault(line, column, "opens a bracket that is not closed, or lacks a comma in it", max(line, last - 1))


def _indented(line: int, lines: Sequence[str]) -> str:
    if lines[line].lstrip().startswith("-"):
        return "is an entry of a list where keys are expected: remove the -, or indent it below its key"
    return "is indented differently from the keys beside it: use the same number of blanks"


def _stray_colon(line: int, column: int, lines: Sequence[str]) -> Fault:
    """A colon where none can stand: the line is indented too far, or the one above it is unfinished."""
    text = lines[line]
    if ":" in text[:column]:
        return Fault(line, column, "is a second colon in one line: put a value with a colon in quotes", line)
    above = next((number for number in range(line - 1, -1, -1) if _content(lines[number])), None)
    if above is not None and _indent(lines[above]) == _indent(text):
        if squeezed := re.match(r"\s*[\w-]+:(?=\S)", lines[above]):
            what = "lacks a blank after the colon: write `key: value`"
            return Fault(above, squeezed.end() - 1, what, above)
        what = "lacks a colon: write `key: value`, with a blank after the colon"
        return Fault(above, _indent(lines[above]), what, above)
    what = "is indented differently from the keys beside it: use the same number of blanks"
    return Fault(line, _indent(text), what, _last_below(line, lines))


def _without_tabs(fault: Fault, lines: list[str], moved: dict[int, int]) -> Fault:
    """Replace the tabs of this line and of those that follow it by the indentation that they stand for."""
    first = fault.line
    above = next((_content(text) and text for text in reversed(lines[:first]) if _content(text)), "") or ""
    base = _indent(above) + (2 if _content(above).endswith(":") else 0)
    tabs_of_first = _margin(lines[first]).count("\t")
    if not tabs_of_first:  # a tab inside the line
        lines[first] = lines[first].replace("\t", " ")
        return Fault(first, fault.column, fault.what, first)
    last = first
    while last < len(lines) and "\t" in _margin(lines[last]):
        margin = _margin(lines[last])
        indent = max(0, base + 2 * (margin.count("\t") - tabs_of_first))
        moved[last] = indent - len(margin)
        lines[last] = " " * indent + lines[last][len(margin) :]
        last += 1
    more = f" (lines {first + 1} to {last})" if last - first > 1 else ""
    return Fault(first, fault.column, fault.what + more, last - 1)


def _margin(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _indent(line: str) -> int:
    return len(_margin(line))


def _content(line: str) -> str:
    """The line without its margin and its comment."""
    return re.sub(r"(^|\s)#.*$", "", line).strip()


def _last_below(line: int, lines: Sequence[str]) -> int:
    """The last line of what is indented more deeply below `line`."""
    last = line
    for number in range(line + 1, len(lines)):
        if _content(lines[number]) and _indent(lines[number]) <= _indent(lines[line]):
            break
        if _content(lines[number]):
            last = number
    return last
