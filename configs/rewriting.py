"""Writes a file of settings. The former one is kept beside it; a crash leaves either the old or the new one, whole."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO

from broker.durable_file import replace_durably
from broker.errors import TierwiseError

MOST_BACKUPS = 1000


class NotWritten(TierwiseError):
    """A file, or its backup, could not be written; the former file is as it was."""


def rewrite(path: Path, text: str) -> Path | None:
    """Write `text` to `path`; a file that was there is first kept as `FILE.bak-1`, or the next number that is free.

    Returns the backup. Permissions stay. Raises NotWritten.
    """
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        backup, mode = None, None
        if path.exists():
            former, mode = path.read_bytes(), path.stat().st_mode & 0o7777
            backup = _free_backup(path)
            replace_durably(backup, lambda file: _write(file, former, mode))
        replace_durably(path, lambda file: _write(file, text.encode("utf-8"), mode))
    except OSError as error:
        raise NotWritten(f"cannot write {path}: {error.strerror}") from error
    return backup


def _free_backup(path: Path) -> Path:
    for number in range(1, MOST_BACKUPS):
        backup = path.with_name(f"{path.name}.bak-{number}")
        if not backup.exists():
            return backup
    raise NotWritten(f"{path} has {MOST_BACKUPS - 1} backups beside it: remove some")


def _write(file: IO[bytes], content: bytes, mode: int | None) -> None:
    if mode is not None:
        os.fchmod(file.fileno(), mode)
    file.write(content)
