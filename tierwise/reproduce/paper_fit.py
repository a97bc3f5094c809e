"""Fits `a1-paper.yaml` to Tables 8 and 9 and the fixed strategies' figures.

    python -m tierwise.reproduce.paper_fit --write configs/calibrations/a1-paper.yaml

An average response time is linear in 14 coefficients: what d0, d2, d4, d5, d6 and d7 take on a device, what d0 takes
alone on edge and cloud, what each further sharer adds there, and what a weak link of the device or of the edge adds to
asking and to an image. d1 and d3 appear in no consistent row and are interpolated by MACs on the line through the fp32
models d0 and d2. A linear programme finds the coefficients with the least sum of errors, each in units of the accuracy
that is wanted of its cell, plus the largest of them. Where a row gives decisions, they must be at most 0.2 % slower
than the optimum under the coefficients: so cuts are added for what the solver finds faster, until it finds nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.optimize import linprog

from broker.errors import TierwiseError
from broker.vocabulary import Action, Link, ModelName, NodeId, Tier
from configs.calibration import CalibrationConfig
from configs.demo import ExperimentConfig
from model_zoo.manifest import load_manifest
from orchestrator.accuracy import accuracies_of
from orchestrator.calibration.annotated import as_yaml
from orchestrator.simulator.files import find
from orchestrator.simulator.site import site_of
from orchestrator.solver.exact import solve
from tierwise.reproduce.published import USERS, Cell, fixed_strategies, published, table8, table9

FITTED_MODELS = ("d0", "d2", "d4", "d5", "d6", "d7")
COEFFICIENTS = (
    *FITTED_MODELS,
    *("edge", "cloud", "edge_sharer", "cloud_sharer"),
    *("weak_ask", "weak_image", "edge_weak_ask", "edge_weak_image"),
)
WANTED_PERCENT = {"max": 3.0, 8: 6.0, 9: 4.0}  # table 10 repeats table 9's max rows
FIXED_WANTED_PERCENT = {Tier.END: 1.0, Tier.EDGE: 0.05, Tier.CLOUD: 0.05}
SLACK = 0.002
MOST_CUTS = 30
# Rows whose times are usable though their decisions are not: what the floor's neighbours and the other experiments do.
ASSUMED = {
    ("exp-b", "80"): ("d6", "d6", "d7", "d6", "d6"),
    ("exp-d", "min"): ("d7", "d7", "d7", "d7", "d7"),
}

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Datum:
    """One published average: `row` (14,) times the coefficients plus `constant` should be `ms`."""

    name: str
    row: Vector
    constant: float
    ms: float
    wanted_ms: float
    cell: Cell | None


@dataclass(frozen=True, slots=True)
class Fit:
    """The coefficients, what they were fitted to, and how far the fit is from each, in %."""

    coefficients: Vector
    data: tuple[Datum, ...]
    cuts: int

    def errors_percent(self) -> dict[str, float]:
        """By datum, of the published decisions' response times."""
        return {d.name: 100 * (float(d.row @ self.coefficients + d.constant) / d.ms - 1) for d in self.data}


def fit() -> Fit:
    """Solve the linear programme, adding cuts until the published decisions are optimal."""
    data = [_datum_of_cell(cell) for cell in (*table9(), *table8()) if _usable(cell)]
    data += [_datum_of_fixed(tier, ms) for tier, ms in fixed_strategies().items()]
    cuts: list[tuple[Vector, float]] = []
    for _ in range(MOST_CUTS):
        coefficients = _solve_linear(data, cuts)
        calibration = calibration_of(coefficients)
        found = [cut for datum in data if (cut := _cut(datum, coefficients, calibration)) is not None]
        if not found:
            return Fit(coefficients, tuple(data), len(cuts))
        cuts += found
    raise TierwiseError(f"the published decisions are not optimal after {MOST_CUTS} rounds of cuts")


def _usable(cell: Cell) -> bool:
    """Table 8's five-user rows stand in Table 9 too; the two rows that contradict all others are left out."""
    return (cell.consistent and not (cell.table == 8 and cell.users == USERS)) or (
        cell.experiment,
        cell.floor,
    ) in ASSUMED


def _datum_of_cell(cell: Cell) -> Datum:
    models = ASSUMED.get((cell.experiment, cell.floor))
    decisions = cell.decisions or tuple(Action(Tier.END, ModelName(model)) for model in models or ())
    row, constant = _row(cell.experiment, decisions)
    wanted = WANTED_PERCENT["max"] if cell.table == 9 and cell.floor == "max" else WANTED_PERCENT[cell.table]
    name = f"table {cell.table} {cell.experiment} {cell.floor} {cell.users}"
    return Datum(name, row, constant, cell.ms, wanted / 100 * cell.ms, cell if cell.consistent else None)


def _datum_of_fixed(tier: Tier, ms: float) -> Datum:
    row, constant = _row("exp-a", (Action(tier, ModelName("d0")),) * USERS)
    return Datum(f"all on {tier}", row, constant, ms, FIXED_WANTED_PERCENT[tier] / 100 * ms, None)


def _row(experiment: str, decisions: Sequence[Action]) -> tuple[Vector, float]:
    """The average response time of `decisions` as a row of the linear programme, and what is not fitted in it."""
    weak = {node for node, link in find(ExperimentConfig, experiment).links.items() if link is Link.WEAK}
    regular = _regular()
    row, constant = np.zeros(len(COEFFICIENTS)), 0.0

    def add(name: str, times: float) -> None:
        row[COEFFICIENTS.index(name)] += times

    for place, action in enumerate(decisions):
        device_weak, edge_weak = NodeId(f"s{place + 1}") in weak, NodeId("edge") in weak
        add("weak_ask", device_weak)
        add("edge_weak_ask", edge_weak)
        constant += regular["ask"]
        if action.tier is Tier.END:
            for model, share in _shares(action.model).items():
                add(model, share)
            continue
        add(action.tier, 1)
        add(f"{action.tier}_sharer", sum(other.tier is action.tier for other in decisions) - 1)
        add("weak_image", device_weak)
        add("edge_weak_image", edge_weak)
        constant += regular["image"]
    return row / len(decisions), constant / len(decisions)


def _regular() -> dict[str, float]:
    """Table 12 on a regular link: the decision, and the request, which carries the image."""
    table = published()["table12_message_overhead_ms"]["regular"]
    return {"ask": float(table["decision"]), "image": float(table["request"])}


def _shares(model: str) -> dict[str, float]:
    """What a model's time is made of: itself, or d0 and d2 in shares by MACs."""
    if model in FITTED_MODELS:
        return {model: 1.0}
    mmacs = {name: spec.mmacs for name, spec in load_manifest().models.items()}
    of_d0 = (mmacs[ModelName(model)] - mmacs[ModelName("d2")]) / (mmacs[ModelName("d0")] - mmacs[ModelName("d2")])
    return {"d0": of_d0, "d2": 1 - of_d0}


def _solve_linear(data: Sequence[Datum], cuts: Sequence[tuple[Vector, float]]) -> Vector:
    """Unknowns: the coefficients, each datum's error in wanted units, and the largest of those. All at least 0."""
    scale = np.array([datum.wanted_ms for datum in data])
    rows = np.stack([datum.row for datum in data]) / scale[:, None]
    targets = np.array([datum.ms - datum.constant for datum in data]) / scale
    count, width = len(data), len(COEFFICIENTS)
    one, none = np.eye(count), np.zeros((count, 1))
    above = np.hstack([rows, -one, none])
    below = np.hstack([-rows, -one, none])
    largest = np.hstack([np.zeros((count, width)), one, -np.ones((count, 1))])
    limits = [targets, -targets, np.zeros(count)]
    extra = np.zeros((len(cuts), width + count + 1))
    for place, (row, _) in enumerate(cuts):
        extra[place, :width] = row
    costs = np.concatenate([np.zeros(width), np.full(count, 1 / count), [1.0]])
    matrix = np.vstack([above, below, largest, extra])
    found = linprog(costs, matrix, np.concatenate([*limits, [limit for _, limit in cuts]]), method="highs")
    if found.status != 0:
        raise TierwiseError(f"the linear programme has no solution: {found.message}")
    coefficients: Vector = found.x[:width]
    return coefficients


def _cut(datum: Datum, coefficients: Vector, calibration: CalibrationConfig) -> tuple[Vector, float] | None:
    """Row and limit that forbid coefficients under which something is clearly faster than the published decisions."""
    cell = datum.cell
    if cell is None:
        return None
    site = site_of(calibration, find(ExperimentConfig, cell.experiment), cell.users, accuracies_of(load_manifest()))
    best = solve(site.problem(cell.floor_tenths, np.zeros(cell.users + 2, dtype=bool)))
    allowed_ms = SLACK * cell.ms
    if datum.row @ coefficients + datum.constant - best.mean_ms <= allowed_ms + 1e-6:
        return None
    row, constant = _row(cell.experiment, [site.actions[place] for place in best.actions])
    return datum.row - row, allowed_ms - datum.constant + constant


def calibration_of(coefficients: Vector) -> CalibrationConfig:
    """The calibration that the coefficients mean."""
    value = {name: float(found) for name, found in zip(COEFFICIENTS, coefficients, strict=True)}
    regular = _regular()
    nodes = published()["table6_nodes"]

    def local_ms(model: str) -> float:
        return sum(value[part] * share for part, share in _shares(model).items())

    def tier(name: str) -> dict[str, object]:
        vcpus, alone_ms = int(nodes[name]["vcpus"]), value[name]
        contention = value[f"{name}_sharer"] * vcpus / alone_ms
        return {"vcpus": vcpus, "compute_ms": {"d0": round(alone_ms, 2)}, "contention": round(contention, 4)}

    return CalibrationConfig.model_validate(
        {
            "version": 1,
            "name": "a1-paper",
            "models": {model: round(local_ms(model), 2) for model in load_manifest().models},
            "edge": tier("edge"),
            "cloud": tier("cloud"),
            "links": {
                "regular": {"ask_ms": regular["ask"], "image_ms": regular["image"]},
                "weak": {
                    "ask_ms": round(regular["ask"] + value["weak_ask"], 2),
                    "image_ms": round(regular["image"] + value["weak_image"], 2),
                },
                "edge_weak": {
                    "ask_ms": round(value["edge_weak_ask"], 2),
                    "image_ms": round(value["edge_weak_image"], 2),
                },
            },
            "busy": {"end": 1.5, "edge": 1.25, "cloud": 1.1},
            "origin": ORIGIN,
        }
    )


FROM_TABLES = "fitted to Tables 8 and 9 and section 6.1.1"
ORIGIN = {
    "models": FROM_TABLES,
    "models.d1": "appears in no consistent row: interpolated by MACs between d0 and d2",
    "models.d3": "appears in no consistent row: interpolated by MACs on the line through d0 and d2",
    "speeds": "all devices are alike (Table 6)",
    "edge": FROM_TABLES,
    "edge.vcpus": "Table 6",
    "cloud": FROM_TABLES,
    "cloud.vcpus": "Table 6",
    "links": FROM_TABLES,
    "links.regular": "Table 12: decision, and request with its image; part of every fitted time",
    "busy": "assumed; the paper does not say how much slower a busy node is",
    "noise": "assumed; the paper gives no spread",
    "deadline_ms": "assumed; the default of rounds.deadline_ms",
}


def main() -> None:
    """Fit, say how well, and write the file if asked to."""
    parser = argparse.ArgumentParser(description="Fit the simulator to the paper's tables.")
    parser.add_argument("--write", type=Path, help="the YAML file to write")
    options = parser.parse_args()
    found = fit()
    errors = found.errors_percent()
    for name, percent in errors.items():
        print(f"{name:28}{percent:+7.2f} %")
    largest = max(errors.values(), key=abs)
    print(f"{len(COEFFICIENTS)} coefficients, {len(errors)} figures, {found.cuts} cuts, largest error {largest:+.2f} %")
    if options.write:
        heading = [
            "The paper's nodes (AWS a1.medium, a1.large, a1.xlarge), as its response times tell. Made by",
            "`make calibration`, which fits it anew; do not edit it by hand.",
            f"{len(COEFFICIENTS)} coefficients fitted to {len(errors)} published averages, {len(ASSUMED)} of them with "
            f"decisions that were assumed; largest error {abs(largest):.1f} %.",
        ]
        options.write.write_text(as_yaml(calibration_of(found.coefficients), heading), encoding="utf-8")


if __name__ == "__main__":
    main()
