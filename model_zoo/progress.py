"""What long work tells its caller while it goes on. Who draws it is not the zoo's business."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Stage(StrEnum):
    """What is being done for a model, or for all of them."""

    DOWNLOADING = "downloading"
    UNPACKING = "unpacking"
    INSTALLING = "installing TensorFlow"
    BUILDING = "building"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Step:
    """`done` of `total` bytes (or models, while building); `total` is None where nobody knows it."""

    item: str
    stage: Stage
    done: int = 0
    total: int | None = None


Progress = Callable[[Step], None]


def silent(_: Step) -> None:
    """For callers who show nothing."""
