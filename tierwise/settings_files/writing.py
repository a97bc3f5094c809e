"""Writes new files, and the schemas that their first lines name; never over a file that is there, unless told to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from broker.errors import TierwiseError
from configs.json_schema import FOLDER
from configs.rewriting import NotWritten, rewrite
from tierwise.settings_files.templates import NewFile, schema_files


class FileExists(TierwiseError):
    """There is a file already where a new one would be written."""


def write(files: Mapping[Path, NewFile], force: bool) -> list[Path]:
    """Write all of them, or none where one is there and `force` is not given; returns the backups of former files.

    A schema goes into a folder beside its file: so the line that names it is right on every machine that the folder
    is copied to, and names no path of this one. Raises FileExists, NotWritten.
    """
    there = [path for path in files if path.exists()]
    if there and not force:
        names = ", ".join(map(str, there))
        raise FileExists(f"{names} is there already: name another --output, or use --force (a backup is kept)")
    schemas: dict[Path, str] = {}
    for path, file in files.items():
        schemas |= {path.parent / FOLDER / name: text for name, text in schema_files({file.kind}).items()}
    backups = [backup for path, file in files.items() if (backup := rewrite(path, file.text)) is not None]
    for path, text in schemas.items():
        try:
            if path.exists() and path.read_bytes() == text.encode():
                continue
            path.unlink(missing_ok=True)  # it is generated: its former state is worth no backup
        except OSError as error:
            raise NotWritten(f"cannot write {path}: {error.strerror}") from error
        rewrite(path, text)
    return backups
