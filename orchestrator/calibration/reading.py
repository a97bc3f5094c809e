"""Reads what a response log tells of a site's times: what was delivered, who shared a node, whose link was weak."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from broker.vocabulary import Link, ModelName, NodeId, Outcome, Tier
from orchestrator.calibration.robust import Floats, Ints
from orchestrator.errors import LogRefused, NothingLogged
from orchestrator.report import Filter

MOST_ROWS = 200_000  # the newest: a site changes, and more would tell no more
NO_ROUND = -1
TIERS = (Tier.END, Tier.EDGE, Tier.CLOUD)

Bools = npt.NDArray[np.bool_]

RESPONSES = """
SELECT time_ns, node, round, tier, model, serving_node, response_ms, decide_ms, encode_ms + uplink_ms + downlink_ms,
       emulated, site
FROM response WHERE outcome = ? AND response_ms > 0 AND {where} ORDER BY id DESC LIMIT ?
"""
# When a node's link began to be what it was until the next such row.
LINK_CHANGES = """
SELECT node, time_ns, link, tier FROM (
    SELECT node, time_ns, link, tier, lag(link) OVER (PARTITION BY node ORDER BY time_ns) AS before FROM telemetry
) WHERE before IS NOT link ORDER BY node, time_ns
"""


@dataclass(frozen=True, slots=True)
class Measured:
    """R delivered requests, oldest first; all arrays are (R,), times in ms.

    `node`, `model`, `tier` and `serving` are places in `nodes`, `models`, TIERS and the serving nodes; `round` is
    NO_ROUND where the device was never told one. `decide_ms`: asking; `image_ms`: encoding, image up and result down;
    `compute_ms`: all the rest, the queue and what no stage names included. `weak`: the device's link, `edge_weak`: that
    of an edge node, as last told before. `sharers`: how many devices offloaded to the same node in the same round, 0
    where that is not known or the task was local; it is known if all that were sent there were delivered. `whole`:
    every request of its round was delivered. `deadline_ms` of the newest decision, None without any.
    """

    site: str
    nodes: tuple[NodeId, ...]
    models: tuple[ModelName, ...]
    time_ns: Ints
    node: Ints
    model: Ints
    tier: Ints
    serving: Ints
    round: Ints
    response_ms: Floats
    decide_ms: Floats
    image_ms: Floats
    compute_ms: Floats
    weak: Bools
    edge_weak: Bools
    sharers: Ints
    whole: Bools
    emulated: Bools
    deadline_ms: float | None
    notes: tuple[str, ...]


def read(connection: sqlite3.Connection, only: Filter, known: Collection[ModelName]) -> Measured:
    """The delivered requests of `only`, with the `known` models. Raises NothingLogged, LogRefused."""
    try:
        return _read(connection, only, known)
    except sqlite3.Error as error:
        raise LogRefused(f"cannot read the response log: {error}") from error


def _read(connection: sqlite3.Connection, only: Filter, known: Collection[ModelName]) -> Measured:
    where, values = only.clause()
    found = connection.execute(RESPONSES.format(where=where), (Outcome.DONE, *values, MOST_ROWS)).fetchall()[::-1]
    rows = [row for row in found if row[4] in known]
    if not rows:
        raise NothingLogged("the response log has no delivered request there; let the site run, or take another span")
    time_ns, node, round_, tier, model, serving, response, decide, image, emulated, site = zip(*rows, strict=True)
    nodes, node_place = np.unique(np.array(node), return_inverse=True)
    models, model_place = np.unique(np.array(model), return_inverse=True)
    serving_nodes, serving_place = np.unique(np.array(serving), return_inverse=True)
    times_ns = np.array(time_ns, dtype=np.int64)
    rounds = np.array([NO_ROUND if number is None else number for number in round_], dtype=np.int64)
    tiers = np.array([TIERS.index(Tier(name)) for name in tier], dtype=np.int64)
    response_ms, decide_ms, image_ms = (np.array(ms, dtype=np.float64) for ms in (response, decide, image))
    links = _Links(connection)
    sent = _sent(connection, rounds)
    return Measured(
        site=str(site[-1]),
        nodes=tuple(NodeId(str(name)) for name in nodes),
        models=tuple(ModelName(str(name)) for name in models),
        time_ns=times_ns,
        node=node_place,
        model=model_place,
        tier=tiers,
        serving=serving_place,
        round=rounds,
        response_ms=response_ms,
        decide_ms=decide_ms,
        image_ms=image_ms,
        compute_ms=response_ms - decide_ms - image_ms,
        weak=links.weak(node_place, nodes.tolist(), times_ns),
        edge_weak=links.edge_weak(times_ns),
        sharers=_sharers(rounds, tiers, serving_place, serving_nodes.tolist(), sent),
        whole=_whole(rounds, sent),
        emulated=np.array(emulated, dtype=bool),
        deadline_ms=_deadline_ms(connection),
        notes=_notes(len(found), len(rows), links.unknown(times_ns)),
    )


def _notes(found: int, used: int, before_telemetry: int) -> tuple[str, ...]:
    notes = []
    if found == MOST_ROWS:
        notes.append(f"Only the newest {MOST_ROWS} delivered requests were read.")
    if used < found:
        notes.append(f"{found - used} requests with models that are not in the manifest were left out.")
    if before_telemetry:
        notes.append(f"{before_telemetry} requests are older than all telemetry kept; their links count as regular.")
    return tuple(notes)


class _Links:
    """Whose link was weak when, after the telemetry."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        changes: dict[str, list[tuple[int, bool]]] = {}
        self._edges: set[str] = set()
        for node, time_ns, link, tier in connection.execute(LINK_CHANGES):
            changes.setdefault(node, []).append((time_ns, link == Link.WEAK))
            if tier == Tier.EDGE:
                self._edges.add(node)
        self._times = {node: np.array([time_ns for time_ns, _ in told]) for node, told in changes.items()}
        self._weak = {node: np.array([False, *(weak for _, weak in told)]) for node, told in changes.items()}

    def _of(self, node: str, times_ns: Ints) -> Bools:
        """The last word of `node` at or before each time; regular before the first."""
        if node not in self._times:
            return np.zeros(len(times_ns), dtype=bool)
        weak: Bools = self._weak[node][np.searchsorted(self._times[node], times_ns, side="right")]
        return weak

    def weak(self, node: Ints, nodes: list[str], times_ns: Ints) -> Bools:
        weak = np.zeros(len(times_ns), dtype=bool)
        for place, name in enumerate(nodes):
            own = node == place
            weak[own] = self._of(name, times_ns[own])
        return weak

    def edge_weak(self, times_ns: Ints) -> Bools:
        weak = np.zeros(len(times_ns), dtype=bool)
        for name in self._edges:
            weak |= self._of(name, times_ns)
        return weak

    def unknown(self, times_ns: Ints) -> int:
        """How many of the times lie before all telemetry."""
        first = min((times[0] for times in self._times.values()), default=None)
        return 0 if first is None else int((times_ns < first).sum())


def _sent(connection: sqlite3.Connection, rounds: Ints) -> Counter[tuple[int, str]]:
    """How many requests of each round were sent to each node, after the decisions."""
    query = "SELECT round, serving_node, count(*) FROM decision WHERE round >= ? GROUP BY 1, 2"
    numbered = rounds[rounds != NO_ROUND]
    first = int(numbered.min()) if len(numbered) else 0
    return Counter({(number, node): count for number, node, count in connection.execute(query, (first,))})


def _sharers(rounds: Ints, tiers: Ints, serving: Ints, names: list[str], sent: Counter[tuple[int, str]]) -> Ints:
    shared = (rounds != NO_ROUND) & (tiers != TIERS.index(Tier.END))
    keys = list(zip(rounds[shared].tolist(), (names[place] for place in serving[shared]), strict=True))
    delivered = Counter(keys)
    sharers = np.zeros(len(rounds), dtype=np.int64)
    sharers[shared] = [delivered[key] if delivered[key] >= sent[key] else 0 for key in keys]
    return sharers


def _whole(rounds: Ints, sent: Counter[tuple[int, str]]) -> Bools:
    delivered = Counter(rounds.tolist())
    decided: Counter[int] = Counter()
    for (number, _), count in sent.items():
        decided[number] += count
    return np.array([number != NO_ROUND and delivered[number] >= decided[number] for number in rounds.tolist()])


def _deadline_ms(connection: sqlite3.Connection) -> float | None:
    newest = connection.execute("SELECT deadline_ms FROM decision ORDER BY id DESC LIMIT 1").fetchone()
    return None if newest is None else float(newest[0])
