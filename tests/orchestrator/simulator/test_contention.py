"""Shapes of contention, as computed by hand, and tiers that serve one job after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from configs.calibration import NoiseSection, Queue, Shape, TierSection
from orchestrator.simulator.contention import fifo_shares, shared_ms
from orchestrator.simulator.simulation import STAGES

EDGE, CLOUD = 8, 9
FIFO = {"edge": {"queue": "fifo"}, "cloud": {"queue": "fifo"}}
USERS = 60


def _shared_ms(shape: str, users: int = USERS, vcpus: int = 2, contention: float = 0.5, **settings: Any) -> Any:
    """From one job on, of a tier that takes 100 ms for one."""
    tier = TierSection.model_validate(
        {"vcpus": vcpus, "compute_ms": {"d0": 100}, "contention": contention, "shape": shape, **settings}
    )
    return shared_ms(tier, next(iter(tier.compute_ms)), users)[1:]


@pytest.mark.parametrize(
    ("shape", "settings", "expected_ms"),
    [
        ("linear", {}, [100, 125, 150, 175, 200]),
        ("convex", {"exponent": 2}, [100, 112.5, 150, 212.5, 300]),
        ("convex", {"exponent": 1}, [100, 125, 150, 175, 200]),
        ("kinked", {}, [100, 100, 175, 250, 325]),  # 100 x 0.5 x 3 / 2 for each job above two
        ("kinked", {"steepness": 1}, [100, 100, 125, 150, 175]),
        ("saturating", {}, [100, 150, 175, 190, 200]),  # 150 ms more at most, half of them with two further jobs
        ("saturating", {"steepness": 1, "half_at": 0.5}, [100, 112.5, 100 + 50 / 3, 118.75, 120]),
    ],
)
def test_shapes_are_as_computed_by_hand(shape: str, settings: dict[str, Any], expected_ms: list[float]) -> None:
    """One to five jobs on two vCPUs with a contention of a half."""
    assert expected_ms == pytest.approx(_shared_ms(shape, 5, **settings).tolist(), rel=1e-12)


def test_convex_is_the_power_stated_without_settings() -> None:
    """1.7."""
    assert 100 * (1 + 0.5 * 1.5**1.7) == pytest.approx(_shared_ms("convex")[3], rel=1e-12)


@pytest.mark.parametrize("vcpus", [1, 2, 7, 40, 100])
@pytest.mark.parametrize("contention", [0.0, 0.8, 20.0])
@pytest.mark.parametrize("shape", list(Shape))
def test_no_shape_ever_falls(shape: Shape, contention: float, vcpus: int) -> None:
    """Nor does it help to be alone on a tier of another shape."""
    times_ms = _shared_ms(shape, vcpus=vcpus, contention=contention)

    assert (np.diff(times_ms) >= 0).all()
    assert 100.0 == times_ms[0]


def test_convex_rises_more_with_every_job() -> None:
    """Its steps grow, those of linear do not."""
    assert (np.diff(_shared_ms("convex"), 2) > 1e-9).all()
    assert np.allclose(np.diff(_shared_ms("linear"), 2), 0, atol=1e-9)


def test_kinked_is_flat_up_to_a_job_per_vcpu() -> None:
    """And three times as steep as linear from there."""
    kinked, linear = _shared_ms("kinked", vcpus=7), _shared_ms("linear", vcpus=7)

    assert (kinked[:7] == 100).all()
    assert np.allclose(np.diff(kinked[6:]), 3 * np.diff(linear[6:]), rtol=1e-9)


def test_saturating_approaches_its_ceiling() -> None:
    """Above linear up to twice the vCPUs, equal with one more, below from there; its sum is convex, then linear."""
    times_ms, linear = _shared_ms("saturating", 100_000), _shared_ms("linear", 100_000)
    sums_ms = times_ms * np.arange(1, 100_001)

    assert (times_ms[1:4] > linear[1:4]).all()
    assert linear[4] == pytest.approx(times_ms[4])
    assert (times_ms[5:] < linear[5:]).all()
    assert 250.0 > times_ms[-1] == pytest.approx(250.0, rel=1e-3)
    assert (np.diff(sums_ms[:1000], 2) > 0).all()
    assert 250.0 == pytest.approx(sums_ms[-1] - sums_ms[-2], rel=1e-3)


@pytest.mark.parametrize("shape", list(Shape))
def test_the_simulation_takes_what_the_shape_says(make_simulation: Any, shape: Shape) -> None:
    """Edge and cloud, with 12 ms for the link."""
    change = {tier: {"vcpus": 2, "contention": 0.5, "compute_ms": {"d0": 100}, "shape": shape} for tier in FIFO}
    simulation = make_simulation(7, change=change)
    played = simulation.play(np.array([[EDGE] * 4 + [CLOUD] * 3]))
    expected_ms = _shared_ms(shape)

    assert [12 + expected_ms[3]] * 4 + [12 + expected_ms[2]] * 3 == pytest.approx(played.response_ms[0].tolist())


@pytest.mark.parametrize("k", [1, 2, 3, 10, 999])
def test_shares_of_a_fifo_tier_are_places_whose_mean_is_1(k: int) -> None:
    """2 p / (k + 1) for p = 1 to k, of which the last 2 / (k + 1) is computing; nothing for who is not there."""
    rng = np.random.default_rng(k)
    queued = np.zeros((4, k + 5), dtype=bool)
    for there in queued:
        there[rng.permutation(k + 5)[:k]] = True
    wait, compute = fifo_shares(rng.random(queued.shape), queued)

    for row in range(4):
        served = np.sort((wait + compute)[row][queued[row]])
        assert np.allclose(2 * np.arange(1, k + 1) / (k + 1), served, rtol=1e-12)
        assert 1.0 == pytest.approx(served.mean(), rel=1e-12)
    assert (compute[queued] == 2 / (k + 1)).all()
    assert not wait[~queued].any()
    assert not compute[~queued].any()


def test_places_are_the_order_of_the_draws() -> None:
    """Among those who are there."""
    wait, compute = fifo_shares(np.array([[0.9, 0.1, 0.5, 0.2]]), np.array([[True, False, True, True]]))

    assert np.allclose([[1.5, 0.0, 1.0, 0.5]], wait + compute)


def test_the_mean_over_the_sharers_of_a_fifo_tier_is_that_of_a_shared_one(make_simulation: Any) -> None:
    """Of each tier in each round, busy or late, and of the whole round exactly; locals do not feel it."""
    happening = {
        "background": {"edge": {"start": 0.5, "stop": 0.5}, "end": {"start": 0.3, "stop": 0.3}},
        "events": [{"round": 20, "kind": "delay", "nodes": ["cloud"], "ms": 33}],
    }
    fifo = make_simulation(9, happening=happening, batch=3, change=FIFO)
    shared = make_simulation(9, happening=happening, batch=3)
    draw = np.random.default_rng(1)
    for _ in range(60):
        actions = draw.choice([0, EDGE, CLOUD], size=(3, 9))
        first, second = fifo.play(actions), shared.play(actions)

        assert (first.expected_ms == second.expected_ms).all()
        assert (first.response_ms == second.response_ms)[actions == 0].all()
        for row, place in ((row, place) for row in range(3) for place in (EDGE, CLOUD)):
            there = actions[row] == place
            if there.any():
                assert first.response_ms[row][there].mean() == pytest.approx(second.response_ms[row][there].mean())


def test_one_tier_may_be_fifo_and_the_other_shared(make_simulation: Any) -> None:
    """Two on each: 125 ms x 2/3 and 4/3 on the edge, 100 ms for both in the cloud; and 12 ms for the link."""
    simulation = make_simulation(4, change={"edge": {"queue": Queue.FIFO}})
    played = simulation.play(np.array([[EDGE, EDGE, CLOUD, CLOUD]])).response_ms[0]

    assert [12 + 250 / 3, 12 + 500 / 3] == pytest.approx(sorted(played[:2]))
    assert [112, 112] == played[2:].tolist()


def test_waiting_is_a_stage_of_its_own(make_simulation: Any) -> None:
    """The second of two waits for as long as the first computes."""
    stages_ms = make_simulation(2, change=FIFO).play(np.array([[EDGE, EDGE]])).stages_ms[0]
    queue_ms, compute_ms = stages_ms[:, STAGES.index("queue")], stages_ms[:, STAGES.index("compute")]

    assert [0, 250 / 3] == pytest.approx(sorted(queue_ms))
    assert [250 / 3, 250 / 3] == pytest.approx(compute_ms.tolist())


def test_every_order_comes_equally_often(make_simulation: Any) -> None:
    """Each of three devices is at each place in a third of 3000 rounds, within five standard errors, and afresh."""
    simulation = make_simulation(3, batch=30, change=FIFO)
    rounds = np.array([simulation.play(np.full((30, 3), EDGE)).response_ms for _ in range(100)])
    places = rounds.argsort(axis=2).argsort(axis=2)

    for place in range(3):
        assert np.allclose(1 / 3, (places == place).mean(axis=(0, 1)), atol=5 * np.sqrt(2 / 9 / 3000))
    again = (places[1:] == places[:-1]).all(axis=2).mean()
    assert 1 / 6 == pytest.approx(again, abs=5 * np.sqrt(5 / 36 / 2970))


def test_orders_have_a_stream_of_their_own(make_simulation: Any) -> None:
    """Noise and background load are the same with fifo and shared tiers, and orders the same with and without noise."""
    happening = {"background": {"edge": {"start": 0.5, "stop": 0.5}}}
    noise, actions = NoiseSection(sd_percent=10), np.array([[0, EDGE, EDGE, EDGE]])
    noisy, shared = (make_simulation(4, happening=happening, noise=noise, change=change) for change in (FIFO, {}))
    silent = make_simulation(4, happening=happening, change=FIFO)
    plain = make_simulation(4, happening=happening)
    for _ in range(1500):
        assert (noisy.busy == shared.busy).all()
        with_both, with_noise = noisy.play(actions).response_ms, shared.play(actions).response_ms
        with_order, with_none = silent.play(actions).response_ms, plain.play(actions).response_ms
        assert np.allclose(with_both / with_order, with_noise / with_none, rtol=1e-12, atol=0)


def test_who_is_down_takes_no_place(make_simulation: Any) -> None:
    """Of three on the edge two are served; the one that is down costs the deadline, as all do when the edge is down."""
    events = [
        {"round": 1, "kind": "down", "nodes": ["s2"]},
        {"round": 2, "kind": "down", "nodes": ["edge"]},
    ]
    simulation = make_simulation(3, happening={"events": events}, change=FIFO)
    first, second = (simulation.play(np.array([[EDGE] * 3])) for _ in range(2))

    assert [12 + 250 / 3, 12 + 500 / 3, 3000] == pytest.approx(sorted(first.response_ms[0]))
    assert 3000 == first.response_ms[0, 1]
    assert (3000 + 2 * 137) / 3 == pytest.approx(first.expected_ms[0])
    assert (second.response_ms == 3000).all()
