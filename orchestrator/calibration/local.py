"""How long each model takes on a device, and how fast each device is."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from scipy.sparse.csgraph import connected_components

from broker.vocabulary import ModelName, NodeId, Tier
from model_zoo.manifest import Manifest
from orchestrator.calibration.coefficient import LEAST_ROWS, Coefficient, Coefficients, fitted
from orchestrator.calibration.interpolation import unseen
from orchestrator.calibration.reading import TIERS, Measured
from orchestrator.calibration.robust import Floats, Ints, centre, fit_two_way
from orchestrator.errors import TooLittleLogged


def simulated_names(nodes: tuple[NodeId, ...]) -> dict[NodeId, str]:
    """What the simulator calls each device: s1, s2, ... (s01, ... from ten on); the log's numbers if all have such."""
    numbered = [re.fullmatch(r"s0*([1-9]\d*)", node) for node in nodes]
    numbers = [int(match[1]) for match in numbered if match]
    if len(set(numbers)) == len(nodes):
        place = dict(zip(nodes, numbers, strict=True))
    else:
        place = {node: number for number, node in enumerate(sorted(nodes, key=_natural), start=1)}
    width = len(str(max(place.values())))
    return {node: f"s{place[node]:0{width}d}" for node in nodes}


def _natural(name: str) -> list[tuple[int, str]]:
    """So that cam-10 comes after cam-9."""
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", name)]


def local_times(measured: Measured, manifest: Manifest, assumed_ms: Mapping[ModelName, float]) -> Coefficients:
    """`models.*` in ms and `speeds.*`: a device's time is the model's, divided by its speed. Raises TooLittleLogged.

    On the log scale a time is a sum of the two. The median speed is 1, in each set of devices that can be compared
    with each other because they ran the same models.
    """
    local = (measured.tier == TIERS.index(Tier.END)) & (measured.compute_ms > 0)
    shape = len(measured.nodes), len(measured.models)
    counts = np.bincount(measured.node[local] * shape[1] + measured.model[local], minlength=shape[0] * shape[1])
    counts = counts.reshape(shape)
    of_model = counts.sum(axis=0)
    if of_model.max(initial=0) < LEAST_ROWS:
        raise TooLittleLogged(
            f"no model has run locally {LEAST_ROWS} times in this log; set the policy device_only for some rounds: "
            "tierwise orchestrator goal --config orchestrator.yaml --policy device_only"
        )
    log_ms = np.log(measured.compute_ms[local])
    log_speeds = -fit_two_way(log_ms, measured.node[local], measured.model[local], shape)
    speeds, compared = _normalised(log_speeds, counts)
    reference_ms = measured.compute_ms[local] * speeds[measured.node[local]]
    seen = {
        model: fitted(centre(reference_ms[measured.model[local] == place]), rows, f"fitted to {rows} local requests")
        for place, model in enumerate(measured.models)
        if (rows := int(of_model[place])) >= LEAST_ROWS
    }
    rows_of = dict(zip(measured.models, of_model.tolist(), strict=True))
    models = {
        f"models.{model}": seen.get(model) or unseen(model, seen, rows_of.get(model, 0), manifest, assumed_ms)
        for model in manifest.models
    }
    return models | _speeds(measured, speeds, counts, compared)


def _normalised(log_speeds: Floats, counts: Ints) -> tuple[Floats, Ints]:
    """Speeds, and in which set of comparable devices each is."""
    same_models = (counts @ counts.T) > 0
    compared: Ints = connected_components(same_models)[1]
    for label in np.unique(compared):
        inside = compared == label
        log_speeds[inside] -= np.median(log_speeds[inside])
    speeds: Floats = np.exp(log_speeds)
    speeds[counts.sum(axis=1) < LEAST_ROWS] = 1.0
    return speeds, compared


def _speeds(measured: Measured, speeds: Floats, counts: Ints, compared: Ints) -> Coefficients:
    names = simulated_names(measured.nodes)
    of_device = counts.sum(axis=1)
    sets = len(np.unique(compared[of_device >= LEAST_ROWS]))
    coefficients: Coefficients = {}
    for place, node in enumerate(measured.nodes):
        rows = int(of_device[place])
        path = f"speeds.{names[node]}"
        if rows < LEAST_ROWS:
            coefficients[path] = Coefficient(1.0, 0, f"{node} ran {rows} requests locally: 1 assumed")
            continue
        alike = [other for other, label in zip(measured.nodes, compared, strict=True) if label == compared[place]]
        others = "" if sets == 1 else f", comparable only among {', '.join(alike)}"
        coefficients[path] = fitted(float(speeds[place]), rows, f"{node}: fitted to {rows} local requests{others}")
    return dict(sorted(coefficients.items()))
