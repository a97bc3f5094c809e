"""Every method finds the same optimum: brute force, dynamic and mixed-integer programming, and whichever fits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import FloorUnreachable
from orchestrator.solver import dynamic, mixed_integer
from orchestrator.solver.exact import brute_force, solve
from orchestrator.solver.problem import Problem, Solution
from orchestrator.solver.reduction import reduce

INF = float("inf")
TABLE4_DEFICITS = [0, 17, 50, 157, 10, 29, 67, 171]  # of d0 to d7, tenths of a point
LOCAL_MS = np.array([459.0, 260, 150, 75, 230, 155, 100, 72])

METHODS: dict[str, Callable[[Problem], Solution]] = {
    "brute_force": brute_force,
    "dynamic": lambda problem: dynamic.solve(reduce(problem)),
    "mixed_integer": lambda problem: mixed_integer.solve(reduce(problem)),
    "exact": solve,
}


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> Callable[[Problem], Solution]:
    return METHODS[request.param]


@st.composite
def problems(draw: st.DrawFn, most_devices: int = 4) -> Problem:
    """Up to 10 actions; times in eighths of a ms, so that sums are exact; sharing in any shape, "takes none" too."""
    devices, actions = draw(st.integers(1, most_devices)), draw(st.integers(1, 10))
    times_ms = st.one_of(st.integers(0, 4000).map(lambda eighths: eighths / 8), st.sampled_from([0.0, 100.0, INF]))
    deficits = draw(st.lists(st.sampled_from([*TABLE4_DEFICITS, 100]), min_size=actions, max_size=actions))
    rows = st.lists(times_ms, min_size=actions, max_size=actions)
    sharing = st.lists(times_ms, min_size=devices + 1, max_size=devices + 1)
    return Problem(
        own_ms=np.array(draw(st.lists(rows, min_size=devices, max_size=devices))),
        tier=np.array(draw(st.lists(st.integers(0, 2), min_size=actions, max_size=actions))),
        deficits=np.array(deficits),
        shared_ms=np.array(draw(st.lists(sharing, min_size=2, max_size=2))),
        budget=draw(st.one_of(st.integers(-10, 171 * devices), st.just(sum(deficits)))),
    )


def random_problem(random: np.random.Generator, devices: int, actions: int) -> Problem:
    """As above, without Hypothesis: fast."""
    own_ms = random.integers(0, 4000, (devices, actions)) / 8
    own_ms[random.random((devices, actions)) < 0.15] = INF
    return Problem(
        own_ms=own_ms,
        tier=random.integers(0, 3, actions),
        deficits=random.choice(TABLE4_DEFICITS, actions) * int(random.integers(1, 4)),
        shared_ms=random.integers(0, 4000, (2, devices + 1)) / 8 * random.choice([0.0, 0.2, 1.0]),
        budget=int(random.integers(-20, 171 * devices)),
    )


def papers_like(random: np.random.Generator, devices: int, distinct: int, floor_tenths: int) -> Problem:
    """The paper's ten actions, `distinct` kinds of devices in turn, and sharing that bends in the middle."""
    kinds_ms = np.empty((distinct, 10))
    kinds_ms[:, :8] = LOCAL_MS * random.uniform(0.5, 2, (distinct, 1)) * random.normal(1, 0.05, (distinct, 8))
    kinds_ms[:, 8:] = random.uniform(20, 160, (distinct, 2))
    sharers = np.arange(devices + 1)
    return Problem(
        own_ms=kinds_ms[np.arange(devices) % distinct],
        tier=np.array([0] * 8 + [1, 2]),
        deficits=np.array([*TABLE4_DEFICITS, 0, 0]),
        shared_ms=np.stack([200 * np.maximum(1.0, sharers / 4), 240 * np.sqrt(np.maximum(1, sharers))]),
        budget=devices * (899 - floor_tenths),
    )


def _outcome(method: Callable[[Problem], Solution], problem: Problem) -> float | None:
    """The sum in ms, None where the floor is out of reach; checked to be what the joint action really takes."""
    try:
        solution = method(problem)
    except FloorUnreachable:
        return None
    assert problem.feasible(solution.actions)
    assert problem.total_ms(solution.actions) == solution.total_ms
    return solution.total_ms


@given(problems())
def test_dynamic_programming_equals_brute_force(problem: Problem) -> None:
    """To the last bit, for sums that are exact; out of reach is out of reach in both."""
    assert _outcome(brute_force, problem) == _outcome(METHODS["dynamic"], problem)


@given(problems())
@settings(max_examples=60)
def test_mixed_integer_programming_equals_brute_force(problem: Problem) -> None:
    """To a millionth; out of reach is out of reach in both."""
    expected = _outcome(brute_force, problem)

    assert (None if expected is None else pytest.approx(expected, rel=2e-6)) == _outcome(
        METHODS["mixed_integer"], problem
    )


def test_3000_random_problems_equal_brute_force() -> None:
    """Up to 3 devices with 8 actions; at least a tenth of them out of reach, most of them not."""
    random = np.random.default_rng(11)
    unreachable = 0
    for _ in range(3000):
        problem = random_problem(random, int(random.integers(1, 4)), int(random.integers(1, 9)))
        expected = _outcome(brute_force, problem)
        assert expected == _outcome(METHODS["dynamic"], problem)
        unreachable += expected is None

    assert 300 < unreachable < 1500


@given(problems(), st.randoms(use_true_random=False))
def test_the_order_of_devices_does_not_change_the_optimum(problem: Problem, random: Any) -> None:
    """Its value; which devices act how may."""
    order = list(range(problem.devices))
    random.shuffle(order)
    shuffled = Problem(problem.own_ms[order], problem.tier, problem.deficits, problem.shared_ms, problem.budget)

    assert _outcome(solve, problem) == _outcome(solve, shuffled)


def test_the_optimum_by_hand(method: Callable[[Problem], Solution]) -> None:
    """Three devices with d0 in 400 ms and d2 (5 points less) in 100 ms; edge 150 ms for one, 300 ms for two.

    At 85 % (budget 3 x 49 = 147) two may run d2, and the third is fastest on the edge: 100 + 100 + 160.
    The second device has the shortest way to the edge.
    """
    own_ms = np.array([[400.0, 100.0, 20.0], [400.0, 100.0, 10.0], [400.0, 100.0, 30.0]])
    shared_ms = np.array([[0.0, 150.0, 300.0, 450.0], [0.0, INF, INF, INF]])
    problem = Problem(own_ms, np.array([0, 0, 1]), np.array([0, 50, 0]), shared_ms, 3 * (899 - 850))
    solution = method(problem)

    assert Solution((1, 2, 1), 360.0) == solution
    assert 120.0 == solution.mean_ms


def test_a_floor_that_no_joint_action_meets_is_told(method: Callable[[Problem], Solution]) -> None:
    """One tenth below what the most accurate models need."""
    own_ms, tier, shared_ms = np.array([[100.0, 50.0]] * 3), np.array([0, 0]), np.zeros((2, 4))
    deficits = np.array([10, 50])

    assert 300.0 == method(Problem(own_ms, tier, deficits, shared_ms, 30)).total_ms
    with pytest.raises(FloorUnreachable, match="lower it"):
        method(Problem(own_ms, tier, deficits, shared_ms, 29))


def test_a_device_that_can_do_nothing_is_told(method: Callable[[Problem], Solution]) -> None:
    """Whatever the budget."""
    own_ms = np.array([[100.0], [INF]])
    with pytest.raises(FloorUnreachable):
        method(Problem(own_ms, np.array([0]), np.array([0]), np.zeros((2, 3)), 10**9))


def test_tiers_that_take_too_few_are_told(method: Callable[[Problem], Solution]) -> None:
    """Three devices that can only offload, and two tiers that take one each."""
    shared_ms = np.array([[0.0, 100.0, INF, INF]] * 2)
    with pytest.raises(FloorUnreachable):
        method(Problem(np.zeros((3, 2)), np.array([1, 2]), np.array([0, 0]), shared_ms, 0))


def test_crowding_may_pay_where_the_next_device_makes_sharing_cheaper(method: Callable[[Problem], Solution]) -> None:
    """Nothing is assumed of the shape: two on the edge pay 500 ms each, all three 10 ms."""
    own_ms = np.array([[60.0, 1.0]] * 3)
    shared_ms = np.array([[0.0, 90.0, 500.0, 10.0], [0.0, 0.0, 0.0, 0.0]])

    assert Solution((1, 1, 1), 33.0) == method(Problem(own_ms, np.array([0, 1]), np.array([0, 0]), shared_ms, 0))


@pytest.mark.parametrize(("distinct", "floor_tenths"), [(60, 890), (4, 890), (60, 899), (60, 0), (4, 895)])
def test_sixty_devices_are_the_same_by_both_methods(distinct: int, floor_tenths: int) -> None:
    """Far beyond brute force."""
    problem = papers_like(np.random.default_rng(distinct + floor_tenths), 60, distinct, floor_tenths)
    expected = METHODS["dynamic"](problem).total_ms

    assert pytest.approx(expected, rel=1e-6) == METHODS["mixed_integer"](problem).total_ms


def test_a_thousand_like_devices_are_what_counting_says() -> None:
    """d0 in 459 ms, d2 in 150 ms, edge and cloud: for each pair of counts the rest splits as the budget allows."""
    devices, budget = 1000, 1000 * (899 - 890)
    sharers = np.arange(devices + 1)
    shared_ms = np.stack([200 + 3.0 * sharers, 240 + 1.0 * sharers])
    own_ms = np.tile([459.0, 150.0, 20.0, 40.0], (devices, 1))
    problem = Problem(own_ms, np.array([0, 0, 1, 2]), np.array([0, 50, 0, 0]), shared_ms, budget)
    edge, cloud = np.meshgrid(sharers, sharers, indexing="ij")
    rest = devices - edge - cloud
    cheap = np.minimum(budget // 50, rest)
    total_ms = edge * (20 + shared_ms[0, edge]) + cloud * (40 + shared_ms[1, cloud]) + 150 * cheap
    total_ms = np.where(rest >= 0, total_ms + 459 * (rest - cheap), INF)

    assert pytest.approx(total_ms.min(), rel=1e-9) == solve(problem).total_ms


@pytest.mark.parametrize("devices", [5, 25])
def test_the_same_problem_has_the_same_solution_every_time(devices: int) -> None:
    """5 devices go to one method, 25 to the other."""
    first, again = (solve(papers_like(np.random.default_rng(1), devices, devices, 850)) for _ in range(2))

    assert first == again


def test_of_equal_sums_dynamic_programming_takes_the_most_accurate() -> None:
    """Then the fewest on the edge, then on the cloud. All actions take 100 ms, the budget pays for one of 10."""
    shared_ms = np.array([[0.0, 50.0, 50.0]] * 2)
    own_ms = np.array([[100.0, 50.0, 50.0, 100.0]] * 2)

    for deficits, expected in (([10, 10, 0, 20], 2), ([10, 0, 10, 0], 3), ([10, 0, 0, 20], 2), ([10, 0, 10, 20], 1)):
        problem = Problem(own_ms, np.array([0, 1, 2, 0]), np.array(deficits), shared_ms, 10)
        assert Solution((expected, expected), 200.0) == METHODS["dynamic"](problem)
