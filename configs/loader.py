"""Reads one YAML file into its schema, and tells every mistake of it at once, each with its place.

Types are strict, as in the JSON Schema that editors check with: a quoted number is text, and a bare `yes` is no name.
A file of an earlier version is read as the present one, and the log names the command that rewrites it.

ConfigError (a TierwiseError)     str() is one line per Problem: `file:line:column key: what is wrong`
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from broker.events import event
from configs.kinds import mistaken_for, name_of
from configs.migration import current_version, stated_version, upgraded
from configs.mistakes import Reader
from configs.problems import ConfigError, Problem
from configs.section import Section
from configs.syntax import Composed, compose

__all__ = ["ConfigError", "Loaded", "Problem", "load", "loads", "read", "read_text", "text_of"]

log = logging.getLogger(__name__)

LARGEST_FILE_BYTES = 1_000_000

S = TypeVar("S", bound=Section)


@dataclass(frozen=True, slots=True)
class Loaded(Generic[S]):
    """What a file says. `text` is that of the present version; `version` is the file's own."""

    settings: S
    text: str
    version: int
    tree: Composed

    @property
    def old(self) -> bool:
        """Whether the file is of an earlier version than this Tierwise writes."""
        return self.version < current_version(type(self.settings))


def load(path: Path, schema: type[S]) -> S:
    """The settings in `path`; a warning in the log if it is of an earlier version. Raises ConfigError."""
    loaded = read(read_text(path), schema, str(path))
    if loaded.old:
        event(
            log,
            logging.WARNING,
            "old_config",
            file=path,
            version=loaded.version,
            mend=f"tierwise config migrate {path}",
        )
    return loaded.settings


def loads(text: str, schema: type[S], file: str) -> S:
    """The settings in `text`, which came from `file`. Raises ConfigError with every mistake."""
    return read(text, schema, file).settings


def read(text: str, schema: type[S], file: str) -> Loaded[S]:
    """The settings in `text`, and what is to know about it. Raises ConfigError with every mistake."""
    version = stated_version(text, schema, file)
    text = upgraded(text, schema, version)
    try:
        tree = compose(text)
        reader = Reader(schema, file, tree)
        settings = reader.settings()
    except RecursionError as error:
        raise ConfigError([Problem(file, 1, 1, "", "is nested too deeply, or refers to itself")]) from error
    if reader.problems or settings is None:
        if kind := mistaken_for(tree, text, schema):
            what = f"is a file of kind {kind}, and one of kind {name_of(schema)} is read here: name another file"
            raise ConfigError([Problem(file, 1, 1, "", what)])
        raise ConfigError(reader.problems)
    return Loaded(settings, text, version, tree)


def read_text(path: Path) -> str:
    """The text of a file. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError([Problem(str(path), 1, 1, "", f"cannot be read: {error.strerror}")]) from error
    return text_of(content, str(path))


def text_of(content: bytes, file: str) -> str:
    """The text that `content` of `file` stands for, with `\\n` for each end of a line. Raises ConfigError."""
    if len(content) > LARGEST_FILE_BYTES:
        raise ConfigError([Problem(file, 1, 1, "", f"is larger than {LARGEST_FILE_BYTES} bytes")])
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8").split("\n")
        what = "is not UTF-8: let your editor save the file with that encoding"
        raise ConfigError([Problem(file, len(before), len(before[-1]) + 1, "", what)]) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
