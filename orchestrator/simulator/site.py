"""What response times on one site are made of: the coefficients of a calibration, laid out per device and action.

Frozen: an event makes another site of it. All times are expectations in ms, before measurement noise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from broker.vocabulary import Action, Link, ModelName, NodeId, Tier
from configs.calibration import CalibrationConfig, LinkCost, Queue, TierSection
from configs.demo import ExperimentConfig
from configs.scenario import EventKind, EventSection
from orchestrator.accuracy import Accuracies
from orchestrator.errors import SimulationRefused
from orchestrator.simulator.contention import shared_ms
from orchestrator.simulator.device_draws import interaction_factors, speeds
from orchestrator.solver.problem import Problem

MOST_DEVICES = 10_000
TABLE5_DEVICES = 5  # of the paper's experiments; further devices repeat their links
SERVING = (Tier.EDGE, Tier.CLOUD)
NO_CLOUD_LINK = "the cloud has no link of its own (Table 5); name edge or devices"

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Site:
    """N devices, M local models, A = M + 2 actions: local in the manifest's order, then edge, then cloud.

    `local_ms` (N, M); `shared_ms` (2, N + 1): compute of one job when k are on the edge, on the cloud, index 0 unused;
    `weak` (N,); `busy_factors` end, edge, cloud; `deficits` and `tenths` (A,) in tenths of a point. Of edge, cloud and
    each device (2 + N,): `down`, and `slow`, the factor of events that is in `local_ms` and `shared_ms` already, as is
    `delay_ms` (2,) of edge and cloud. `fifo`: whether edge and cloud serve one job after the other; `shared_ms` is the
    mean over the sharers then.
    """

    devices: tuple[NodeId, ...]
    actions: tuple[Action, ...]
    tenths: npt.NDArray[np.int64]
    best_tenths: int
    local_ms: Floats
    shared_ms: Floats
    weak: Bools
    edge_weak: bool
    links: tuple[LinkCost, LinkCost, LinkCost]
    vcpus: tuple[int, int]
    busy_factors: tuple[float, float, float]
    down: Bools
    slow: Floats
    delay_ms: Floats
    deadline_ms: float
    fifo: tuple[bool, bool] = (False, False)

    @property
    def models(self) -> int:
        """M."""
        return len(self.actions) - len(SERVING)

    @property
    def deficits(self) -> npt.NDArray[np.int64]:
        """(A,): how many tenths each action lacks to the best model."""
        return self.best_tenths - self.tenths

    @property
    def ask_ms(self) -> Floats:
        """(N,): request and decision of each device."""
        return self._per_link([link.ask_ms for link in self.links])

    @property
    def image_ms(self) -> Floats:
        """(N,): image and result of each device, if it offloads."""
        return self._per_link([link.image_ms for link in self.links])

    def _per_link(self, costs_ms: Sequence[float]) -> Floats:
        regular, weak, edge_weak = costs_ms
        return np.where(self.weak, weak, regular) + (edge_weak if self.edge_weak else 0.0)

    @property
    def weak_links(self) -> Bools:
        """(2 + N,) of edge, cloud and each device; the cloud's is never weak."""
        return np.concatenate([[self.edge_weak, False], self.weak])

    def budget(self, floor_tenths: int) -> int:
        """The sum of deficits that the floor allows to all devices together."""
        return len(self.devices) * (self.best_tenths - floor_tenths)

    def problem(self, floor_tenths: int, busy: Bools) -> Problem:
        """The decision problem of one round, `busy` (2 + N,) of edge, cloud and each device. The solver proves it.

        A device that is down costs the deadline whatever it does, so its optimum is local, if it has a model that keeps
        the floor. Where it offloads, the problem charges it its share of the tier on top; the simulation does not.
        """
        end, *serving = self.busy_factors
        own_ms = np.empty((len(self.devices), len(self.actions)))
        own_ms[:, : self.models] = self.local_ms * np.where(busy[2:], end, 1.0)[:, None]
        own_ms[:, self.models :] = self.image_ms[:, None]
        own_ms += self.ask_ms[:, None]
        shared_ms = self.shared_ms * np.where(busy[:2], serving, 1.0)[:, None]
        for place in np.flatnonzero(self.down[:2]):
            own_ms[:, self.models + place] = self.deadline_ms
            shared_ms[place] = 0.0
        own_ms[self.down[2:]] = self.deadline_ms
        tier = np.array([0] * self.models + [1, 2])
        return Problem(own_ms, tier, self.deficits, shared_ms, self.budget(floor_tenths))

    def largest_ms(self) -> float:
        """No expected response time is above it, whatever all do and however busy the nodes are.

        On a fifo tier that is the expectation over the order; the last of many takes almost twice that.
        """
        end, *serving = self.busy_factors
        local = float((self.local_ms * end).max())
        shared = float((self.shared_ms[:, 1:] * np.array(serving)[:, None]).max() + self.image_ms.max())
        largest = max(local, shared) + float(self.ask_ms.max())
        return max(largest, self.deadline_ms) if self.down.any() else largest

    def after(self, event: EventSection, start: Site) -> Site:
        """This site after `event`; `start` is the site before the first. Raises SimulationRefused."""
        places = self.places(event.nodes, f"the event of round {event.round}")
        if event.kind is EventKind.LINK:
            if 1 in places:
                raise SimulationRefused(NO_CLOUD_LINK)
            return self._with_links(places, np.full(len(self.down), event.link is Link.WEAK))
        slow, delay_ms, down = self.slow.copy(), self.delay_ms.copy(), self.down.copy()
        serving = [place for place in places if place < len(SERVING)]
        if event.kind is EventKind.SLOW:
            slow[places] = event.factor or 1.0
        elif event.kind is EventKind.DELAY:
            delay_ms[serving] = event.ms or 0.0
        elif event.kind is EventKind.DOWN:
            down[places] = True
        else:
            slow[places], delay_ms[serving], down[places] = 1.0, 0.0, False
        changed = replace(
            self,
            local_ms=start.local_ms * slow[2:, None],
            shared_ms=start.shared_ms * slow[:2, None] + delay_ms[:, None],
            slow=slow,
            delay_ms=delay_ms,
            down=down,
        )
        if event.kind is EventKind.RESTORE:
            return changed._with_links(places, start.weak_links)
        return changed

    def places(self, nodes: Iterable[NodeId], who: str) -> list[int]:
        """Where in (2 + N,) `nodes` are: edge, cloud, devices by number (s1 is s01 too), `end` for all devices.

        Raises SimulationRefused, saying that it is `who` that names another.
        """
        known = {"edge": [0], "cloud": [1], "end": list(range(2, len(self.down)))}
        found, unknown = [], []
        for node in nodes:
            number = device_number(node)
            if node in known:
                found += known[node]
            elif number is not None and number <= len(self.devices):
                found.append(1 + number)
            else:
                unknown.append(node)
        if unknown:
            raise SimulationRefused(
                f"{who} names {', '.join(unknown)}; the site has edge, cloud, end (all devices), {self.devices[0]} to "
                f"{self.devices[-1]}"
            )
        return found

    def _with_links(self, places: list[int], weak: Bools) -> Site:
        links = self.weak_links
        links[places] = weak[places]
        return replace(self, weak=links[2:], edge_weak=bool(links[0]))


def site_of(calibration: CalibrationConfig, experiment: ExperimentConfig, users: int, accuracies: Accuracies) -> Site:
    """The site of `users` devices. Raises SimulationRefused.

    A device that the experiment does not name has the link of s1 to s5, in turn (Table 5 has five devices). The
    calibration and the experiment may name more devices than there are.
    """
    if not 1 <= users <= MOST_DEVICES:
        raise SimulationRefused(f"{users} users; choose 1 to {MOST_DEVICES}")
    names = _device_names(users)
    models = [model for model in accuracies.tenths if model in calibration.models]
    tiers = (calibration.edge, calibration.cloud)
    timed = set(calibration.models).union(*(tier.compute_ms for tier in tiers))
    if unknown := sorted(timed - set(accuracies.tenths)):
        raise SimulationRefused(f"no accuracy is known of {', '.join(unknown)}; have {', '.join(accuracies.tenths)}")
    served = [_served(tier, accuracies) for tier in tiers]
    actions = [Action(Tier.END, model) for model in models]
    actions += [Action(tier, model) for tier, model in zip(SERVING, served, strict=True)]
    links = calibration.links
    return Site(
        devices=tuple(names),
        actions=tuple(actions),
        tenths=np.array([accuracies.tenths[action.model] for action in actions]),
        best_tenths=accuracies.best_tenths,
        local_ms=_local_ms(calibration, models, users),
        shared_ms=np.stack([shared_ms(tier, model, users) for tier, model in zip(tiers, served, strict=True)]),
        weak=_weak(experiment, users),
        edge_weak=experiment.links.get(NodeId("edge")) is Link.WEAK,
        links=(links.regular, links.weak, links.edge_weak),
        vcpus=(calibration.edge.vcpus, calibration.cloud.vcpus),
        busy_factors=(calibration.busy.end, calibration.busy.edge, calibration.busy.cloud),
        down=np.zeros(2 + users, dtype=bool),
        slow=np.ones(2 + users),
        delay_ms=np.zeros(2),
        deadline_ms=calibration.deadline_ms,
        fifo=(calibration.edge.queue is Queue.FIFO, calibration.cloud.queue is Queue.FIFO),
    )


def _local_ms(calibration: CalibrationConfig, models: Sequence[ModelName], users: int) -> Floats:
    """(N, M). Raises SimulationRefused."""
    speed_of = _by_number(calibration.speeds, "the calibration's speeds")
    drawn = speeds(calibration.speed_spread, users)
    speed = np.array([speed_of.get(place, drawn[place]) for place in range(users)])
    local_ms: Floats = np.array([calibration.models[model] for model in models]) / speed[:, None]
    if calibration.interactions.sd_percent:
        local_ms = local_ms * interaction_factors(calibration.interactions, users, len(models))
    return local_ms


def _device_names(users: int) -> list[NodeId]:
    """s1, s2, ... padded so that the order of names is the order of numbers."""
    width = len(str(users))
    return [NodeId(f"s{number:0{width}d}") for number in range(1, users + 1)]


def device_number(node: str) -> int | None:
    """1 of s1, and of s01 where there are more; None of what is no device's name."""
    match = re.fullmatch(r"s0*([1-9][0-9]*)", node)
    return int(match[1]) if match else None


def _by_number(of_devices: Mapping[NodeId, V], who: str) -> dict[int, V]:
    """By the device's place, from 0. Raises SimulationRefused where a name is none of a device."""
    numbers = {node: device_number(node) for node in of_devices}
    if unknown := [node for node, number in numbers.items() if number is None]:
        raise SimulationRefused(f"{who} name {', '.join(unknown)}; simulated devices are called s1, s2, ...")
    return {number - 1: of_devices[node] for node, number in numbers.items() if number is not None}


def _weak(experiment: ExperimentConfig, users: int) -> Bools:
    if experiment.links.get(NodeId("cloud")) is Link.WEAK:
        raise SimulationRefused(NO_CLOUD_LINK)
    of_devices = {node: link for node, link in experiment.links.items() if node not in ("edge", "cloud")}
    link_of = _by_number(of_devices, "the experiment's links")
    links = [link_of.get(place, link_of.get(place % TABLE5_DEVICES)) for place in range(users)]
    return np.array([link is Link.WEAK for link in links])


def _served(tier: TierSection, accuracies: Accuracies) -> ModelName:
    """Edge and cloud always run their most accurate model (section 4.2)."""
    return max(tier.compute_ms, key=lambda model: (accuracies.tenths[model], -accuracies.cost[model]))
