"""Which models this node has, the most accurate first (Top-5 of the manifest, Table 4)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from broker.errors import TierwiseError
from broker.events import event
from broker.vocabulary import ModelName
from device_agent.service.inference import Models
from model_zoo.errors import on_node

log = logging.getLogger(__name__)


class ModelsByAccuracy:
    """What can be run here, as the pool knows it at this moment."""

    def __init__(self, models: Models, pool: Sequence[ModelName], top5_tenths: Mapping[ModelName, int]) -> None:
        self._models = models
        self._pool = sorted(pool, key=lambda model: -top5_tenths.get(model, 0))

    def available(self) -> dict[ModelName, str]:
        """Name and sha256 of what is installed and asked for; none where the cache cannot be read."""
        try:
            return dict(self._models.available())
        except TierwiseError as error:
            event(log, logging.ERROR, "models_unavailable", reason=on_node(error))
            return {}

    def here(self) -> list[ModelName]:
        """What can be run on this node now, the most accurate first."""
        available = self.available()
        return [model for model in self._pool if model in available]

    @property
    def first_choice(self) -> ModelName:
        """The most accurate model that this node should have."""
        return self._pool[0]
