"""The dynamics: `batch` copies of one site, played in step. What every form of the environment is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from broker.vocabulary import NodeId
from configs.calibration import NoiseSection
from configs.scenario import ScenarioConfig
from orchestrator.errors import SimulationRefused
from orchestrator.simulator.contention import fifo_shares
from orchestrator.simulator.noise import Blocks, Noise
from orchestrator.simulator.site import Bools, Floats, Site

STAGES = ("decide", "encode", "uplink", "queue", "compute", "downlink")  # as in a report
DECIDE, UPLINK, QUEUE, COMPUTE = (STAGES.index(name) for name in ("decide", "uplink", "queue", "compute"))
COMPONENTS = 3  # CPU, memory, link (Table 3)
IDLE_CPU_PERCENT, BUSY_CPU_PERCENT = 5.0, 95.0
IDLE_MEMORY_PERCENT = 30.0

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Played:
    """One round of B sites with N devices. Times in ms; `expected_ms` is the average without noise and outliers.

    `response_ms` (B, N), `stages_ms` (B, N, 6) in the order of STAGES, `missing` (B, N): no result came, the deadline
    counts; `mean_ms`, `expected_ms` (B,); `tenths` (B,): sum of the chosen models' accuracies; `floor_met` (B,).
    """

    response_ms: Floats
    stages_ms: Floats
    missing: Bools
    mean_ms: Floats
    expected_ms: Floats
    tenths: Ints
    floor_met: Bools


class Simulation:
    """Mutable: background load, the last round's own load, the round, and its streams of random numbers.

    `round` rounds are played, and `happened` of the scenario's events have happened: all that are due before the next
    one. `largest_ms`: no expected response time is above it, before or after any event.

    Noise, background load, the order on fifo tiers and outliers have a stream each, so what is drawn for one never
    depends on another.
    """

    def __init__(
        self, site: Site, scenario: ScenarioConfig, noise: NoiseSection, floor_tenths: int, batch: int
    ) -> None:
        self.site = site
        self.floor_tenths = floor_tenths
        self._start = site
        self._scenario = scenario
        self._noise_settings = noise
        self._batch = batch
        if batch < 1:
            raise SimulationRefused(f"{batch} sites at once; choose 1 or more")
        self._events = sorted(scenario.events, key=lambda event: event.round)
        self.largest_ms = site.largest_ms()
        check = site
        for event in self._events:
            check = check.after(event, site)
            self.largest_ms = max(self.largest_ms, check.largest_ms())
        self._starts, stops = _chain(site, scenario)
        self._stays = 1.0 - stops
        self._rows = np.arange(len(site.devices))
        self._own_end = scenario.own_load.end
        self._own_serving = np.array([scenario.own_load.edge, scenario.own_load.cloud])
        self._vcpus = np.array(site.vcpus)
        self.reset(None)

    def reset(self, seed: int | None) -> None:
        """Round 0: nobody busy, nothing done yet, every event still to come."""
        noise_seed, load_seed, order_seed, outlier_seed = np.random.SeedSequence(seed).spawn(4)
        batch, devices = self._batch, len(self._start.devices)
        self._noise = Noise(self._noise_settings, (batch, devices), np.random.default_rng(noise_seed))
        self._load = Blocks((batch, 2 + devices), np.random.default_rng(load_seed))
        self._order = Blocks((batch, devices), np.random.default_rng(order_seed))
        self._outliers = Blocks((batch, devices), np.random.default_rng(outlier_seed))
        self.busy = np.zeros((batch, 2 + devices), dtype=bool)
        self.own_cpu_percent = np.zeros((batch, 2 + devices))
        self._any_background = bool(self._starts.any())
        self._any_own = bool(self._own_end or self._own_serving.any())
        self.round = self.happened = 0
        self._use(self._start)
        self._happen()

    def _use(self, site: Site) -> None:
        self.site = site
        self._compute_ms = np.zeros((len(site.devices), len(site.actions)))
        self._compute_ms[:, : site.models] = site.local_ms
        self._ask_ms, self._image_ms = site.ask_ms, site.image_ms
        self._any_down, self._any_fifo = bool(site.down.any()), any(site.fifo)
        end, *serving = site.busy_factors
        self._busy_factors = np.array(serving + [end] * len(site.devices))
        weak = site.weak_links
        self._state = np.zeros((self._batch, COMPONENTS * len(weak)), dtype=np.float32)
        self._state[:, 1::COMPONENTS] = IDLE_MEMORY_PERCENT
        self._state[:, 2::COMPONENTS] = weak
        self._refresh()

    def _refresh(self) -> None:
        cpu_percent = self.own_cpu_percent + IDLE_CPU_PERCENT
        if self._any_background:
            cpu_percent += self.busy * (BUSY_CPU_PERCENT - IDLE_CPU_PERCENT)
        self._state[:, ::COMPONENTS] = np.minimum(100.0, cpu_percent)

    def state(self) -> npt.NDArray[np.float32]:
        """(B, 3 (2 + N)): CPU %, memory %, 1 for a weak link; of edge, cloud and each device. A copy (equation 3)."""
        return self._state.copy()

    def cpu_percent(self) -> npt.NDArray[np.float32]:
        """(B, 2 + N), of edge, cloud and each device; a view, which the next round changes."""
        return self._state[:, ::COMPONENTS]

    def weak_links(self) -> npt.NDArray[np.float32]:
        """(2 + N,): 1 for a weak link."""
        links: npt.NDArray[np.float32] = self._state[0, 2::COMPONENTS]
        return links

    def play(self, actions: Ints) -> Played:
        """One round; `actions` (B, N) are indices of `site.actions`. Raises SimulationRefused."""
        self._check(actions)
        self.round += 1
        site = self.site
        on_edge, on_cloud = actions == site.models, actions == site.models + 1
        asked = on_edge, on_cloud
        if self._any_down:  # a dead device asks for nothing
            alive = ~site.down[2:]
            asked = on_edge & alive, on_cloud & alive
        sharers = asked[0].sum(axis=1), asked[1].sum(axis=1)
        offloaded = on_edge | on_cloud
        compute_ms = self._compute_ms[self._rows, actions]
        edge_ms, cloud_ms = site.shared_ms[0][sharers[0]], site.shared_ms[1][sharers[1]]
        if self._any_background:
            factors = np.where(self.busy, self._busy_factors, 1.0)
            compute_ms *= factors[:, 2:]
            edge_ms *= factors[:, 0]
            cloud_ms *= factors[:, 1]
        compute_ms += on_edge * edge_ms[:, None] + on_cloud * cloud_ms[:, None]
        stages_ms = np.zeros((*actions.shape, len(STAGES)))
        stages_ms[..., DECIDE] = self._ask_ms
        stages_ms[..., UPLINK] = offloaded * self._image_ms
        stages_ms[..., COMPUTE] = compute_ms
        expected_ms = stages_ms.sum(axis=2)
        if self._any_fifo:
            self._queue(stages_ms, asked)
        missing = self._missing(on_edge, on_cloud)
        played = self._measured(stages_ms, expected_ms, missing, site.tenths[actions].sum(axis=1))
        self._pass_on(sharers, offloaded)
        return played

    def _happen(self) -> None:
        """What is due before the next round, so that whoever looks at the site before it sees it as it will be."""
        while self.happened < len(self._events) and self._events[self.happened].round <= self.round + 1:
            self._use(self.site.after(self._events[self.happened], self._start))
            self.happened += 1

    def _check(self, actions: Ints) -> None:
        if actions.shape != (self._batch, len(self._rows)):
            raise SimulationRefused(f"actions of shape {actions.shape}, not {(self._batch, len(self._rows))}")
        if actions.dtype.kind not in "iu":
            raise SimulationRefused(f"actions of type {actions.dtype}, not whole numbers")
        if actions.min() < 0 or actions.max() >= len(self.site.actions):
            raise SimulationRefused(f"an action outside 0 to {len(self.site.actions) - 1}")

    def _missing(self, on_edge: Bools, on_cloud: Bools) -> Bools | None:
        if not self._any_down:
            return None
        edge, cloud, devices = self.site.down[0], self.site.down[1], self.site.down[2:]
        missing: Bools = (on_edge & edge) | (on_cloud & cloud) | devices
        return missing

    def _queue(self, stages_ms: Floats, asked: tuple[Bools, Bools]) -> None:
        draws = self._order.row()
        for fifo, queued in zip(self.site.fifo, asked, strict=True):
            if fifo:
                wait, compute = fifo_shares(draws, queued)
                stages_ms[..., QUEUE] += wait * stages_ms[..., COMPUTE]
                stages_ms[..., COMPUTE] *= np.where(queued, compute, 1.0)

    def _factors(self) -> Floats:
        factors = self._noise.row()
        if self._noise_settings.outlier_percent:
            hit = self._outliers.row() < self._noise_settings.outlier_percent / 100
            factors = factors * np.where(hit, self._noise_settings.outlier_factor, 1.0)
        return factors

    def _measured(self, stages_ms: Floats, expected_ms: Floats, missing: Bools | None, tenths: Ints) -> Played:
        """`expected_ms` (B, N) is that of the stages but for the order on fifo tiers: their mean, not their sum."""
        factors = self._factors()
        response_ms = (stages_ms.sum(axis=2) if self._any_fifo else expected_ms) * factors
        stages_ms *= factors[..., None]
        if missing is None:
            missing = np.zeros(response_ms.shape, dtype=bool)
        else:
            expected_ms[missing] = response_ms[missing] = self.site.deadline_ms
            stages_ms[missing] = 0.0
        devices = len(self._rows)
        return Played(
            response_ms=response_ms,
            stages_ms=stages_ms,
            missing=missing,
            mean_ms=response_ms.sum(axis=1) / devices,
            expected_ms=expected_ms.sum(axis=1) / devices,
            tenths=tenths,
            floor_met=tenths >= devices * self.floor_tenths,
        )

    def _pass_on(self, sharers: tuple[Ints, Ints], offloaded: Bools) -> None:
        """What this round leaves for the next: own load in the telemetry, the background one step on, events due."""
        if self._any_own:
            used = np.minimum(1.0, np.stack(sharers, axis=1) / self._vcpus)
            self.own_cpu_percent[:, :2] = 100.0 * self._own_serving * used
            self.own_cpu_percent[:, 2:] = 100.0 * self._own_end * ~offloaded
        if self._any_background:
            self.busy = self._load.row() < np.where(self.busy, self._stays, self._starts)
        if self._any_background or self._any_own:
            self._refresh()
        if self.happened < len(self._events):
            self._happen()

    def save(self) -> dict[str, Any]:
        """JSON with which `load` goes on exactly here."""
        return {
            "round": self.round,
            "busy": self.busy.astype(int).tolist(),
            "own_cpu_percent": self.own_cpu_percent.tolist(),
            "noise": self._noise.save(),
            "load": self._load.save(),
            **{name: blocks.save() for name, blocks in self._further_streams().items()},
        }

    def _further_streams(self) -> dict[str, Blocks]:
        """Those that only some sites use; what others save is as it was before there were any."""
        used = {"order": any(self._start.fifo), "outliers": self._noise_settings.outlier_percent > 0}
        streams = {"order": self._order, "outliers": self._outliers}
        return {name: blocks for name, blocks in streams.items() if used[name]}

    def load(self, saved: dict[str, Any]) -> None:
        """Go on where `save` was called. Raises KeyError, TypeError, ValueError."""
        busy, own = np.array(saved["busy"], dtype=bool), np.array(saved["own_cpu_percent"], dtype=np.float64)
        if busy.shape != self.busy.shape or own.shape != self.own_cpu_percent.shape:
            raise ValueError("of another number of devices")
        self.reset(None)
        self.round = int(saved["round"])
        if self.round < 0:
            raise ValueError(f"round {self.round}")
        self._happen()
        self._noise.load(saved["noise"])
        self._load.load(saved["load"])
        for name, blocks in self._further_streams().items():
            blocks.load(saved[name])
        self.put(busy, own)

    def put(self, busy: Bools, own_cpu_percent: Floats) -> None:
        """Bring about a state: who is busy, and what the last round left in the telemetry; both (B, 2 + N).

        Also one that the scenario does not lead to; it lasts for one round then.
        """
        self.busy, self.own_cpu_percent = busy.copy(), own_cpu_percent.copy()
        self._any_background |= bool(busy.any())
        self._any_own |= bool(own_cpu_percent.any())
        self._refresh()

    def maximum_ms(self, wanted_ms: float | None = None) -> float:
        """Equation 4's constant: `wanted_ms`, or a third above any expected time, rounded up to 100 ms.

        So the default noise (3 %) does not reach it either. Raises SimulationRefused where `wanted_ms` would make a
        broken floor worth more than a response.
        """
        if wanted_ms is None:
            return math.ceil(self.largest_ms * 4 / 3 / 100) * 100.0
        if not self.largest_ms < wanted_ms < math.inf:
            raise SimulationRefused(
                f"maximum_response_ms {wanted_ms:g}: must be above any feasible response time, here "
                f"{self.largest_ms:.1f} ms, and finite"
            )
        return wanted_ms


def _chain(site: Site, scenario: ScenarioConfig) -> tuple[Floats, Floats]:
    """Probabilities of becoming busy and available, (2 + N,) each. Raises SimulationRefused."""
    starts, stops = np.zeros(2 + len(site.devices)), np.ones(2 + len(site.devices))
    site.places(scenario.background, "background")  # so that it tells all unknown names at once
    # A device's own entry counts more than the one for all.
    for node, chain in sorted(scenario.background.items(), key=lambda item: item[0] != NodeId("end")):
        places = site.places([node], "background")
        starts[places], stops[places] = chain.start, chain.stop
    return starts, stops
