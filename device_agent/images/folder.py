"""Photographs from a folder of JPEG and PNG files, in the order of their names, over and over."""

from __future__ import annotations

import logging
from pathlib import Path

from broker.events import event
from device_agent.images.pixels import check
from device_agent.images.source import NoImage, Photograph
from model_zoo.errors import BadImage
from model_zoo.photograph import LARGEST_IMAGE_BYTES

log = logging.getLogger(__name__)

SUFFIXES = {".jpg", ".jpeg", ".png"}


class FolderSource:
    """The folder is read anew on each pass, so files may come and go. A bad file is reported once and skipped."""

    ahead = True

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._remaining: list[Path] = []
        self._good: set[tuple[Path, int]] = set()
        self._bad: set[tuple[Path, int]] = set()
        self._seen: set[tuple[Path, int]] = set()  # in this pass
        if not photographs_in(directory):
            raise NoImage(f"no .jpg, .jpeg or .png file in {directory}: put photographs there, or name another folder")

    def next(self) -> Photograph:
        """The next photograph that can be decoded. Raises NoImage when a whole pass had none."""
        for fresh_pass in (False, True):
            if fresh_pass:
                self._begin_pass()
            while self._remaining:
                path = self._remaining.pop(0)
                if (content := self._read(path)) is not None:
                    return Photograph(path.name, content)
        raise NoImage(f"no photograph in {self._directory} can be decoded")

    @property
    def remembered(self) -> int:
        """How many files it knows to be good or bad."""
        return len(self._good) + len(self._bad)

    def close(self) -> None:
        """Nothing is held open."""

    def _begin_pass(self) -> None:
        self._remaining = photographs_in(self._directory)
        # What a file was like that is no longer there would be remembered for ever.
        self._good &= self._seen
        self._bad &= self._seen
        self._seen = set()

    def _read(self, path: Path) -> bytes | None:
        try:
            status = path.stat()
            version = (path, status.st_mtime_ns)
            self._seen.add(version)
            if version in self._bad:
                return None
            if status.st_size > LARGEST_IMAGE_BYTES:
                raise BadImage(f"{status.st_size} bytes, at most {LARGEST_IMAGE_BYTES}")
            content = path.read_bytes()
            if version not in self._good:
                check(content)
                self._good.add(version)
        except OSError as error:
            event(log, logging.WARNING, "image_skipped", file=path, reason=error.strerror)
            return None
        except BadImage as error:
            event(log, logging.WARNING, "image_skipped", file=path, reason=error)
            self._bad.add(version)
            return None
        return content


def photographs_in(directory: Path) -> list[Path]:
    """Files of `directory` that are named like photographs, by name; none where it cannot be read."""
    try:
        return sorted(path for path in directory.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    except OSError:
        return []
