"""What the Intelligent Service takes in and gives back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from broker.vocabulary import ModelName


class Refusal(StrEnum):
    """Why a job has no label. The words are those of `Result.refused`."""

    BUSY = "busy"
    BAD_IMAGE = "bad_image"
    UNKNOWN_MODEL = "unknown_model"
    EXPIRED = "expired"
    STOPPING = "stopping"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Job:
    """One inference: JPEG or PNG bytes, and when (monotonic clock) nobody needs it any more."""

    model: ModelName
    image: bytes
    deadline_s: float
    foreign: bool = False  # the image came from another node


@dataclass(frozen=True, slots=True)
class Served:
    """A label and its times. `emulated` times are those of the virtual server, sharing included."""

    label: str
    trained: bool
    queue_ms: float
    compute_ms: float
    emulated: bool


@dataclass(frozen=True, slots=True)
class Declined:
    """A job that was not done, and why."""

    refusal: Refusal
    detail: str
