"""What the factored agent learned with one set of models, as a checkpoint for another set of models.

Local times, tier curves, devices, states and the schedule stay. Of models that are gone go their local times and the
tier observations that they took part in: a mean over sharers cannot be split by model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from orchestrator.checkpoint import Checkpoint
from orchestrator.response_times.view import AnyArray

MODEL_AXIS = {"log_ms": 1, "weights": 1, "kinds": 1, "next": 1, "count": 2, "total": 2}
EMPTY = {"kinds": -1}  # of a place that holds no measurement; 0 in all other arrays
MODELS_SEEN = 1  # place of the models among what a tier has `seen`
ROUND_MODELS = 3  # place of the models in a saved SharedRound


@dataclass(frozen=True, slots=True)
class CarriedOver:
    """A checkpoint for other models, the models that it lost, and the number of tier observations that went along."""

    checkpoint: Checkpoint
    dropped: tuple[str, ...]
    dropped_observations: int


def carry_over(checkpoint: Checkpoint, models: Sequence[str]) -> CarriedOver:
    """`checkpoint` of a factored agent, for `models` in this order.

    Raises LookupError, TypeError, ValueError or AttributeError on what is no such checkpoint.
    """
    about, learned = checkpoint.about, list(checkpoint.about["models"])
    place = {learned.index(name): number for number, name in enumerate(models) if name in learned}
    times, lost = dict(about["times"]), 0
    times["tiers"] = {}
    for tier, saved in about["times"]["tiers"].items():
        kept, gone = _tier(saved, place)
        lost += gone
        if kept["rounds"]:
            times["tiers"][tier] = kept
    arrays = {name: _array(name, array, learned, models) for name, array in checkpoint.arrays.items()}
    last = None if about["last"] is None else _view(about["last"], place)
    fresh = replace(checkpoint, about={**about, "models": list(models), "times": times, "last": last}, arrays=arrays)
    return CarriedOver(fresh, tuple(name for name in learned if name not in models), lost)


def _array(name: str, array: AnyArray, learned: Sequence[str], models: Sequence[str]) -> AnyArray:
    """With a place for each of `models`, empty where nothing was learned."""
    part = name.removeprefix("local_")
    if part == name or part not in MODEL_AXIS:
        return array
    axis = MODEL_AXIS[part]
    if array.ndim <= axis or array.shape[axis] > len(learned):
        raise ValueError(f"{name} of shape {array.shape} for {len(learned)} models")
    shape = list(array.shape)
    shape[axis] = len(models)
    moved = np.full(shape, EMPTY.get(part, 0), dtype=array.dtype)
    into, source = np.moveaxis(moved, axis, 0), np.moveaxis(array, axis, 0)
    for number, model in enumerate(models):
        if model in learned and learned.index(model) < len(source):
            into[number] = source[learned.index(model)]
    return moved


def _tier(saved: Mapping[str, Any], place: Mapping[int, int]) -> tuple[dict[str, Any], int]:
    """One tier's observations without those of models that are gone, and how many those were."""
    rounds = [
        [*row[:ROUND_MODELS], _counts(row[ROUND_MODELS], place), *row[ROUND_MODELS + 1 :]]
        for row in saved["rounds"]
        if all(int(model) in place for model, _ in row[ROUND_MODELS])
    ]
    seen = list(saved["seen"])
    seen[MODELS_SEEN] = _counts(seen[MODELS_SEEN], place)
    return {**saved, "seen": seen, "rounds": rounds, "stale": True}, len(saved["rounds"]) - len(rounds)


def _counts(counted: Sequence[tuple[int, int]], place: Mapping[int, int]) -> list[list[int]]:
    return sorted([place[int(model)], int(count)] for model, count in counted if int(model) in place)


def _view(saved: Mapping[str, Any], place: Mapping[int, int]) -> dict[str, Any] | None:
    """The last view without columns of models that are gone; None where a device then has no column left."""
    kept = [at for at, model in enumerate(saved["models"]) if int(model) in place]
    able = ["".join(row[at] for at in kept) for row in saved["able"]]
    if not all("1" in row for row in able):
        return None
    of_columns = {name: [saved[name][at] for at in kept] for name in ("columns", "tier", "deficits")}
    moved = [place[int(saved["models"][at])] for at in kept]
    names = {model for _, model in of_columns["columns"]}
    tenths = {model: value for model, value in saved["accuracy_tenths"].items() if model in names}
    return {**saved, **of_columns, "models": moved, "able": able, "accuracy_tenths": tenths}
