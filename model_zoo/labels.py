"""What a class is called. Untrained weights know no classes, and nothing may look as if they did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model_zoo.cache import LABELS

UNTRAINED = "untrained"
LONGEST_LABEL = 100


def read_labels(directory: Path, classes: int) -> tuple[str, ...]:
    """The names of the classes in the cache; empty where there are none, or not as many as there are classes."""
    try:
        lines = (directory / LABELS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ()
    return tuple(line.strip()[:LONGEST_LABEL] for line in lines) if len(lines) == classes else ()


def label_of(index: int, labels: Sequence[str], *, trained: bool) -> str:
    """The name of class `index` (background first); `class 286` where names are missing."""
    if not trained:
        return UNTRAINED
    return labels[index] if index < len(labels) else f"class {index}"
