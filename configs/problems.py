"""What is wrong with a file, each mistake with its place.

ConfigError (a TierwiseError)     str() is one line per Problem: `file:line:column key: what is wrong`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from broker.errors import TierwiseError


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
