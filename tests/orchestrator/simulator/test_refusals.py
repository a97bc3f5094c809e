"""What cannot be simulated is refused in one sentence that says what can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from broker.vocabulary import Action, ModelName, Tier
from configs.calibration import CalibrationConfig
from configs.demo import ExperimentConfig
from configs.loader import ConfigError
from orchestrator.accuracy import Accuracies
from orchestrator.errors import SimulationRefused
from orchestrator.simulator.environment import EndEdgeCloudEnv
from orchestrator.simulator.files import find
from orchestrator.simulator.site import site_of
from orchestrator.simulator.vector_environment import EndEdgeCloudVectorEnv


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"users": 0}, r"0 users; choose 1 to 10000"),
        ({"users": -3}, r"-3 users"),
        ({"users": 10_001}, r"10001 users; choose 1 to 10000"),
        ({"experiment": "exp-z"}, r"no experiment 'exp-z': name one of exp-a, exp-b, exp-c, exp-d, or a YAML file"),
        ({"calibration": "a2"}, r"no calibration 'a2': name one of a1-paper, or a YAML file"),
        ({"scenario": "quiet"}, r"no scenario 'quiet': name one of still, visited, or a YAML file"),
        ({"scenario": Path("/no/such.yaml")}, r"no scenario '/no/such\.yaml'"),
        ({"scenario": ""}, r"no scenario ''"),
        ({"floor": 90}, r"floor 90: must be min, max, or a percentage from 72\.8 to 89\.9"),
        ({"floor": 89.95}, r"floor 89\.95: must be min, max, or a percentage from 72\.8 to 89\.9"),
        ({"floor": 85.05}, r"floor 85\.05: must have at most one decimal"),
        ({"floor": -1}, r"floor -1: must be"),
        ({"floor": "mox"}, r"floor 'mox': must be min, max"),
        ({"floor": float("nan")}, r"floor nan: must be"),
        ({"maximum_response_ms": 1400.0}, r"maximum_response_ms 1400: must be above .* here 1[0-9]{3}\.[0-9] ms"),
        ({"maximum_response_ms": 0.0}, r"maximum_response_ms 0: must be above"),
        ({"maximum_response_ms": float("nan")}, r"maximum_response_ms nan: must be above"),
        ({"maximum_response_ms": float("inf")}, r"maximum_response_ms inf: .* finite"),
    ],
)
def test_a_wrong_argument_is_refused(settings: dict[str, Any], told: str) -> None:
    """By one environment and by many in step, with the same words."""
    with pytest.raises(SimulationRefused, match=told):
        EndEdgeCloudEnv(**settings)
    with pytest.raises(SimulationRefused, match=told):
        EndEdgeCloudVectorEnv(num_envs=2, **settings)


def test_no_sites_at_all_are_refused() -> None:
    """A batch has at least one."""
    with pytest.raises(SimulationRefused, match="0 sites at once; choose 1 or more"):
        EndEdgeCloudVectorEnv(num_envs=0)


def test_the_floors_words_may_be_text() -> None:
    """As they come from a command line."""
    floors = [EndEdgeCloudEnv(users=1, floor=floor).simulation.floor_tenths for floor in ("min", "max", "85", 80.5, 0)]

    assert [0, 899, 850, 805, 0] == floors


@pytest.mark.parametrize(
    ("actions", "told"),
    [
        ([0, 10], r"an action outside 0 to 9"),
        ([-1, 0], r"an action outside 0 to 9"),
        ([0], r"actions of shape \(1, 1\), not \(1, 2\)"),
        ([0, 0, 0], r"actions of shape \(1, 3\), not \(1, 2\)"),
        ([[0, 0]], r"actions of shape \(1, 1, 2\)"),
        (3, r"actions of shape \(1,\)"),
        ([0.5, 1.0], r"actions of type float64, not whole numbers"),
        ([True, False], r"actions of type bool"),
        (["d0", "d1"], r"actions of type <U2"),
    ],
)
def test_a_wrong_action_is_refused_and_nothing_happens(actions: Any, told: str) -> None:
    """Out of range, of the wrong shape or type; the next round is as if it had not been tried."""
    tried, plain = (EndEdgeCloudEnv(users=2, scenario="visited") for _ in range(2))
    tried.reset(seed=1)
    plain.reset(seed=1)
    with pytest.raises(SimulationRefused, match=told):
        tried.step(actions)

    assert plain.step(np.array([0, 9]))[1] == tried.step(np.array([0, 9]))[1]


def test_a_batch_of_the_wrong_size_is_refused() -> None:
    """B rows of N columns, no others."""
    together = EndEdgeCloudVectorEnv(num_envs=3, users=2)
    for shape in ((2, 2), (3, 1), (2, 3), (3,), (0, 2)):
        with pytest.raises(SimulationRefused, match=r"not \(3, 2\)"):
            together.step(np.zeros(shape, dtype=np.int64))


def test_smaller_whole_numbers_are_as_good() -> None:
    """uint8 from a network, plain lists from a person."""
    actions: list[Any] = [[0, 9], (0, 9), np.array([0, 9], dtype=np.uint8), np.array([0, 9], dtype=np.int32)]
    earned = []
    for given in actions:
        environment = EndEdgeCloudEnv(users=2)
        environment.reset(seed=1)
        earned.append(environment.step(given)[1])

    assert 1 == len(set(earned))


def test_a_file_is_found_by_its_path(tmp_path: Path) -> None:
    """As text or as a path; its mistakes are told like any other file's."""
    good, bad = tmp_path / "mine.yaml", tmp_path / "bad.yaml"
    good.write_text("version: 1\nname: mine\nlinks: {s1: weak}\n", encoding="utf-8")
    bad.write_text("version: 1\nname: bad\nlinks: {s1: week}\n", encoding="utf-8")

    assert "mine" == find(ExperimentConfig, good).name == find(ExperimentConfig, str(good)).name
    with pytest.raises(ConfigError, match=r"bad\.yaml:3:13 links\.s1: must be .*did you mean weak\?"):
        find(ExperimentConfig, bad)


@pytest.mark.parametrize(
    ("links", "told"),
    [
        ({"egde": "weak"}, "the experiment's links name egde; simulated devices are called s1, s2, ..."),
        ({"s0": "weak", "pi": "regular"}, "the experiment's links name s0, pi"),
        ({"cloud": "weak"}, "the cloud has no link of its own"),
    ],
)
def test_a_link_of_nobody_is_refused(make_site: Any, links: dict[str, str], told: str) -> None:
    """It would be left out in silence otherwise."""
    with pytest.raises(SimulationRefused, match=told.replace(".", r"\.")):
        make_site(3, links)


def test_links_of_devices_that_are_not_there_are_left_out(make_site: Any) -> None:
    """EXP-B is of five devices, and is simulated with two."""
    assert [False, True] == make_site(2, {"s2": "weak", "s4": "weak", "cloud": "regular"}).weak.tolist()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"models": {"d0": 1, "d9": 2}}, "no accuracy is known of d9; have d0, "),
        ({"cloud": {"vcpus": 1, "compute_ms": {"d0": 1, "x1": 1}, "contention": 0}}, "no accuracy is known of x1"),
        ({"speeds": {"pi-1": 2}}, "the calibration's speeds name pi-1; simulated devices are called s1"),
    ],
)
def test_a_calibration_of_unknown_models_or_devices_is_refused(
    hand: CalibrationConfig, accuracies: Accuracies, change: dict[str, Any], told: str
) -> None:
    """By name."""
    calibration = CalibrationConfig.model_validate({**hand.model_dump(mode="json"), **change})
    experiment = ExperimentConfig(version=1, name="test")

    with pytest.raises(SimulationRefused, match=told):
        site_of(calibration, experiment, 2, accuracies)


def test_edge_and_cloud_serve_their_most_accurate_model(hand: CalibrationConfig, accuracies: Accuracies) -> None:
    """Section 4.2, also where that is not d0; local models stay in the manifest's order."""
    change = {
        "models": {"d7": 50, "d1": 300},
        "edge": {"vcpus": 2, "compute_ms": {"d2": 60, "d4": 70}, "contention": 0},
    }
    calibration = CalibrationConfig.model_validate({**hand.model_dump(mode="json"), **change})
    site = site_of(calibration, ExperimentConfig(version=1, name="test"), 1, accuracies)

    assert ["d1@end", "d7@end", "d4@edge", "d0@cloud"] == [str(action) for action in site.actions]
    assert [17, 171, 10, 0] == site.deficits.tolist()
    assert [70.0] == site.shared_ms[0, 1:].tolist()


def test_a_world_refuses_what_no_device_can_do(make_world: Any) -> None:
    """An action that is not among the site's, and a floor that no accuracy reaches."""
    world = make_world(1)
    with pytest.raises(SimulationRefused, match="no device can do d4@edge"):
        world.indices((Action(Tier.EDGE, ModelName("d4")),))
    with pytest.raises(SimulationRefused, match=r"a floor of 90\.0 %; choose 0 to 89\.9 %"):
        make_world(1, floor_tenths=900)
