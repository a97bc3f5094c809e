"""Which models this node has, the most accurate first, by the manifest and under the metric of the site's goal."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from broker.errors import TierwiseError
from broker.events import event
from broker.vocabulary import Metric, ModelName
from device_agent.service.inference import Models
from model_zoo.errors import on_node

log = logging.getLogger(__name__)


class ModelsByAccuracy:
    """What can be run here, as the pool knows it at this moment."""

    def __init__(
        self,
        models: Models,
        pool: Sequence[ModelName],
        top5_tenths: Mapping[ModelName, int],
        top1_tenths: Mapping[ModelName, int] | None = None,
    ) -> None:
        self._models = models
        self._pool = list(pool)
        self._tenths = {Metric.TOP5: top5_tenths, Metric.TOP1: top1_tenths or {}}
        self.order_by(Metric.TOP5)

    def order_by(self, metric: str) -> None:
        """Rank by this accuracy, and by the other one where it is equal or unknown. An unknown metric is Top-5."""
        first = Metric.TOP1 if metric == Metric.TOP1 else Metric.TOP5
        second = Metric.TOP5 if first is Metric.TOP1 else Metric.TOP1
        by = self._tenths[first], self._tenths[second]
        self._pool.sort(key=lambda model: tuple(-tenths.get(model, 0) for tenths in by))

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
