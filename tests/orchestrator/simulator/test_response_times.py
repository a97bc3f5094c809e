"""Response times of a small site, computed by hand from a calibration of round figures (conftest.HAND)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from configs.calibration import CalibrationConfig, NoiseSection
from orchestrator.reward import reward
from orchestrator.simulator.environment import EndEdgeCloudEnv
from orchestrator.simulator.simulation import STAGES

EDGE, CLOUD = 8, 9


@pytest.mark.parametrize(
    ("links", "actions", "expected_ms"),
    [
        # s1 takes a model's time, s2 is twice as fast; every request asks for 2 ms.
        ({}, [0, 0, 7], [402, 202, 52]),
        ({}, [1, 2, 3], [302, 102, 102]),
        ({}, [4, 5, 6], [252, 77, 92]),
        # Edge: 100 ms alone, a quarter more for each further job; 2 + 10 ms for the link.
        ({}, [EDGE, 7, 7], [112, 27, 52]),
        ({}, [EDGE, EDGE, 7], [137, 137, 52]),
        ({}, [EDGE, EDGE, EDGE], [162, 162, 162]),
        # Cloud: 80 ms alone, a quarter more for each further job.
        ({}, [CLOUD, 7, 7], [92, 27, 52]),
        ({}, [CLOUD, CLOUD, 7], [112, 112, 52]),
        ({}, [CLOUD, CLOUD, CLOUD], [132, 132, 132]),
        ({}, [EDGE, CLOUD, EDGE], [137, 92, 137]),
        # A weak device asks for 30 ms and sends its image in 50; the others do not feel it.
        ({"s1": "weak"}, [7, 7, 7], [80, 27, 52]),
        ({"s1": "weak"}, [EDGE, EDGE, 7], [205, 137, 52]),
        # A weak edge adds 5 ms to every request and 7 to every image, to the cloud too.
        ({"edge": "weak"}, [7, EDGE, CLOUD], [57, 124, 104]),
        ({"s3": "weak", "edge": "weak"}, [7, 7, EDGE], [57, 32, 192]),
    ],
)
def test_response_times_are_as_computed_by_hand(
    make_simulation: Any, links: dict[str, str], actions: list[int], expected_ms: list[float]
) -> None:
    """Local, edge and cloud with one to three sharers, weak devices, a weak edge."""
    played = make_simulation(3, links).play(np.array([actions]))

    assert expected_ms == played.response_ms[0].tolist()
    assert sum(expected_ms) / 3 == pytest.approx(played.mean_ms[0])
    assert sum(expected_ms) / 3 == pytest.approx(played.expected_ms[0])


@pytest.mark.parametrize(
    ("busy", "expected_ms"),
    [
        ([0, 0, 0, 0, 0], [202, 137, 137]),
        ([0, 0, 1, 0, 0], [402, 137, 137]),  # a busy device takes twice as long, its link does not
        ([0, 0, 0, 1, 1], [202, 137, 137]),  # who offloads does not care how busy he is
        ([1, 0, 0, 0, 0], [202, 199.5, 199.5]),  # a busy edge one and a half times: 125 x 1.5 + 12
        ([0, 1, 0, 0, 0], [202, 137, 137]),  # nobody is in the cloud
    ],
)
def test_a_busy_node_takes_longer_for_its_tasks(
    make_simulation: Any, busy: list[int], expected_ms: list[float]
) -> None:
    """Compute times the factor, links as before; also where no scenario would have made it busy."""
    simulation = make_simulation(3)
    simulation.put(np.array([busy], dtype=bool), np.zeros((1, 5)))

    assert expected_ms == simulation.play(np.array([[2, EDGE, EDGE]])).response_ms[0].tolist()
    assert [202, 137, 137] == simulation.play(np.array([[2, EDGE, EDGE]])).response_ms[0].tolist()


def test_a_busy_cloud_takes_a_quarter_longer(make_simulation: Any) -> None:
    """Two in a busy cloud: 100 x 1.25 + 12 ms."""
    simulation = make_simulation(2)
    simulation.put(np.array([[False, True, False, False]]), np.zeros((1, 4)))

    assert [137, 137] == simulation.play(np.array([[CLOUD, CLOUD]])).response_ms[0].tolist()


def test_stages_sum_to_the_response_time(make_simulation: Any) -> None:
    """With noise, which stretches a response time and its stages alike."""
    simulation = make_simulation(5, {"s2": "weak"}, noise=NoiseSection(sd_percent=20), batch=50)
    played = simulation.play(np.random.default_rng(1).integers(10, size=(50, 5)))

    assert np.allclose(played.stages_ms.sum(axis=2), played.response_ms, rtol=1e-12, atol=0)
    assert (50, 5, len(STAGES)) == played.stages_ms.shape


def test_stages_are_what_they_are_called(make_simulation: Any) -> None:
    """A local run decides and computes, an offloaded one has an uplink too."""
    stages_ms = make_simulation(2).play(np.array([[0, EDGE]])).stages_ms[0]
    named = [{name: ms for name, ms in zip(STAGES, row, strict=True) if ms} for row in stages_ms.tolist()]

    assert [{"decide": 2, "compute": 400}, {"decide": 2, "uplink": 10, "compute": 100}] == named


@pytest.mark.parametrize(
    ("actions", "floor_tenths", "tenths", "met"),
    [
        ([0] * 6, 899, 5394, True),  # sum([89.9] * 6) / 6 < 89.9 in floating point
        ([0, 0, EDGE, CLOUD, EDGE, 0], 899, 5394, True),
        ([0, 0, 0, 0, 0, 4], 899, 5384, False),  # one d4 lacks one point in all
        ([0, 0, 0, 0, 0, 4], 897, 5384, True),  # 897 1/3 on average
        ([0, 0, 0, 0, 0, 4], 898, 5384, False),
        ([1, 1, 1, 1, 1, 1], 882, 5292, True),
        ([7, 7, 7, 7, 7, 7], 729, 4368, False),
        ([7, 7, 7, 7, 7, 7], 0, 4368, True),
    ],
)
def test_accuracy_is_counted_in_integers(
    make_simulation: Any, actions: list[int], floor_tenths: int, tenths: int, met: bool
) -> None:
    """The floor is met by the sum of tenths, at or above N times the floor."""
    played = make_simulation(6, floor_tenths=floor_tenths).play(np.array([actions]))

    assert (tenths, met) == (played.tenths[0], played.floor_met[0])


@pytest.mark.parametrize(("actions", "met"), [([0, 0], True), ([0, 1], False)])
def test_the_reward_is_equation_4(hand: CalibrationConfig, actions: list[int], met: bool) -> None:
    """Minus the mean at or above the floor; below it minus the constant, here a third above 802 ms, in hundreds."""
    environment = EndEdgeCloudEnv(users=2, floor=89.5, calibration=hand)
    environment.reset(seed=1)
    _, earned, terminated, truncated, info = environment.step(np.array(actions))

    assert met is info["floor_met"]
    assert (-(402 + 202) / 2 if met else -1100.0) == earned
    assert earned == reward(info["response_ms"].tolist(), met, 1100.0)
    assert not terminated
    assert not truncated


def test_a_given_constant_is_what_a_broken_floor_costs(hand: CalibrationConfig) -> None:
    """maximum_response_ms replaces the computed one."""
    environment = EndEdgeCloudEnv(users=2, floor="max", calibration=hand, maximum_response_ms=7777.0)

    assert -7777.0 == environment.step(np.array([7, 7]))[1]


def test_info_has_accuracies_in_tenths(hand: CalibrationConfig) -> None:
    """d0, d3 and d7: 899 + 742 + 728 = 2369 tenths, 789.67 on average."""
    info = EndEdgeCloudEnv(users=3, calibration=hand).step(np.array([0, 3, 7]))[4]

    assert 2369 == info["accuracy_tenths_sum"]
    assert 2369 / 3 == pytest.approx(info["accuracy_tenths"])
    assert not info["missing"].any()
