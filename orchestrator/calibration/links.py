"""What a link costs: asking and the image, for devices on regular and weak links, and with the edge's link weak."""

from __future__ import annotations

import numpy as np

from broker.vocabulary import Tier
from configs.calibration import LinkCost, LinksSection
from orchestrator.calibration.coefficient import LEAST_ROWS, Coefficient, Coefficients, fitted
from orchestrator.calibration.reading import TIERS, Bools, Measured
from orchestrator.calibration.robust import Floats, fit_non_negative

COST = {"ask_ms": "asking", "image_ms": "image up and result down"}


def link_costs(measured: Measured, assumed: LinksSection) -> Coefficients:
    """`links.*`: `ask_ms` of every delivered request, `image_ms` of the offloaded ones.

    A time is the device's part plus, while the edge's link is weak, the edge's. What never occurred follows from
    `assumed`, the paper's, and says so.
    """
    offloaded = measured.tier != TIERS.index(Tier.END)
    everyone = np.ones(len(offloaded), dtype=bool)
    times_ms = {"ask_ms": (measured.decide_ms, everyone), "image_ms": (measured.image_ms, offloaded)}
    parts = {
        cost: _complete(_parts(ms[rows], measured.weak[rows], measured.edge_weak[rows], cost), cost, assumed)
        for cost, (ms, rows) in times_ms.items()
    }
    return {f"links.{link}.{cost}": parts[cost][link] for link in ("regular", "weak", "edge_weak") for cost in COST}


def _parts(ms: Floats, weak: Bools, edge_weak: Bools, cost: str) -> Coefficients:
    """Of the links that occurred, by link. `edge_weak` also where it was always so: then it is in the others."""
    columns = {"regular": ~weak, "weak": weak}
    seen = {link: rows for link, rows in columns.items() if rows.sum() >= LEAST_ROWS}
    used = np.any(list(seen.values()), axis=0)
    merged = None
    if edge_weak[used].sum() >= LEAST_ROWS:
        design = np.column_stack([rows[used] for rows in (*seen.values(), edge_weak)]).astype(np.float64)
        kinds, rows = np.unique(design, axis=0, return_counts=True)
        if np.linalg.matrix_rank(kinds[rows >= LEAST_ROWS]) == len(seen) + 1:
            seen["edge_weak"] = edge_weak
        else:
            merged = Coefficient(0.0, 0, "weak whenever it mattered: its part cannot be told from the devices'")
    design = np.column_stack([rows[used] for rows in seen.values()]).astype(np.float64)
    found = fit_non_negative(design, ms[used])
    counts = {link: int(rows[used].sum()) for link, rows in seen.items()}
    parts = {
        link: fitted(value, counts[link], f"{COST[cost]} in {counts[link]} requests")
        for link, value in zip(seen, found, strict=True)
    }
    return parts if merged is None else {**parts, "edge_weak": merged}


def _complete(parts: Coefficients, cost: str, assumed: LinksSection) -> Coefficients:
    """What occurred, and what never did."""

    def papers(link: LinkCost) -> float:
        return float(getattr(link, cost))

    more_ms = papers(assumed.weak) - papers(assumed.regular)
    regular = parts.get("regular") or Coefficient(parts["weak"].value, 0, "never seen: a copy of weak")
    weak = fitted(
        regular.number + more_ms, 0, f"never seen: regular plus the {more_ms:.4g} ms that it adds in a1-paper"
    )
    edge_weak = Coefficient(papers(assumed.edge_weak), 0, "never seen: a1-paper's")
    return {"regular": regular, "weak": weak, "edge_weak": edge_weak} | parts
