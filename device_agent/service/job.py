"""What the Intelligent Service takes in and gives back."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from broker.vocabulary import ModelName, NodeId


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
    """One inference: JPEG or PNG bytes, and when (monotonic clock) nobody needs it any more.

    `sender` is the node that the image came from, None for this node itself. `decided`: a decision named this job, as
    far as that can be told; what none named comes last.
    """

    model: ModelName
    image: bytes
    deadline_s: float
    sender: NodeId | None = None
    decided: bool = True

    @property
    def foreign(self) -> bool:
        """Whether the image came from another node."""
        return self.sender is not None


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
