"""Accuracy under the site's metric in integer tenths of a point, so that an average is never rounded across the floor.

`sum([89.9] * 6) / 6 < 89.9` in floating point. Here a model has a *deficit* against the most accurate one (d0 to d7
of Table 4: 0, 17, 50, 157, 10, 29, 67, 171) and N devices at a floor have a *budget* of deficits: N (best - floor).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from broker.errors import TierwiseError
from broker.vocabulary import ModelName
from model_zoo.fitting import DEFAULT_TASK, SiteTask, misfit
from model_zoo.manifest import Manifest


def floor_tenths(percent: float) -> int:
    """A floor in % with at most one decimal, in tenths. Raises TierwiseError."""
    tenths = round(percent * 10)
    if abs(percent * 10 - tenths) > 1e-6 or not 0 <= tenths <= 1000:
        raise TierwiseError(f"an accuracy floor of {percent} is not a percentage with at most one decimal")
    return tenths


@dataclass(frozen=True, slots=True)
class Accuracies:
    """What each model's accuracy is, and which model is cheaper to run.

    `tenths`: accuracy in tenths of a point, in the manifest's order. `cost`: its place from cheapest (0) to dearest, by
    MACs, then int8 before fp32. `best_tenths`, `worst_tenths`: the accuracy of the most and of the least accurate.
    """

    tenths: Mapping[ModelName, int]
    cost: Mapping[ModelName, int]

    best_tenths: int = field(init=False, compare=False)
    worst_tenths: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "worst_tenths", min(self.tenths.values(), default=0))
        object.__setattr__(self, "best_tenths", max(self.tenths.values(), default=0))

    def deficit(self, model: ModelName) -> int:
        """How many tenths `model` lacks to the best."""
        return self.best_tenths - self.tenths[model]

    def budget(self, devices: int, floor: int) -> int:
        """How many tenths `devices` may lack together at a floor in tenths."""
        return devices * (self.best_tenths - floor)

    def meets(self, models: Iterable[ModelName], floor: int) -> bool:
        """Whether the average of `models` is at or above the floor in tenths."""
        tenths = [self.tenths[model] for model in models]
        return sum(tenths) >= len(tenths) * floor

    def mean_percent(self, models: Iterable[ModelName]) -> float:
        """The average in %, for people: summed in integers, divided once. Nothing may be compared with it."""
        tenths = [self.tenths[model] for model in models]
        return sum(tenths) / (10 * len(tenths)) if tenths else 0.0

    def most_accurate(self, models: Iterable[ModelName]) -> ModelName | None:
        """The most accurate of `models`, the cheaper of two equals; None of none."""
        return max(models, key=lambda model: (self.tenths[model], -self.cost[model]), default=None)


def accuracies_of(manifest: Manifest, site: SiteTask = DEFAULT_TASK) -> Accuracies:
    """The accuracies of all models that fit the site, under its metric, and the order of these models by cost."""
    models = {name: spec for name, spec in manifest.models.items() if misfit(spec, site) is None}
    tenths = {name: spec.accuracy_tenths(site.metric) for name, spec in models.items()}
    by_cost = sorted(models, key=lambda name: (models[name].mmacs, models[name].dtype != "int8", name))
    return Accuracies(
        tenths={name: value for name, value in tenths.items() if value is not None},
        cost={name: place for place, name in enumerate(by_cost)},
    )
