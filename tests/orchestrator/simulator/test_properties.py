"""What holds on every site: more load is never faster, and the solver's problem is what the simulation plays."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.calibration import CalibrationConfig, NoiseSection
from configs.demo import ExperimentConfig
from configs.scenario import EventSection, ScenarioConfig
from orchestrator.accuracy import Accuracies
from orchestrator.simulator.simulation import Simulation
from orchestrator.simulator.site import Site, site_of
from orchestrator.solver.exact import solve

SILENT = NoiseSection(distribution="none")
STILL = ScenarioConfig(version=1, name="still")
MODELS = [f"d{place}" for place in range(8)]
COEFFICIENTS = ["models", "speeds", "edge", "cloud", "links", "busy", "noise", "deadline_ms"]
MOST_USERS = 6

MS = st.floats(0.5, 500).map(lambda ms: round(ms, 3))
FACTOR = st.floats(1, 5).map(lambda factor: round(factor, 3))
TIER = st.fixed_dictionaries(
    {"vcpus": st.integers(1, 8), "compute_ms": st.fixed_dictionaries({"d0": MS}), "contention": FACTOR}
)
COST = st.fixed_dictionaries({"ask_ms": MS, "image_ms": MS})
# A weak link is no faster than a regular one.
LINKS = st.tuples(COST, COST, COST).map(
    lambda costs: {
        "regular": costs[0],
        "weak": {name: costs[0][name] + costs[1][name] for name in costs[0]},
        "edge_weak": costs[2],
    }
)
CALIBRATIONS = st.fixed_dictionaries(
    {
        "models": st.dictionaries(st.sampled_from(MODELS), MS, min_size=1),
        "speeds": st.dictionaries(st.sampled_from([f"s{n}" for n in range(1, MOST_USERS + 1)]), FACTOR),
        "edge": TIER,
        "cloud": TIER,
        "links": LINKS,
        "busy": st.fixed_dictionaries({"end": FACTOR, "edge": FACTOR, "cloud": FACTOR}),
        "deadline_ms": MS.map(lambda ms: ms * 20),
    }
)


@st.composite
def sites(draw: Any, accuracies: Accuracies) -> Site:
    """A site of one to six devices with any links and coefficients, after an event or two."""
    body = {**draw(CALIBRATIONS), "origin": dict.fromkeys(COEFFICIENTS, "drawn"), "version": 1, "name": "drawn"}
    weak = draw(st.sets(st.sampled_from(["edge", *(f"s{n}" for n in range(1, MOST_USERS + 1))])))
    experiment = ExperimentConfig.model_validate({"version": 1, "name": "drawn", "links": dict.fromkeys(weak, "weak")})
    start = site = site_of(
        CalibrationConfig.model_validate(body), experiment, draw(st.integers(1, MOST_USERS)), accuracies
    )
    for kind, given_to in draw(
        st.lists(st.sampled_from([("slow", "edge"), ("slow", "s1"), ("delay", "cloud")]), max_size=2)
    ):
        extra = {"factor": draw(FACTOR)} if kind == "slow" else {"ms": draw(MS)}
        site = site.after(EventSection.model_validate({"round": 1, "kind": kind, "nodes": [given_to], **extra}), start)
    return site


def joint_actions(draw: Any, site: Site) -> list[int]:
    """Of all devices, one column each."""
    users = len(site.devices)
    drawn: list[int] = draw(st.lists(st.integers(0, len(site.actions) - 1), min_size=users, max_size=users))
    return drawn


def busy_nodes(draw: Any, site: Site) -> Any:
    """Any of edge, cloud and the devices."""
    count = 2 + len(site.devices)
    return np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)))


def expected_ms(site: Site, actions: list[int], busy: Any) -> Any:
    """(N,): what the simulation takes for one round without noise."""
    simulation = Simulation(site, STILL, SILENT, 0, 1)
    simulation.put(busy[None], np.zeros((1, len(busy))))
    return simulation.play(np.array([actions])).response_ms[0]


@given(st.data())
def test_the_problem_is_what_the_simulation_plays(accuracies: Accuracies, data: Any) -> None:
    """Any joint action, busy nodes, links and events; with edge or cloud down too: the same sum, to rounding."""
    site = data.draw(sites(accuracies))
    site = replace(site, down=np.array([*data.draw(st.tuples(st.booleans(), st.booleans())), *site.down[2:]]))
    actions, busy = joint_actions(data.draw, site), busy_nodes(data.draw, site)
    problem = site.problem(0, busy)

    assert problem.total_ms(actions) == pytest.approx(expected_ms(site, actions, busy).sum(), rel=1e-12)


@given(st.data())
def test_the_problem_judges_the_floor_as_the_simulation_does(accuracies: Accuracies, data: Any) -> None:
    """At any floor in tenths."""
    site = data.draw(sites(accuracies))
    actions, floor_tenths = joint_actions(data.draw, site), data.draw(st.integers(700, 899))
    played = Simulation(site, STILL, SILENT, floor_tenths, 1).play(np.array([actions]))
    problem = site.problem(floor_tenths, np.zeros(2 + len(site.devices), dtype=bool))

    assert problem.feasible(actions) == played.floor_met[0]
    assert accuracies.meets((site.actions[place].model for place in actions), floor_tenths) == played.floor_met[0]


@given(st.data())
def test_the_optimum_is_the_simulations_too_when_nodes_are_down(make_site: Any, data: Any) -> None:
    """Two devices that have d0: of their 100 joint actions none that keeps the floor takes less in the simulation."""
    nodes = st.lists(st.booleans(), min_size=4, max_size=4)
    site = replace(make_site(2, {"s1": "weak"}), down=np.array(data.draw(nodes)))
    busy, floor_tenths = np.array(data.draw(nodes)), data.draw(st.sampled_from([0, 850, 890, 899]))
    best = solve(site.problem(floor_tenths, busy))
    simulation = Simulation(site, STILL, SILENT, floor_tenths, 100)
    simulation.put(np.tile(busy, (100, 1)), np.zeros((100, 4)))
    played = simulation.play(np.array(list(product(range(10), repeat=2))))

    assert best.total_ms == pytest.approx(expected_ms(site, list(best.actions), busy).sum(), rel=1e-12)
    assert best.mean_ms == pytest.approx(played.expected_ms[played.floor_met].min(), rel=1e-12)


@given(st.data())
def test_no_expected_time_is_above_the_largest(accuracies: Accuracies, data: Any) -> None:
    """Whatever all do, however busy they are and whoever is down; and the constant lies above it."""
    site = data.draw(sites(accuracies))
    down = data.draw(st.lists(st.booleans(), min_size=2 + len(site.devices), max_size=2 + len(site.devices)))
    site = replace(site, down=np.array(down))
    actions, busy = joint_actions(data.draw, site), busy_nodes(data.draw, site)

    assert expected_ms(site, actions, busy).max() <= site.largest_ms() * (1 + 1e-12)
    assert site.largest_ms() < Simulation(site, STILL, SILENT, 0, 1).maximum_ms()


@given(st.data())
def test_the_largest_is_the_largest_after_any_event(accuracies: Accuracies, data: Any) -> None:
    """A scenario's constant bounds every round of it."""
    site = data.draw(sites(accuracies))
    kinds = st.sampled_from(
        [{"kind": "slow", "factor": 3}, {"kind": "link", "link": "weak"}, {"kind": "down"}, {"kind": "restore"}]
    )
    events = [
        {"round": number, "nodes": data.draw(st.sampled_from([["edge"], ["end"], ["s1", "edge"]])), **data.draw(kinds)}
        for number in range(1, 5)
    ]
    happening = {"events": events, "background": {"end": {"start": 0.5, "stop": 0.5}}}
    scenario = ScenarioConfig.model_validate({"version": 1, "name": "drawn", **happening})
    simulation = Simulation(site, scenario, SILENT, 0, 1)
    simulation.reset(data.draw(st.integers(0, 1000)))
    for _ in range(6):
        played = simulation.play(np.array([joint_actions(data.draw, site)]))
        assert played.response_ms.max() <= simulation.largest_ms * (1 + 1e-12)


@given(st.data())
def test_one_more_sharer_is_faster_for_nobody_else(accuracies: Accuracies, data: Any) -> None:
    """A local device moves to the edge or the cloud."""
    site = data.draw(sites(accuracies))
    actions, busy = joint_actions(data.draw, site), busy_nodes(data.draw, site)
    mover = data.draw(st.integers(0, len(site.devices) - 1))
    local, moved = list(actions), list(actions)
    local[mover], moved[mover] = 0, site.models + data.draw(st.integers(0, 1))
    others = np.arange(len(actions)) != mover
    before, after = expected_ms(site, local, busy), expected_ms(site, moved, busy)

    assert (after >= before)[others].all()


def _changes(site: Site, busy: Any, place: int, factor: float) -> dict[str, tuple[Site, Any]]:
    """Ways to make node `place` of (2 + N,) slower."""
    busier = busy.copy()
    busier[place] = True
    name = ["edge", "cloud", *site.devices][place]
    slow = {"round": 1, "kind": "slow", "nodes": [name], "factor": float(site.slow[place]) * factor}
    changes = {"busy": (site, busier), "slow": (site.after(EventSection.model_validate(slow), _at_start(site)), busy)}
    if place != 1:
        weak = {"round": 1, "kind": "link", "nodes": [name], "link": "weak"}
        changes["weak"] = (site.after(EventSection.model_validate(weak), site), busy)
    if place < 2:
        delay = {"round": 1, "kind": "delay", "nodes": [name], "ms": float(site.delay_ms[place]) + factor}
        changes["delay"] = (site.after(EventSection.model_validate(delay), _at_start(site)), busy)
    return changes


def _at_start(site: Site) -> Site:
    """The site before its events."""
    shared_ms = (site.shared_ms - site.delay_ms[:, None]) / site.slow[:2, None]
    return replace(site, local_ms=site.local_ms / site.slow[2:, None], shared_ms=shared_ms)


@given(st.data())
def test_a_slower_node_is_faster_for_nobody(accuracies: Accuracies, data: Any) -> None:
    """A node becomes busy, slow or late, or its link weak: no device's expected time falls."""
    site = data.draw(sites(accuracies))
    actions, busy = joint_actions(data.draw, site), busy_nodes(data.draw, site)
    place, factor = data.draw(st.integers(0, len(busy) - 1)), data.draw(FACTOR)
    before = expected_ms(site, actions, busy)
    for what, (changed, then_busy) in _changes(site, busy, place, factor).items():
        after = expected_ms(changed, actions, then_busy)

        assert (after >= before * (1 - 1e-9)).all(), what
