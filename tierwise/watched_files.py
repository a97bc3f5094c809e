"""Whether files were replaced since one last looked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


class WatchedFiles:
    """Some files, by inode, size and time of change; one that is away for the moment counts as unchanged."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = list(files)
        self._seen = {file: self._look(file) for file in self._files}

    def changed(self) -> bool:
        """True once after each change."""
        now = {file: self._look(file) or self._seen[file] for file in self._files}
        before, self._seen = self._seen, now
        return now != before

    @staticmethod
    def _look(file: Path) -> tuple[int, int, int] | None:
        try:
            found = file.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns
