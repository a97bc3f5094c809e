"""The joint fallback assignment: which local model each device runs if it gets no result from where it was sent.

Promise: the average stays at or above the floor if every device falls back and, whenever the decision itself meets
the floor, if any subset of them does. It holds as far as the devices have the models for it (`birth` lists them); a
device without any local model has no fallback.

How: in integer tenths, what the decisions leave of the budget N (best - floor) is shared equally among the devices
that may fall back, after each got what its own most accurate local model needs. Each then takes its cheapest local
model within `its decided deficit + its share`. Whatever subset falls back, the deficits grow by at most the shares of
that subset, hence never beyond the budget. A decision that breaks the floor (exploration, the random policy) leaves
nothing to share; then the shares are counted from zero, as if every device fell back.
"""

from __future__ import annotations

from collections.abc import Sequence

from broker.vocabulary import Action, ModelName, Tier
from orchestrator.accuracy import Accuracies


def joint_fallback(
    decided: Sequence[Action], local_models: Sequence[Sequence[ModelName]], floor: int, accuracies: Accuracies
) -> tuple[ModelName | None, ...]:
    """One fallback model per device, in order; None for a device that has no local model. `floor` in tenths."""
    spent = accuracies.best_tenths * len(decided) - sum(accuracies.tenths[action.model] for action in decided)
    budget = accuracies.budget(len(decided), floor)
    if spent > budget:
        return safe_local(local_models, floor, accuracies)
    own = [action.model if action.tier is Tier.END else None for action in decided]
    offloaded = [index for index, model in enumerate(own) if model is None and local_models[index]]
    chosen = _within_shares(
        [local_models[index] for index in offloaded],
        [accuracies.deficit(decided[index].model) for index in offloaded],
        budget - spent,
        accuracies,
    )
    fallbacks: list[ModelName | None] = list(own)
    for index, model in zip(offloaded, chosen, strict=True):
        fallbacks[index] = model
    return tuple(fallbacks)


def safe_local(
    local_models: Sequence[Sequence[ModelName]], floor: int, accuracies: Accuracies
) -> tuple[ModelName | None, ...]:
    """The cheapest local model of each device such that all of them together meet the floor in tenths."""
    able = [index for index, models in enumerate(local_models) if models]
    budget = accuracies.budget(len(able), floor)
    chosen = _within_shares([local_models[index] for index in able], [0] * len(able), budget, accuracies)
    fallbacks: list[ModelName | None] = [None] * len(local_models)
    for index, model in zip(able, chosen, strict=True):
        fallbacks[index] = model
    return tuple(fallbacks)


def _within_shares(
    local_models: Sequence[Sequence[ModelName]], granted: Sequence[int], rest: int, accuracies: Accuracies
) -> list[ModelName]:
    """The cheapest model of each device whose deficit is within what it was granted and its share of `rest`."""
    if not local_models:
        return []
    best = accuracies.best_tenths
    # Devices share few lists of models, so each list is looked through once: a thousand devices ask one by one.
    lists = {id(models): models for models in local_models}
    least_of = {key: min(best - accuracies.tenths[model] for model in models) for key, models in lists.items()}
    least = [least_of[id(models)] for models in local_models]
    needed = [max(0, deficit - already) for deficit, already in zip(least, granted, strict=True)]
    # A negative rest means that the floor cannot be kept with these models: then each is as accurate as it can be.
    share = max(0, rest - sum(needed)) // len(local_models)
    enough = rest >= sum(needed)
    allowed = [
        already + own + share if enough else at_least
        for already, own, at_least in zip(granted, needed, least, strict=True)
    ]
    cheapest: dict[tuple[int, int], ModelName] = {}
    for models, limit in zip(local_models, allowed, strict=True):
        if (id(models), limit) not in cheapest:
            within = [model for model in models if best - accuracies.tenths[model] <= limit]
            cheapest[id(models), limit] = min(within, key=accuracies.cost.__getitem__)
    return [cheapest[id(models), limit] for models, limit in zip(local_models, allowed, strict=True)]
