"""What `solve_within` certifies is true: its joint action is feasible, and no joint action is below its bound."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import FloorUnreachable
from orchestrator.solver import bounded, mixed_integer
from orchestrator.solver.bounded import Bounded, Prices, solve_within
from orchestrator.solver.exact import brute_force, solve
from orchestrator.solver.problem import Problem
from orchestrator.solver.reduction import reduce

INF = float("inf")
GAP = 0.001
TABLE4_DEFICITS = [0, 17, 50, 157, 10, 29, 67, 171]  # of d0 to d7, tenths of a point
LOCAL_MS = np.array([459.0, 260, 150, 75, 230, 155, 100, 72])
FLOORS_TENTHS = {"min": 728, "80": 800, "85": 850, "89": 890, "max": 899}
SHAPES = ("convex", "kinked", "saturating", "steep", "flat", "constant")


def shared_ms(shape: str, devices: int) -> npt.NDArray[np.float64]:
    """What each of k sharers pays. All but steep and constant are scaled with the number of devices."""
    k = np.arange(devices + 1.0)
    kink = max(1, devices // 10)
    return {
        "convex": np.stack([100 + 300 * k / devices, 140 + 200 * (k / devices) ** 1.5]),
        "kinked": np.stack([100 * np.maximum(1, k / (2 * kink)), 140 * np.maximum(1, k / (4 * kink))]),
        "saturating": np.stack([60 * np.clip(k / kink, 1, 4), 80 * np.clip(k / (2 * kink), 1, 3)]),
        "steep": np.stack([60 * np.maximum(1, k / 2) ** 1.3, 80 * np.maximum(1, k / 3) ** 1.2]),
        "flat": np.stack([90 + 20 * np.sqrt(k / devices), 100 + 60 * k / devices]),
        "constant": np.stack([np.full(devices + 1, 90.0), np.full(devices + 1, 130.0)]),
    }[shape]


def unlike_devices(devices: int, shape: str, floor: str, seed: int) -> Problem:
    """The paper's ten actions for devices that are up to eight times as fast as another, no two of them alike."""
    random = np.random.default_rng(seed)
    own_ms = np.empty((devices, 10))
    own_ms[:, :8] = LOCAL_MS * random.uniform(0.5, 4, (devices, 1)) * random.normal(1, 0.05, (devices, 8)).clip(0.7)
    own_ms[:, 8:] = random.uniform(20, 160, (devices, 2))
    return Problem(
        own_ms=own_ms,
        tier=np.array([0] * 8 + [1, 2]),
        deficits=np.array([*TABLE4_DEFICITS, 0, 0]),
        shared_ms=shared_ms(shape, devices),
        budget=devices * (899 - FLOORS_TENTHS[floor]),
    )


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Up to 6 devices with up to 5 actions of any kind; sharing in any shape, and "cannot" anywhere."""
    devices, actions = draw(st.integers(1, 6)), draw(st.integers(1, 5))
    times_ms = st.one_of(st.integers(0, 4000).map(lambda eighths: eighths / 8), st.sampled_from([0.0, 100.0, INF]))
    rows = st.lists(times_ms, min_size=actions, max_size=actions)
    sharing = st.lists(times_ms, min_size=devices + 1, max_size=devices + 1)
    return Problem(
        own_ms=np.array(draw(st.lists(rows, min_size=devices, max_size=devices))),
        tier=np.array(draw(st.lists(st.integers(0, 2), min_size=actions, max_size=actions))),
        deficits=np.array(draw(st.lists(st.sampled_from(TABLE4_DEFICITS), min_size=actions, max_size=actions))),
        shared_ms=np.array(draw(st.lists(sharing, min_size=2, max_size=2))),
        budget=draw(st.integers(-10, 171 * devices)),
    )


@contextmanager
def priced() -> Iterator[None]:
    """Small problems too go the way of the large ones."""
    with mock.patch.object(bounded, "FEW_DEVICES", 0):
        yield


def checked(problem: Problem, found: Bounded) -> Bounded:
    """`found`, if it is what it says of itself."""
    assert problem.feasible(found.actions)
    assert problem.total_ms(found.actions) == found.total_ms
    assert problem.deficits[list(found.actions)].sum() == found.deficit <= problem.budget
    assert 0 <= found.bound_ms <= found.total_ms
    assert found.gap >= 0
    return found


def encloses(problem: Problem, found: Bounded, optimum_ms: float) -> bool:
    """Whether the optimum lies between the bound and the sum, floats' rounding apart."""
    rounding_ms = 1e-9 * optimum_ms
    checked(problem, found)
    return found.bound_ms - rounding_ms <= optimum_ms <= found.total_ms + rounding_ms


@given(problems(), st.sampled_from([0.0, GAP, 0.2]))
@settings(max_examples=300, deadline=None)
def test_the_optimum_is_between_bound_and_sum(problem: Problem, gap: float) -> None:
    """For problems of any kind, priced; out of reach is out of reach in both."""
    try:
        optimum_ms = brute_force(problem).total_ms
    except FloorUnreachable:
        with priced(), pytest.raises(FloorUnreachable):
            solve_within(problem, gap)
        return
    with priced():
        found = solve_within(problem, gap)

    assert encloses(problem, found, optimum_ms)


def test_the_optimum_is_between_bound_and_sum_of_two_thousand() -> None:
    """As above, seeded; at least nine of ten end within the gap that was asked for."""
    random = np.random.default_rng(5)
    within = reached = 0
    for _ in range(2000):
        devices, actions = int(random.integers(1, 6)), int(random.integers(2, 7))
        own_ms = random.uniform(0, 500, (devices, actions))
        own_ms[random.random(own_ms.shape) < 0.1] = INF
        sharing_ms = random.uniform(0, 500, (2, devices + 1)) * random.choice([0.1, 1.0])
        sharing_ms[random.random(sharing_ms.shape) < 0.1] = INF
        deficits, budget = random.choice(TABLE4_DEFICITS, actions), int(random.integers(0, 100 * devices))
        problem = Problem(own_ms, random.integers(0, 3, actions), deficits, sharing_ms, budget)
        try:
            optimum_ms = solve(problem).total_ms
        except FloorUnreachable:
            with priced(), pytest.raises(FloorUnreachable):
                solve_within(problem)
            continue
        with priced():
            found = solve_within(problem)
        assert encloses(problem, found, optimum_ms)
        reached += 1
        within += found.gap <= GAP

    assert reached > 1000
    assert within > 0.9 * reached


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("floor", FLOORS_TENTHS)
def test_five_devices_are_solved_exactly(shape: str, floor: str) -> None:
    """By dynamic programming: no gap at all."""
    problem = unlike_devices(5, shape, floor, 1)
    found = checked(problem, solve_within(problem))

    assert pytest.approx(brute_force(problem).total_ms, rel=1e-12) == found.total_ms
    assert 0 == found.gap


@pytest.mark.parametrize("devices", [20, 100, 1000])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("floor", FLOORS_TENTHS)
def test_unlike_devices_are_solved_within_a_thousandth(devices: int, shape: str, floor: str) -> None:
    """Cold, and warm from the prices of a round before in which every time was up to a tenth different."""
    problem = unlike_devices(devices, shape, floor, devices)
    found = checked(problem, solve_within(problem, GAP))
    drift = np.random.default_rng(devices).uniform(0.9, 1.1, problem.own_ms.shape)
    later = dataclasses.replace(problem, own_ms=problem.own_ms * drift)
    again = checked(later, solve_within(later, GAP, found.prices))

    assert found.gap <= GAP
    assert again.gap <= GAP


@pytest.mark.parametrize(("shape", "floor"), [("convex", "85"), ("saturating", "89"), ("steep", "max"), ("flat", "80")])
def test_the_optimum_of_forty_devices_is_between_bound_and_sum(shape: str, floor: str) -> None:
    """HiGHS says where it is, to a millionth."""
    problem = unlike_devices(40, shape, floor, 3)
    found = solve_within(problem)
    optimum_ms = mixed_integer.solve(reduce(problem)).total_ms

    assert found.bound_ms <= optimum_ms * (1 + 1e-6)
    assert found.total_ms >= optimum_ms * (1 - 1e-6)


@pytest.mark.parametrize("prices", [Prices(0.0, 0.0, 0.0), Prices(50.0, 5e3, -300.0), Prices(1e4, 1e5, 1e5)])
def test_prices_to_start_with_change_no_guarantee(prices: Prices) -> None:
    """However far off they are."""
    problem = unlike_devices(100, "convex", "89", 2)
    found = solve_within(problem, prices=prices)
    optimum_ms = solve(problem).total_ms

    assert found.bound_ms <= optimum_ms * (1 + 1e-6)
    assert checked(problem, found).total_ms >= optimum_ms * (1 - 1e-6)


def test_a_tier_that_takes_few_takes_no_more() -> None:
    """Inf from 8 devices on: an optimum would send far more, so exactly 7 are there, and the gap is kept."""
    free = unlike_devices(200, "constant", "85", 1)
    sharing_ms = free.shared_ms.copy()
    sharing_ms[:, 8:] = INF
    problem = dataclasses.replace(free, shared_ms=sharing_ms)
    found = checked(problem, solve_within(problem))

    assert [7, 7] == np.bincount(problem.tier[list(found.actions)], minlength=3)[1:].tolist()
    assert found.gap <= GAP
    assert min(np.bincount(free.tier[list(solve_within(free).actions)], minlength=3)[1:]) > 7


def test_what_a_device_cannot_do_it_is_not_told_to() -> None:
    """A third of all options is missing; whoever has but one takes it."""
    random = np.random.default_rng(4)
    whole = unlike_devices(150, "kinked", "80", 1)
    own_ms = np.where(random.random(whole.own_ms.shape) < 0.3, INF, whole.own_ms)
    own_ms[7] = INF
    own_ms[7, 9] = 5000.0
    problem = dataclasses.replace(whole, own_ms=own_ms)
    found = checked(problem, solve_within(problem))

    assert 9 == found.actions[7]
    assert found.gap <= GAP


def test_like_devices_are_told_apart() -> None:
    """A thousand of one kind: prices alone would send all of them to the same place, or none."""
    one = unlike_devices(1, "convex", "85", 1)
    problem = Problem(np.repeat(one.own_ms, 1000, 0), one.tier, one.deficits, shared_ms("convex", 1000), 49_000)
    found = checked(problem, solve_within(problem))

    assert found.gap <= GAP
    assert len(set(found.actions)) > 2


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("floor", FLOORS_TENTHS)
def test_the_optimum_of_like_devices_is_between_bound_and_sum(shape: str, floor: str) -> None:
    """Thirty of three kinds: many joint actions cost the same, so the gap may be wider, but it is true."""
    kinds = unlike_devices(3, shape, floor, 6)
    budget = 30 * (899 - FLOORS_TENTHS[floor])
    problem = Problem(np.tile(kinds.own_ms, (10, 1)), kinds.tier, kinds.deficits, shared_ms(shape, 30), budget)
    found = checked(problem, solve_within(problem))
    optimum_ms = mixed_integer.solve(reduce(problem)).total_ms

    assert found.bound_ms <= optimum_ms * (1 + 1e-6)
    assert optimum_ms * (1 - 1e-6) <= found.total_ms <= optimum_ms * 1.02


@pytest.mark.parametrize("devices", [5, 60])
def test_a_floor_out_of_reach_is_told(devices: int) -> None:
    """By deficits alone; and because the tiers take too few of those who need them for their accuracy."""
    problem = unlike_devices(devices, "convex", "max", 1)
    with pytest.raises(FloorUnreachable):
        solve_within(dataclasses.replace(problem, budget=-1))
    own_ms, sharing_ms = problem.own_ms.copy(), problem.shared_ms.copy()
    own_ms[:, 0] = INF
    sharing_ms[:, devices // 2 :] = INF
    narrow = dataclasses.replace(problem, own_ms=own_ms, shared_ms=sharing_ms)
    with pytest.raises(FloorUnreachable):
        solve_within(narrow)
    least = (devices - 2 * (devices // 2 - 1)) * 10  # d4 lacks 10 tenths, for all who find no place
    wider = dataclasses.replace(narrow, budget=least)

    assert least == checked(wider, solve_within(wider)).deficit


@pytest.mark.parametrize("devices", [5, 20, 300])
def test_the_same_problem_has_the_same_answer_every_time(devices: int) -> None:
    """Prices included."""
    first, again = (solve_within(unlike_devices(devices, "saturating", "89", 1)) for _ in range(2))

    assert first == again


def test_prices_are_what_a_floor_and_a_place_cost() -> None:
    """d2 saves 6 ms a tenth, but whoever may not run it is on the edge for 350 ms: 5 ms a tenth. A place takes 100."""
    own_ms = np.array([[400.0, 100.0, 250.0]] * 4)
    sharing_ms = np.array([[0.0, 100, 100, 100, 100], [0.0, 0, 0, 0, 0]])
    problem = Problem(own_ms, np.array([0, 0, 1]), np.array([0, 50, 0]), sharing_ms, 100)

    assert Prices(5.0, 100.0, 0.0) == solve_within(problem).prices
