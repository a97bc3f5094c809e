"""Response logs full of rows that look like a site's: seeded, with everything that a row can hold."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from orchestrator.response_log import LOG_NAME, open_for_writing
from orchestrator.shipping.points import DECISION, RESPONSE, TELEMETRY, Measurement

START_NS = 1_790_000_000_000_000_000  # September 2026
STEP_NS = 7_000_001
TIERS = ("end", "edge", "cloud")
TENTHS = (899, 882, 849, 742, 889, 870, 832, 728)


def fill(directory: Path, rows: int, seed: int = 1, nodes: int = 20, start_ns: int = START_NS) -> Path:
    """Make a log with so many rows: two fifths responses, two fifths decisions, a fifth telemetry; its path."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / LOG_NAME
    with closing(open_for_writing(path)) as log:
        log.execute("PRAGMA synchronous = OFF")
        log.execute("BEGIN")
        add(log, RESPONSE, _responses(random.Random(seed), rows * 2 // 5, nodes, start_ns))
        add(log, DECISION, _decisions(random.Random(seed + 1), rows * 2 // 5, nodes, start_ns))
        add(log, TELEMETRY, _telemetry(random.Random(seed + 2), rows - 2 * (rows * 2 // 5), nodes, start_ns))
        log.execute("COMMIT")
    return path


def add(log: sqlite3.Connection, measurement: Measurement, rows: Iterator[tuple[Any, ...]]) -> None:
    """Insert rows of `measurement.columns`."""
    marks = ", ".join("?" * len(measurement.columns))
    log.executemany(f"INSERT INTO {measurement.name} ({', '.join(measurement.columns)}) VALUES ({marks})", rows)


def _who(draw: random.Random, place: int, nodes: int) -> tuple[str, str, str, str, str]:
    model = draw.randrange(8)
    return "home", f"s{place % nodes}", draw.choice(TIERS), f"d{model}", draw.choice(("factored", "edge_only"))


def _responses(draw: random.Random, count: int, nodes: int, start_ns: int) -> Iterator[tuple[Any, ...]]:
    for place in range(count):
        site, node, tier, model, policy = _who(draw, place, nodes)
        outcome = draw.choices(("done", "fallen_back", "failed"), (90, 8, 2))[0]
        told = draw.random() < 0.97
        times = [draw.expovariate(1 / 40) for _ in range(6)]
        yield (
            start_ns + place * STEP_NS + draw.randrange(STEP_NS - 1), site, node, tier, model, policy, f"r{place:012d}",
            place // nodes if told else None, 3 if told else None, int(draw.random() < 0.1), 850 if told else None,
            outcome, node if tier == "end" else tier, TENTHS[int(model[1])], sum(times), *times,
            draw.choice(("tabby, tabby cat", 'a "quoted" label\\', None)), 1, 0,
            None if outcome == "done" else "no result within 5000 ms",
        )  # fmt: skip


def _decisions(draw: random.Random, count: int, nodes: int, start_ns: int) -> Iterator[tuple[Any, ...]]:
    for place in range(count):
        site, node, tier, model, policy = _who(draw, place, nodes)
        predicted = draw.expovariate(1 / 200)
        why: tuple[Any, ...] = (predicted, predicted / 9, "d0@edge", predicted * 1.1, 7.5, "floor,load", "best")
        if draw.random() < 0.1:
            why = (None,) * 7
        yield (
            start_ns + place * STEP_NS + draw.randrange(STEP_NS - 1), site, node, tier, model, policy, f"r{place:012d}",
            place // nodes, 3, int(draw.random() < 0.1), 850, node if tier == "end" else tier, "d4", 5000.0, *why,
        )  # fmt: skip


def _telemetry(draw: random.Random, count: int, nodes: int, start_ns: int) -> Iterator[tuple[Any, ...]]:
    for place in range(count):
        yield (
            start_ns + place * STEP_NS + draw.randrange(STEP_NS - 1), "home", f"s{place % nodes}",
            "end" if draw.random() < 0.99 else None, place // nodes, 100 * draw.random(), 100 * draw.random(),
            draw.choice(("regular", "weak")), draw.choice((None, draw.expovariate(1 / 3))),
            draw.choice((None, draw.expovariate(1 / 9))), draw.randrange(4), 0, 0, 0,
        )  # fmt: skip
