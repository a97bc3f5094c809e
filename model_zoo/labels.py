"""What a class is called. Untrained weights know no classes, and nothing may look as if they did."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from broker.vocabulary import ModelName
from model_zoo.cache import LABELS
from model_zoo.manifest import ModelSpec

UNTRAINED = "untrained"
LONGEST_LABEL = 100
IMAGENET_CLASSES = 1000


def own_labels(directory: Path, name: ModelName) -> Path:
    """The file of names that belongs to one added model."""
    return directory / f"{name}.{LABELS}"


def read_labels(directory: Path, classes: int) -> tuple[str, ...]:
    """The names of the classes in the cache; empty where there are none, or not as many as there are classes."""
    return _names_in(directory / LABELS, classes)


def labels_of(directory: Path, spec: ModelSpec) -> tuple[str, ...]:
    """The names of a model's classes: from its own file, else the file of the eight; empty where none fits.

    A network of ImageNet's 1000 classes without the background takes the names after the first.
    """
    if spec.added:
        if own := _names_in(own_labels(directory, spec.name), spec.classes):
            return own
        if not spec.background and spec.classes == IMAGENET_CLASSES:
            return read_labels(directory, IMAGENET_CLASSES + 1)[1:]
        if not spec.background or spec.classes != IMAGENET_CLASSES + 1:
            return ()
    return read_labels(directory, spec.classes)


def _names_in(file: Path, classes: int) -> tuple[str, ...]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return ()
    return tuple(line.strip()[:LONGEST_LABEL] for line in lines) if len(lines) == classes else ()


def label_of(index: int, labels: Sequence[str], *, trained: bool) -> str:
    """The name of class `index` (background first); `class 286` where names are missing."""
    if not trained:
        return UNTRAINED
    return labels[index] if index < len(labels) else f"class {index}"
