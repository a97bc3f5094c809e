"""One inference in the thread that calls, its errors turned into refusals."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Protocol

from broker.errors import TierwiseError
from broker.events import event
from broker.vocabulary import ModelName
from device_agent.service.job import Declined, Job, Refusal
from model_zoo.errors import BadImage, ModelMissing, UnknownModel, on_node
from model_zoo.strangers import check_stranger

log = logging.getLogger(__name__)


class Classification(Protocol):
    """What the service reads of a classification."""

    @property
    def label(self) -> str: ...
    @property
    def trained(self) -> bool: ...


class Models(Protocol):
    """What the service needs of `model_zoo.pool.ModelPool`."""

    def available(self) -> Mapping[ModelName, str]: ...
    def classify(self, model: ModelName, image: bytes) -> Classification: ...


def classify(models: Models, job: Job) -> Classification | Declined:
    """Run `job`. Never raises for what a photograph or a model file can do; blocks, so it belongs into a thread."""
    try:
        if job.foreign:
            check_stranger(job.image)
        return models.classify(job.model, job.image)
    except BadImage as error:
        return Declined(Refusal.BAD_IMAGE, str(error))
    except (UnknownModel, ModelMissing) as error:
        declined = Declined(Refusal.UNKNOWN_MODEL, on_node(error))
        if job.foreign:  # who asked is told, and logs it; a flood of wrong names must not fill this log
            return declined
    except TierwiseError as error:
        declined = Declined(Refusal.FAILED, on_node(error))
    except (RuntimeError, ValueError, OSError, MemoryError) as error:  # what LiteRT raises on a graph it cannot run
        declined = Declined(Refusal.FAILED, f"{type(error).__name__}: {error}")
    event(log, logging.ERROR, "inference_failed", model=job.model, reason=declined.detail)
    return declined


def outcome_of(run: asyncio.Future[Classification | Declined]) -> Classification | Declined:
    """What an ended `classify` gave; a defect of ours or of the runtime is logged whole and declines the job."""
    if run.cancelled():
        return Declined(Refusal.STOPPING, "this node is being stopped")
    if (error := run.exception()) is not None:
        log.error("inference_failed reason=defect", exc_info=error)
        return Declined(Refusal.FAILED, f"{type(error).__name__}: {error}")
    return run.result()
