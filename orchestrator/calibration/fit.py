"""From what was measured to a whole calibration, and how well that gives the log back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from broker.vocabulary import NodeId, Tier
from configs.calibration import CalibrationConfig
from model_zoo.manifest import Manifest
from orchestrator.calibration.coefficient import Coefficient, Coefficients
from orchestrator.calibration.links import link_costs
from orchestrator.calibration.local import local_times, simulated_names
from orchestrator.calibration.noise import noise
from orchestrator.calibration.reading import TIERS, Measured
from orchestrator.calibration.robust import Floats
from orchestrator.calibration.serving import serving_times
from orchestrator.errors import TooLittleLogged

LEAST_REQUESTS = 20


@dataclass(frozen=True, slots=True)
class Reproduction:
    """How far the calibration's round means are from the log's, in %, of whole rounds.

    `median_percent` and `p95_percent` of the absolute errors; `all_percent` signed, of all rounds together. A site's
    rare hiccups are not in the coefficients, so with many of them it is below 0.
    """

    rounds: int
    median_percent: float
    p95_percent: float
    all_percent: float


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration and what it rests on. `devices`: the simulator's name of each node of the log.

    `weak_shares`: in which share of its requests (0 to 1) a device's link was weak, by the simulator's name, and in
    which of all requests that of the `edge`; `reproduction` is None if no round was delivered whole.
    """

    calibration: CalibrationConfig
    coefficients: Coefficients
    devices: dict[NodeId, str]
    weak_shares: dict[str, float]
    requests: int
    emulated: int
    reproduction: Reproduction | None


def calibrate(
    measured: Measured,
    name: str,
    assumed: CalibrationConfig,
    manifest: Manifest,
    edge_vcpus: int | None = None,
    cloud_vcpus: int | None = None,
) -> Calibrated:
    """Fit all coefficients; what the log cannot tell is `assumed`'s, a1-paper. Raises TooLittleLogged."""
    requests = len(measured.response_ms)
    if requests < LEAST_REQUESTS:
        raise TooLittleLogged(f"{requests} delivered requests are too few; log {LEAST_REQUESTS} or more")
    coefficients = local_times(measured, manifest, assumed.models)
    coefficients |= serving_times(measured, Tier.EDGE, edge_vcpus, assumed.edge)
    coefficients |= serving_times(measured, Tier.CLOUD, cloud_vcpus, assumed.cloud)
    coefficients |= link_costs(measured, assumed.links)
    expected_ms = _expected_ms(measured, coefficients)
    for node, factor in assumed.busy.model_dump().items():
        coefficients[f"busy.{node}"] = Coefficient(factor, 0, "assumed, a1-paper's")
    coefficients |= noise(measured, expected_ms)
    coefficients["deadline_ms"] = (
        Coefficient(assumed.deadline_ms, 0, "assumed, a1-paper's; the log holds no decision")
        if measured.deadline_ms is None
        else Coefficient(measured.deadline_ms, 1, "of the newest decision")
    )
    devices = simulated_names(measured.nodes)
    return Calibrated(
        calibration=_config(name, coefficients),
        coefficients=coefficients,
        devices=devices,
        weak_shares={
            devices[node]: float(measured.weak[measured.node == place].mean())
            for place, node in enumerate(measured.nodes)
        }
        | {Tier.EDGE.value: float(measured.edge_weak.mean())},
        requests=requests,
        emulated=int(measured.emulated.sum()),
        reproduction=_reproduction(measured, expected_ms),
    )


def _config(name: str, coefficients: Coefficients) -> CalibrationConfig:
    body: dict[str, Any] = {"version": 1, "name": name}
    for path, coefficient in coefficients.items():
        *sections, key = path.split(".")
        section = body
        for part in sections:
            section = section.setdefault(part, {})
        section[key] = coefficient.value
    origin = {path: coefficient.origin for path, coefficient in coefficients.items()}
    return CalibrationConfig.model_validate({**body, "origin": origin})


def _expected_ms(measured: Measured, coefficients: Coefficients) -> Floats:
    """(R,): what the simulator (`orchestrator.simulator.site`) expects of each response time, NaN if it cannot say."""

    def value(path: str) -> float:
        return coefficients[path].number if path in coefficients else np.nan

    def link_ms(cost: str) -> Floats:
        own_ms = np.where(measured.weak, value(f"links.weak.{cost}"), value(f"links.regular.{cost}"))
        return own_ms + np.where(measured.edge_weak, value(f"links.edge_weak.{cost}"), 0.0)

    names = simulated_names(measured.nodes)
    speeds = np.array([value(f"speeds.{names[node]}") for node in measured.nodes])
    local_ms = np.array([value(f"models.{model}") for model in measured.models])
    expected_ms = link_ms("ask_ms")
    local = measured.tier == TIERS.index(Tier.END)
    expected_ms[local] += local_ms[measured.model[local]] / speeds[measured.node[local]]
    expected_ms[~local] += link_ms("image_ms")[~local]
    for tier in (Tier.EDGE, Tier.CLOUD):
        rows = measured.tier == TIERS.index(tier)
        alone_ms = np.array([value(f"{tier}.compute_ms.{model}") for model in measured.models])
        sharers = np.where(measured.sharers > 0, measured.sharers, np.nan)[rows]
        slowed = 1.0 + value(f"{tier}.contention") * (sharers - 1) / value(f"{tier}.vcpus")
        expected_ms[rows] += alone_ms[measured.model[rows]] * slowed
    return expected_ms


def _reproduction(measured: Measured, expected_ms: Floats) -> Reproduction | None:
    rows = measured.whole
    _, place = np.unique(measured.round[rows], return_inverse=True)
    counts = np.bincount(place)
    means_ms = np.bincount(place, measured.response_ms[rows]) / counts
    fitted_ms = np.bincount(place, expected_ms[rows]) / counts
    usable = np.isfinite(fitted_ms)
    if not usable.any():
        return None
    errors = 100 * np.abs(fitted_ms[usable] / means_ms[usable] - 1)
    together = 100 * (fitted_ms[usable].sum() / means_ms[usable].sum() - 1)
    return Reproduction(len(errors), float(np.median(errors)), float(np.percentile(errors, 95)), float(together))
