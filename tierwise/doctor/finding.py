"""What a rule is, and what it tells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Severity(StrEnum):
    """`error`: do not run like this. `warning`: it works, and will hurt."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that a rule found: what is wrong, how to mend it, and the line if it has one."""

    what: str
    mend: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """The same, with its rule and place."""

    rule: str
    severity: Severity
    place: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.severity} {self.place}: {self.what}. {self.mend}. [{self.rule}]"

    def as_json(self) -> dict[str, Any]:
        """The documented form of `tierwise doctor --json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Rule(Generic[T]):
    """`name` is what people search for; `check` looks at one thing."""

    name: str
    severity: Severity
    check: Callable[[T], Iterable[Told]]


@dataclass(slots=True)
class Rules(Generic[T]):
    """All rules about one kind of file. `@rules.error("name")` adds one."""

    rules: list[Rule[T]] = field(default_factory=list)

    def error(self, name: str) -> Callable[[Callable[[T], Iterable[Told]]], Callable[[T], Iterable[Told]]]:
        """What must be mended."""
        return self._adding(name, Severity.ERROR)

    def warning(self, name: str) -> Callable[[Callable[[T], Iterable[Told]]], Callable[[T], Iterable[Told]]]:
        """What should be mended."""
        return self._adding(name, Severity.WARNING)

    def _adding(
        self, name: str, severity: Severity
    ) -> Callable[[Callable[[T], Iterable[Told]]], Callable[[T], Iterable[Told]]]:
        def add(check: Callable[[T], Iterable[Told]]) -> Callable[[T], Iterable[Told]]:
            self.rules.append(Rule(name, severity, check))
            return check

        return add

    def judge(self, path: Path, thing: T) -> Iterator[Finding]:
        """All that the rules find in `thing`, which came from `path`."""
        for rule in self.rules:
            for told in rule.check(thing):
                place = f"{path}:{told.line}" if told.line else str(path)
                yield Finding(rule.name, rule.severity, place, told.what, told.mend)
