"""Every setting that is in force under a file: its value, and the line or default that it comes from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from configs.editing import as_yaml
from configs.expected import expected_at
from configs.loader import Loaded
from configs.section import Section
from configs.tree import exact

MARGIN = "  "


@dataclass(frozen=True, slots=True)
class Setting:
    """One value. `line` is None for a default."""

    key: str
    value: Any
    line: int | None
    description: str

    def source(self, file: str) -> str:
        """`device.yaml:12`, or `default`."""
        return "default" if self.line is None else f"{file}:{self.line}"


def settings_of(loaded: Loaded[Section]) -> list[Setting]:
    """All of them, in the order of the schema."""
    return list(_settings(loaded, loaded.settings, ()))


def as_annotated_yaml(settings: list[Setting], file: str) -> str:
    """A file that says the same, with where each value comes from and what it means."""
    lines: list[tuple[str, str]] = []
    opened: tuple[str, ...] = ()
    for setting in settings:
        *sections, name = setting.key.split(".")
        for depth, section in enumerate(sections):
            if opened[: depth + 1] != tuple(sections[: depth + 1]):
                lines.append((f"{MARGIN * depth}{section}:", ""))
        opened = tuple(sections)
        about = setting.source(file) + (f"; {setting.description}" if setting.description else "")
        lines.append((f"{MARGIN * len(sections)}{name}: {as_yaml(setting.value)}", about))
    width = max((len(text) for text, about in lines if about and len(text) <= 48), default=0)
    return "\n".join(f"{text:<{width}}  # {about}" if about else text for text, about in lines) + "\n"


def _settings(loaded: Loaded[Section], section: BaseModel, path: tuple[str, ...]) -> Iterator[Setting]:
    root = loaded.tree.root
    for name in type(section).model_fields:
        inner, here = getattr(section, name), (*path, name)
        if isinstance(inner, BaseModel):
            yield from _settings(loaded, inner, here)
            continue
        node = exact(root, here) if root is not None else None
        expected = expected_at(type(loaded.settings), here)
        said = [expected.unit if expected else "", expected.description if expected else ""]
        line = None if node is None else loaded.tree.place(node)[0]
        yield Setting(".".join(here), to_jsonable_python(inner), line, ": ".join(part for part in said if part))
