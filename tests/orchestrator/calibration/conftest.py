"""Logs of a site whose true coefficients are known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from broker.vocabulary import Action, Link, ModelName, NodeId, Tier
from configs.calibration import CalibrationConfig
from model_zoo.manifest import load_manifest
from orchestrator.calibration.fit import Calibrated, calibrate
from orchestrator.calibration.reading import read
from orchestrator.report import Filter
from orchestrator.response_log import open_for_writing
from orchestrator.simulator.files import find

START_NS = 1_795_000_000_000_000_000
STEP_NS = 1_000_000
DEVICES = ("s1", "s2", "s3", "s4", "s5")
D0 = ModelName("d0")
TRUTH = {
    "version": 1,
    "name": "truth",
    "models": {"d0": 80, "d1": 47, "d2": 25, "d3": 10.5, "d4": 50, "d5": 31, "d6": 17, "d7": 8},
    "speeds": {"s1": 0.5, "s2": 1, "s3": 1, "s4": 1, "s5": 2},
    "edge": {"vcpus": 2, "compute_ms": {"d0": 40}, "contention": 0.9},
    "cloud": {"vcpus": 4, "compute_ms": {"d0": 20}, "contention": 0.4},
    "links": {
        "regular": {"ask_ms": 3, "image_ms": 12},
        "weak": {"ask_ms": 30, "image_ms": 55},
        "edge_weak": {"ask_ms": 6, "image_ms": 9},
    },
    "deadline_ms": 1500,
    "origin": dict.fromkeys(("models", "speeds", "edge", "cloud", "links", "busy", "noise", "deadline_ms"), "invented"),
}


class SyntheticLog:
    """Writes what a site with the coefficients `truth` would have logged. One transaction, begun at once. Mutable."""

    def __init__(self, path: Path, seed: int = 1) -> None:
        self.path = path
        self.truth = CalibrationConfig.model_validate(TRUTH)
        self.random = np.random.default_rng(seed)
        self.sd = 0.03  # of the lognormal noise
        self.outliers = 0.0  # share of times that are ten times as long
        self.fifo = False  # edge and cloud with one worker; else all sharers end together
        self.weak: set[str] = set()  # nodes, as last told
        self.connection = open_for_writing(path)
        self.connection.execute("BEGIN")
        self.round = 0
        self._ticks = 0

    def _insert(self, table: str, **values: object) -> None:
        self._ticks += 1
        values["time_ns"] = START_NS + self._ticks * STEP_NS
        marks = ", ".join("?" * len(values))
        self.connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", tuple(values.values()))

    def links(self, *weak: str) -> None:
        """Telemetry of all nodes: these have a weak link, all others a regular one."""
        self.weak = set(weak)
        for node in (*DEVICES, "edge", "cloud"):
            self._insert(
                "telemetry", site="home", node=node, tier=node if node in ("edge", "cloud") else "end", seq=1,
                cpu_percent=5, memory_percent=30, link=Link.WEAK if node in weak else Link.REGULAR, queue_length=0,
                overruns=0, refused=0, emulated=0,
            )  # fmt: skip

    def play(
        self,
        actions: Mapping[str, Action],
        policy: str = "random",
        outcomes: Mapping[str, str] | None = None,
        numbered: bool = True,
    ) -> None:
        """One round. `outcomes`: of those that did not end as done; their times mean nothing."""
        self.round += 1
        sharers = Counter(action.tier for action in actions.values())
        places = {tier: self.random.permutation(sharers[tier]) for tier in Tier}
        taken = dict.fromkeys(Tier, 0)
        for node, action in actions.items():
            place = int(places[action.tier][taken[action.tier]])
            taken[action.tier] += 1
            stages = self._stages_ms(node, action, sharers[action.tier], place)
            self._store(node, action, policy, (outcomes or {}).get(node, "done"), stages, numbered)

    def _stages_ms(self, node: str, action: Action, sharers: int, place: int) -> tuple[float, float, float, float]:
        """Asking, the image, the queue and computing."""
        truth, edge_weak = self.truth, "edge" in self.weak
        link = truth.links.weak if node in self.weak else truth.links.regular
        ask_ms = link.ask_ms + edge_weak * truth.links.edge_weak.ask_ms
        image_ms = link.image_ms + edge_weak * truth.links.edge_weak.image_ms
        queue_ms = 0.0
        if action.tier is Tier.END:
            image_ms, compute_ms = 0.0, truth.models[action.model] / truth.speeds[NodeId(node)]
        else:
            tier = truth.edge if action.tier is Tier.EDGE else truth.cloud
            compute_ms = tier.compute_ms[action.model]
            if self.fifo:
                queue_ms = place * compute_ms
            else:
                compute_ms *= 1 + tier.contention * (sharers - 1) / tier.vcpus
        factor = self.random.lognormal(-(self.sd**2) / 2, self.sd) * (10 if self.random.random() < self.outliers else 1)
        return ask_ms * factor, image_ms * factor, queue_ms * factor, compute_ms * factor

    def _store(
        self,
        node: str,
        action: Action,
        policy: str,
        outcome: str,
        stages: tuple[float, float, float, float],
        numbered: bool,
    ) -> None:
        where = node if action.tier is Tier.END else str(action.tier)
        request = f"request-{self.round}-{node}"
        decided = {
            "site": "home", "node": node, "request_id": request, "round": self.round, "policy": policy,
            "policy_version": 1, "explored": 1, "floor_tenths": 850, "tier": action.tier, "model": action.model,
            "serving_node": where,
        }  # fmt: skip
        if numbered:
            self._insert("decision", **decided, fallback_model="d0", deadline_ms=self.truth.deadline_ms)
        if outcome != "done":
            decided |= {"tier": "end", "serving_node": node, "model": "d7"}
            stages = (stages[0], 0.0, 5000.0, stages[3])
        ask_ms, image_ms, queue_ms, compute_ms = stages
        self._insert(
            "response", **{**decided, "round": self.round if numbered else None}, outcome=outcome,
            response_ms=sum(stages), decide_ms=ask_ms, encode_ms=image_ms / 2, uplink_ms=image_ms / 4,
            downlink_ms=image_ms / 4, queue_ms=queue_ms, compute_ms=compute_ms, trained=0, emulated=0,
        )  # fmt: skip

    def play_random(self, rounds: int, models: tuple[str, ...] = tuple(TRUTH["models"])) -> None:
        """Rounds in which each device runs one of the models itself, or offloads (half of the time)."""
        everywhere = [Action(Tier.EDGE, D0), Action(Tier.CLOUD, D0)]
        for _ in range(rounds):
            actions = {}
            for node in DEVICES:
                local = Action(Tier.END, ModelName(models[self.random.integers(len(models))]))
                actions[node] = local if self.random.random() < 0.5 else everywhere[self.random.integers(2)]
            self.play(actions)

    def calibrate(self, **vcpus: int) -> Calibrated:
        """What the fit makes of it."""
        if self.connection.in_transaction:
            self.connection.execute("COMMIT")
        manifest = load_manifest()
        measured = read(self.connection, Filter(), manifest.models)
        return calibrate(measured, "found", find(CalibrationConfig, "a1-paper"), manifest, **vcpus)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SyntheticLog]:
    """An empty log of a site with the coefficients TRUTH."""
    synthetic = SyntheticLog(tmp_path / "log.sqlite3")
    with closing(synthetic.connection):
        yield synthetic
